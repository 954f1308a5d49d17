"""How a batch is stepped on: precision, clipping, layout, replays, and the order of callbacks."""

from typing import Literal

import pytest
import torch

from martensite.attacks import FGSM, PGD
from martensite.data import Dataset
from martensite.models import build
from martensite.training import LossParts, Objective, Ramp, TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import PGDAT, Standard
from martensite.training.update import Updater

SETTINGS = TrainingSettings(epochs=2, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2))


@pytest.fixture(scope="module")
def images():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(96) % 2
    x = torch.rand(96, 1, 8, 8, generator=rng) * 0.5
    x[y == 1, :, :4] += 0.4
    return Dataset(x[:64], y[:64], 2), Dataset(x[64:], y[64:], 2)


def run(images, threat, objective=None, **change):
    settings = SETTINGS.model_copy(update={"epochs": 30, "lr": 2e-2, "validate_every": 10, **change})
    model = build({"kind": "small_cnn", "width": 4}, (1, 8, 8), 2)
    return fit(model, *images, objective or PGDAT(attack=FGSM()), settings, threat=threat)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_update_in_half_precision_learns_and_keeps_float32_weights(precision, images, threat, monkeypatch):
    seen, step = [], Updater._step

    def spy(self, loss):
        seen.append((loss.dtype, self.state.scaler.is_enabled()))
        step(self, loss)

    monkeypatch.setattr(Updater, "_step", spy)
    result = run(images, threat, precision=precision)
    assert set(seen) == {(torch.float32, precision == "float16")}
    assert result.model.dtype == torch.float32
    assert result.best.robust >= 0.9
    exact = run(images, threat)
    assert result.history[0].loss != exact.history[0].loss
    assert result.history[0].loss == pytest.approx(exact.history[0].loss, rel=0.05)


def test_attack_gradients_in_half_precision_leave_adversarials_and_update_in_float32(images, threat, monkeypatch):
    made, attack = [], Context.attack

    def spy(self, *args, **options):
        made.append(attack(self, *args, **options))
        return made[-1]

    monkeypatch.setattr(Context, "attack", spy)
    result = run(images, threat, attack_precision="bfloat16")
    assert {adversarial.dtype for adversarial in made} == {torch.float32}
    assert result.best.robust >= 0.9


def test_channels_last_changes_the_layout_and_not_the_result(images, threat, monkeypatch):
    seen, logits = [], Context.logits

    def spy(self, x):
        seen.append(self.model.net[2].weight.is_contiguous(memory_format=torch.channels_last))
        return logits(self, x)

    monkeypatch.setattr(Context, "logits", spy)
    laid, plain = run(images, threat, channels_last=True, epochs=2), run(images, threat, epochs=2)
    assert seen[0]
    assert not seen[-1]
    assert laid.history[0].loss == pytest.approx(plain.history[0].loss, rel=1e-4)
    assert all(parameter.is_contiguous() for parameter in laid.model.parameters())


@pytest.mark.slow
def test_a_compiled_network_trains_alike_and_is_given_back_plain(images, threat):
    compiled, plain = run(images, threat, compile=True, epochs=2), run(images, threat, epochs=2)
    assert compiled.history[0].loss == pytest.approx(plain.history[0].loss, rel=1e-3)
    assert compiled.model.net._compiled_call_impl is None
    assert list(compiled.model.state_dict()) == list(plain.model.state_dict())


def test_the_gradient_is_clipped_to_its_norm(tools, data, validation, monkeypatch):
    """With plain SGD, the weights move by the learning rate times the clipped gradient."""
    moved, step = [], Updater._step

    def spy(self, loss):
        before = [parameter.detach().clone() for parameter in self.model.parameters()]
        step(self, loss)
        change = torch.cat([(new - old).flatten() for new, old in zip(self.model.parameters(), before, strict=True)])
        moved.append(change.norm().item())

    monkeypatch.setattr(Updater, "_step", spy)
    settings = TrainingSettings(epochs=1, batch_size=32, optimiser="sgd", momentum=0.0, lr=0.5, schedule="constant", clip=0.01)
    fit(tools.make_model(), data, validation, Standard(), settings)
    assert moved == pytest.approx([0.5 * 0.01] * 3, rel=1e-4)


def test_label_smoothing_is_that_of_the_formula(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat, settings=TrainingSettings(label_smoothing=0.2))
    logits = context.model(x)
    log = logits.log_softmax(1)
    target = torch.full_like(log, 0.1).scatter(1, y[:, None], 0.9)
    assert torch.allclose(context.criterion(logits, y), -(target * log).sum(1).mean())
    assert context.criterion(logits, y, "none").shape == (16,)


class Replayed(Objective):
    """Records what the loop calls, and when."""

    kind: Literal["replayed_in_a_test"] = "replayed_in_a_test"
    m: int = 3

    @property
    def replays(self):
        return self.m

    def loss(self, context, x, y):
        calls.append(("loss", context.replay, context.rows.tolist(), round(context.done, 6)))
        weight = next(context.model.parameters())
        before = weight.detach().clone()
        context.after_backward(lambda: calls.append(("outer", weight.grad is not None, torch.equal(weight, before))))
        context.after_backward(lambda: calls.append(("inner",)))
        return LossParts(context.criterion(context.logits(x), y))


calls: list = []


def test_replays_and_callbacks(tools, data, validation):
    """m updates a batch on the same samples; callbacks between the backward pass and the step, the last given first."""
    calls.clear()
    result = fit(tools.make_model(), data, validation, Replayed(), SETTINGS.model_copy(update={"epochs": 1}))
    assert [call[0] for call in calls] == ["loss", "inner", "outer"] * 9
    assert [call[1] for call in calls if call[0] == "loss"] == [0, 1, 2] * 3
    rows = [call[2] for call in calls if call[0] == "loss"]
    assert rows[0] == rows[1] == rows[2] != rows[3]
    assert sorted(rows[0] + rows[3] + rows[6]) == list(range(96))
    assert [call[3] for call in calls if call[0] == "loss"] == [round((i + 0.5) / 9, 6) for i in range(9)]
    assert all(call[1:] == (True, True) for call in calls if call[0] == "outer")
    assert result.cost.update.forwards == 3 * 96


def test_a_ramp_grows_eps_over_training(tools, data, validation, threat, monkeypatch):
    seen, attack = [], Context.attack

    def spy(self, *args, **options):
        seen.append(self.threat.eps)
        return attack(self, *args, **options)

    monkeypatch.setattr(Context, "attack", spy)
    settings = SETTINGS.model_copy(update={"epochs": 4, "ramp": Ramp(until=0.5, eps_from=0.2)})
    fit(tools.make_model(), data, validation, PGDAT(attack=FGSM()), settings, threat=threat)
    expected = [threat.eps * min(1.0, 0.2 + 0.8 * (i + 0.5) / 12 / 0.5) for i in range(12)]
    assert seen == pytest.approx(expected)
