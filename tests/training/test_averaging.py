"""Averages of the weights, against the recursions and means that define them."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD
from martensite.training import EMA, SWA, TrainingSettings, best, fit
from martensite.training.averaging import Averaged
from martensite.training.objectives import Standard
from martensite.training.update import Updater


def followed(average, values, ends=None, done=None):
    """The average of a scalar weight that takes these values."""
    net, averaged = nn.Linear(1, 1, bias=False), Averaged(average)
    for place, value in enumerate(values):
        with torch.no_grad():
            net.weight.fill_(value)
        averaged.follow(net, 1.0 if done is None else done[place], True if ends is None else ends[place])
    return averaged.tensors.get("weight"), averaged.count


def test_ema_is_its_recursion_with_a_decay_that_warms_up():
    values, decay = [1.0, 2.0, -1.0, 4.0, 0.5, 3.0], 0.35
    expected = values[0]
    for t, value in enumerate(values[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * value
    average, count = followed(EMA(decay=decay), values)
    assert average.item() == pytest.approx(expected, rel=1e-6)
    assert count == len(values)


def test_ema_of_a_weight_that_stays_is_that_weight():
    assert followed(EMA(), [0.7] * 20)[0].item() == pytest.approx(0.7)


def test_swa_is_the_mean_of_the_ends_of_the_last_epochs():
    average, count = followed(
        SWA(start=0.5), [9.0, 8.0, 1.0, 7.0, 4.0], [True, False, True, False, True], [0.2, 0.6, 0.6, 0.8, 1.0]
    )
    assert (average.item(), count) == (2.5, 2)


def test_whole_numbers_are_copied_and_running_statistics_averaged():
    net, averaged = nn.BatchNorm1d(2), Averaged(SWA(start=0.0))
    for step in range(3):
        net.num_batches_tracked.fill_(step)
        net.running_mean.fill_(step)
        averaged.follow(net, 1.0, True)
    assert averaged.tensors["num_batches_tracked"] == 2
    assert averaged.tensors["running_mean"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("wrong", [{"decay": 1.0}, {"decay": -0.1}])
def test_a_decay_out_of_range_is_refused(wrong):
    with pytest.raises(Exception, match="decay"):
        EMA(**wrong)


SETTINGS = TrainingSettings(epochs=3, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2), average=EMA(decay=0.9))


def test_raw_and_averaged_weights_are_both_measured_and_the_better_ones_returned(monkeypatch, tools, data, validation, threat):
    answers = iter([(0.9, 0.5), (0.9, 0.7), (0.9, 0.6), (0.9, 0.4), (0.9, 0.6), (0.8, 0.65)])
    monkeypatch.setattr(best, "measure", lambda *_: next(answers))
    result = fit(tools.make_model(), data, validation, Standard(), SETTINGS, threat=threat)
    assert [(epoch.robust, epoch.weights) for epoch in result.history] == [(0.7, "average"), (0.6, "raw"), (0.65, "average")]
    assert (result.best.number, result.best.weights) == (1, "average")


@pytest.mark.parametrize("average", [EMA(decay=0.9), SWA(start=0.0)])
def test_the_returned_average_is_that_of_the_weights_on_the_way(average, monkeypatch, tools, data, validation):
    monkeypatch.setattr(best, "measure", _prefers_every_second())
    seen, update = [], Updater.__call__

    def spy(self, *rest):
        finished = update(self, *rest)
        ends = self.state.batch + 1 == self.plan.batches
        seen.append((tools.weights(self.model.net), ends))
        return finished

    monkeypatch.setattr(Updater, "__call__", spy)
    settings = SETTINGS.model_copy(update={"average": average})
    result = fit(tools.make_model("noisy"), data, validation, Standard(), settings)
    assert result.best.weights == "average"
    if isinstance(average, SWA):
        ends = [weights["0.weight"] for weights, is_end in seen if is_end]
        expected = torch.stack(ends).mean(0)
    else:
        expected = seen[0][0]["0.weight"]
        for t, (weights, _) in enumerate(seen[1:], start=1):
            d = min(0.9, (1 + t) / (10 + t))
            expected = d * expected + (1 - d) * weights["0.weight"]
    assert torch.allclose(result.model.net[0].weight, expected, atol=1e-6)


def _prefers_every_second():
    calls = []

    def measure(*_):
        calls.append(None)
        return (0.5 + 0.01 * len(calls) if len(calls) % 2 == 0 else 0.4, None)

    return measure


@pytest.mark.parametrize("rest", [0, 1, 2])
def test_swa_takes_in_every_late_epoch_whatever_its_last_batch(monkeypatch, rest, tools, data, validation):
    """A rest of one sample is left out of training, and the epoch ends before it."""
    follow, counts = Averaged.follow, []

    def counted(self, *args):
        follow(self, *args)
        counts.append(self.count)

    monkeypatch.setattr(Averaged, "follow", counted)
    settings = TrainingSettings(epochs=4, batch_size=32, average=SWA(start=0.5))
    fit(tools.make_model(), data.subset(slice(0, 64 + rest)), validation, Standard(), settings)
    assert counts[-1] == 2
