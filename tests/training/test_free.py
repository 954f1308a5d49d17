"""Free adversarial training against its algorithm, written out by hand."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD
from martensite.core.rng import streams
from martensite.training import TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import AWP, Free


def test_every_batch_is_replayed_m_times(tools, data, validation, threat):
    model = tools.make_model("noisy")
    settings = TrainingSettings(epochs=2, batch_size=32, validation_attack=PGD(steps=1), guards=None)
    result = fit(model, data, validation, Free(m=5), settings, threat=threat)
    assert result.model.net[1].num_batches_tracked in (5 * 3, 2 * 5 * 3)  # as many updates as the better epoch had
    validated = 2 * len(validation)
    assert result.backwards - validated <= 2 * 5 * len(data) <= result.backwards


def test_replays_and_batches_follow_the_algorithm(tools, data, threat):
    """Three replays on a batch of 16 and then on one of 10, plain gradient descent on the weights, compared bit by bit."""
    lr, m = 0.1, 3
    model, reference = tools.make_model(), tools.make_model()
    context, free = Context(model, threat), Free(m=m)
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)
    delta = torch.zeros(16, 6)
    for rows in (torch.arange(16), torch.arange(20, 30)):
        x, y = data.x[rows], data.y[rows]
        for replay in range(m):
            context.begin_batch(streams(0, "test", rows), rows, 0.0, replay)
            optimiser.zero_grad()
            free.loss(context, x, y).total.backward()
            context.run_callbacks()
            optimiser.step()

            n = len(x)
            point = (x + delta[:n]).clamp(x - threat.eps, x + threat.eps).clamp(0, 1).requires_grad_(True)
            weights = list(reference.parameters())
            loss = nn.functional.cross_entropy(reference(point), y)
            slope, *gradients = torch.autograd.grad(loss, [point, *weights])
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight -= lr * gradient
                moved = (point + threat.eps * slope.sign()).clamp(x - threat.eps, x + threat.eps).clamp(0, 1)
                delta = torch.cat([moved - x, delta[n:]])
    assert torch.equal(context.state["free.delta"], delta)
    assert (delta[10:] != 0).any()  # the shorter batch left the rest as it was
    for name, weight in reference.named_parameters():
        assert torch.allclose(dict(model.named_parameters())[name], weight, atol=1e-7), name


def test_a_longer_batch_keeps_what_there_is(tools, data, threat):
    context, free = Context(tools.make_model(), threat), Free()
    for n in (4, 9):
        context.begin_batch(streams(0, "test", n))
        before = context.state.get("free.delta", torch.zeros(0, 6))
        point = free.adversarials(context, data.x[:n], data.y[:n])
        assert torch.equal(point[len(before) :], data.x[len(before) : n])
        assert torch.allclose(point[: len(before)], data.x[: len(before)] + before, atol=1e-6)
        context.criterion(context.logits(point), data.y[:n]).backward()
        context.run_callbacks()


def test_a_guard_shortens_its_steps(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    context.level = 1
    Free().loss(context, x, y).total.backward()
    context.run_callbacks()
    assert context.state["free.delta"].abs().max() == pytest.approx(threat.eps / 2, rel=1e-4)


def test_awp_around_it_leaves_the_perturbation_its_own_gradient(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    wrapped = AWP(inner=Free())
    wrapped.loss(context, x, y).total.backward()
    context.run_callbacks()
    assert wrapped.replays == 8
    assert (context.state["free.delta"] != 0).any()
