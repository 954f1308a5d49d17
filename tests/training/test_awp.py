"""Adversarial weight perturbation: where it moves the weights, whose gradient it takes there, and that they return."""

import copy

import pytest
import torch
from torch import nn

from martensite.attacks import PGD
from martensite.core.errors import ConfigError
from martensite.training.context import Context
from martensite.training.objectives import AWP, MEP, PGDAT, TRADES, FreeLB

INNER = PGDAT(attack=PGD(steps=2))


def named(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_each_weight_moves_along_its_gradient_by_gamma_times_its_norm(tools, data, threat):
    model, gamma = tools.make_model(), 0.03
    context, x, y = tools.batch(model, data, threat)
    awp, before = AWP(inner=INNER, gamma=gamma), named(model)
    adversarial = awp.adversarials(context, x, y)
    twin = copy.deepcopy(model)
    twin_loss = 0.5 * (nn.functional.cross_entropy(twin(x), y) + nn.functional.cross_entropy(twin(adversarial), y))
    twin_loss.backward()
    awp.measure(context, x, adversarial, y)
    moved = {name: parameter - before[name] for name, parameter in named(model).items()}
    for name, parameter in twin.named_parameters():
        if parameter.dim() == 1:
            assert torch.equal(moved[name], torch.zeros_like(moved[name]))
            continue
        assert torch.isclose(moved[name].norm(), gamma * before[name].norm(), rtol=1e-5)
        assert torch.cosine_similarity(moved[name].flatten(), parameter.grad.flatten(), dim=0) > 1 - 1e-5


def test_the_update_has_the_gradient_at_the_perturbed_weights_and_they_return_bit_by_bit(tools, data, threat):
    model = tools.make_model("noisy")
    model.net[3].p = 0.0  # two passes must agree
    context, x, y = tools.batch(model, data, threat)
    awp, before = AWP(inner=INNER, gamma=0.1), named(model)
    adversarial = awp.adversarials(context, x, y)
    parts = awp.measure(context, x, adversarial, y)
    twin = copy.deepcopy(model)
    INNER.measure(Context(twin, threat), x, adversarial, y).total.backward()
    parts.total.backward()
    context.run_callbacks()
    assert parts.total > parts.parts["unperturbed"]
    assert any(not torch.equal(parameter, before[name]) for name, parameter in twin.named_parameters())
    for (name, parameter), other in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter, before[name])
        assert torch.allclose(parameter.grad, other.grad, atol=1e-7)


def test_running_statistics_move_once(tools, data, threat):
    model, plain = tools.make_model("noisy"), tools.make_model("noisy")
    context, x, y = tools.batch(model, data, threat)
    adversarial = INNER.adversarials(context, x, y)
    AWP(inner=INNER, gamma=1e-30).measure(context, x, adversarial, y)
    INNER.measure(Context(plain.train(), threat), x, adversarial, y)
    assert model.net[1].num_batches_tracked == 1
    assert torch.equal(model.net[1].running_mean, plain.net[1].running_mean)


def test_adversarials_are_made_once(tools, data, threat, monkeypatch):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    made, attack = [], Context.attack

    def counted(self, *args, **options):
        made.append(args)
        return attack(self, *args, **options)

    monkeypatch.setattr(Context, "attack", counted)
    AWP(inner=TRADES(attack=PGD(steps=1))).loss(context, x, y)
    assert len(made) == 1


def test_stored_perturbations_are_stored_once(tools, data, threat):
    (wrapped, x, y), (plain, *_) = (tools.batch(tools.make_model(), data, threat) for _ in range(2))
    AWP(inner=MEP()).loss(wrapped, x, y)
    MEP().loss(plain, x, y)
    assert tools.same(wrapped.memory.tensors, plain.memory.tensors)


def test_before_its_start_the_inner_objective_trains_alone(tools, data, threat):
    awp = AWP(inner=INNER, start=0.5)
    (context, x, y), (plain, *_) = (tools.batch(tools.make_model(), data, threat) for _ in range(2))
    context.done = 0.49
    assert torch.equal(awp.loss(context, x, y).total, INNER.loss(plain, x, y).total)
    assert (context.forwards, context.backwards) == (plain.forwards, plain.backwards)
    context.done = 0.5
    assert "unperturbed" in awp.loss(context, x, y).parts


def test_an_error_at_the_perturbed_weights_puts_them_back(tools, data, threat, monkeypatch):
    model = tools.make_model()
    context, x, y = tools.batch(model, data, threat)
    before, calls, measure = named(model), [], PGDAT.measure

    def fails(self, *args):
        calls.append(args)
        if len(calls) == 2:
            raise MemoryError
        return measure(self, *args)

    monkeypatch.setattr(PGDAT, "measure", fails)
    with pytest.raises(MemoryError):
        AWP(inner=INNER).loss(context, x, y)
    assert tools.same(before, named(model))


def test_frozen_weights_stay(tools, data, threat):
    model = tools.make_model()
    model.net[0].weight.requires_grad_(False)
    context, x, y = tools.batch(model, data, threat)
    before = named(model)
    AWP(inner=INNER, gamma=0.5).loss(context, x, y)
    assert torch.equal(model.net[0].weight, before["net.0.weight"])
    assert not torch.equal(model.net[2].weight, before["net.2.weight"])


def test_wrapped_twice_it_returns_from_both(tools, data, threat):
    model = tools.make_model()
    context, x, y = tools.batch(model, data, threat)
    before = named(model)
    AWP(inner=AWP(inner=INNER)).loss(context, x, y).total.backward()
    context.run_callbacks()
    assert tools.same(before, named(model))


def test_an_objective_in_one_piece_is_refused():
    with pytest.raises(ConfigError, match="measures a loss twice"):
        AWP(inner=FreeLB())
