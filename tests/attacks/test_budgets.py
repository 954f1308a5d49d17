"""Budgets: no more is asked, what they leave unmeasured is neither robust nor broken, and a decided bound ends a run."""

import time
from typing import Annotated, ClassVar, Literal

import pytest
import torch
from torch import nn

from martensite.attacks import (
    APGD,
    ATTACKS,
    CW,
    DDN,
    EOT,
    FAB,
    FMN,
    JSMA,
    NES,
    PGD,
    SPSA,
    Adaptive,
    APGDTargeted,
    Attack,
    Boundary,
    BrendelBethge,
    Budget,
    DeepFool,
    GeoDA,
    HopSkipJump,
    Square,
    SuperDeepFool,
    attack,
)  # fmt: skip
from martensite.attacks.ensemble import Ensemble
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.models import Access, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)
N = 30


def plane(margins, size=4):
    """A linear model of two classes and samples with these margins: eps breaks those below ``eps * size``."""
    layer = nn.Linear(size, 2)
    layer.weight.data = torch.stack([torch.ones(size), torch.zeros(size)])
    layer.bias.data = torch.tensor([-size / 2, 0.0])
    margins = torch.as_tensor(margins)
    x = (0.5 + margins / size)[:, None].expand(-1, size).clone()
    return Classifier(layer, 2), x, torch.zeros(len(x), dtype=torch.long)


@pytest.fixture
def hard():
    """Nothing breaks these."""
    return plane([1.0] * N)


class Questions(Attack):
    """Asks about every sample so many times; breaks none."""

    kind: Literal["questions"] = "questions"
    times: int = 5
    pause: float = 0.0
    needs: ClassVar = Access.DECISIONS
    norms: ClassVar = ("linf",)

    def perturb(self, oracle, x, y, threat, rng):
        for _ in range(self.times):
            time.sleep(self.pause)
            oracle.labels(x)
        return x


class Twice(Ensemble):
    """The same questions in two members."""

    kind: Literal["twice"] = "twice"
    times: int = 5
    pause: float = 0.0
    needs: ClassVar = Access.DECISIONS

    def members(self, threat, classes):
        yield Questions(times=self.times, pause=self.pause)
        yield Questions(times=self.times, pause=self.pause)


# queries


@pytest.mark.parametrize("queries", [1, 7, 40])
@pytest.mark.parametrize("method", [PGD(steps=60), APGD(), Square(), SPSA(samples=2), HopSkipJump(), Adaptive(), FAB()])
def test_no_sample_is_asked_about_more_often(hard, method, queries):
    model, x, y = hard
    norm = "linf" if "linf" in method.norms else "l2"
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps=0.1), budget=Budget(queries=queries), batch_size=7)
    assert result.cost.max() <= 1 + queries
    assert result.robust.all(), result.messages


def test_samples_that_run_out_leave_the_others_their_queries():
    # Square asks about a sample only where its square changes something, so a batch's samples run out at different times.
    torch.manual_seed(0)
    layer = nn.Linear(36, 2)
    x = torch.rand(20, 1, 6, 6)
    model = Classifier(nn.Sequential(nn.Flatten(), layer), 2)
    layer.bias.data = torch.tensor([50.0, 0.0])
    result = attack(Square(), model, x, torch.zeros(20).long(), THREAT, budget=Budget(queries=50))
    assert (result.cost == 51).all()


def test_the_members_of_an_ensemble_share_a_sample_s_queries(hard):
    model, x, y = hard
    for queries, spent in ((4, 4), (5, 5), (8, 8), (30, 10)):
        result = attack(Twice(), model, x, y, THREAT, budget=Budget(queries=queries), batch_size=8)
        assert (result.cost == 1 + spent).all()
        assert result.robust.all()


def test_what_the_run_s_queries_cut_short_is_an_error(hard):
    model, x, y = hard
    # Batches of 10 samples, 5 questions each: 50 a batch; the third can't be finished.
    result = attack(Questions(), model, x, y, THREAT, budget=Budget(run_queries=120), batch_size=10)
    assert result.robust.sum() == 20
    assert result.error.tolist() == [False] * 20 + [True] * 10
    assert result.messages == ("questions: the run's budget of 120 queries is spent",)
    assert result.cost.sum() == N + 120
    assert result.forwards == N + 120 + N  # the clean look, the search, the judge's look at three batches
    for most, done in ((149, 20), (150, 30)):
        assert attack(Questions(), model, x, y, THREAT, budget=Budget(run_queries=most), batch_size=10).robust.sum() == done


def test_a_cascade_cut_in_its_second_member_has_measured_nobody_it_did_not_reach(hard):
    model, x, y = hard
    result = attack(Twice(), model, x, y, THREAT, budget=Budget(run_queries=200), batch_size=10)
    assert result.error.tolist() == [False] * 10 + [True] * 20
    assert result.robust.sum() == 10


def test_what_was_broken_before_the_queries_ran_out_stays_broken():
    model, x, y = plane([0.1, 1.0] * 10)
    result = attack(PGD(steps=10), model, x, y, THREAT, budget=Budget(run_queries=100), batch_size=10)
    assert result.error.any()
    assert not (result.success & result.error).any()
    assert result.success[:10:2].all()


class After(Ensemble):
    """An attack that comes when Square has spent a different share of each sample's queries."""

    kind: Literal["after"] = "after"
    then: Annotated[Attack, member_of(ATTACKS)]
    needs: ClassVar = Access.DECISIONS

    def members(self, threat, classes):
        yield Square(queries=20)
        yield self.then


THEN = [
    *(PGD(steps=10), PGD(steps=4, restarts=4), APGD(steps=10), APGDTargeted(steps=5), FAB(steps=5), FAB(steps=4, targets=2)),
    *(SPSA(samples=2, lr=0.05), NES(samples=4), DDN(steps=10), FMN(steps=10), CW(steps=5, search_steps=2), DeepFool(), JSMA()),
    *(
        SuperDeepFool(steps=3),
        HopSkipJump(samples=5),
        GeoDA(),
        Boundary(),
        BrendelBethge(steps=5),
        EOT(attack=PGD(steps=5), samples=3),
    ),
]


@pytest.mark.parametrize("then", THEN, ids=lambda then: then.kind)
@pytest.mark.parametrize("queries", [23, 31])
def test_what_a_sample_may_cost_is_no_matter_of_its_batch(then, queries):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.Tanh(), nn.Linear(16, 4))
    model, x = Classifier(net, 4), torch.rand(25, 1, 6, 6)
    with torch.no_grad():
        y = model(x).argmax(1)
    norm = "linf" if "linf" in then.norms else then.norms[0]
    threat = ThreatModel(norm=norm, eps={"linf": 0.02, "l2": 0.15, "l1": 0.5, "l0": 1.0}[norm])
    method = After(then=then) if norm in Square.model_construct().norms else then
    together, alone = (attack(method, model, x, y, threat, budget=Budget(queries=queries), batch_size=n) for n in (25, 1))
    assert together.cost.max() <= queries + 1
    assert together.cost.tolist() == alone.cost.tolist()
    assert together.success.tolist() == alone.success.tolist()
    assert torch.equal(together.robust, alone.robust)
    torch.testing.assert_close(together.adversarial, alone.adversarial, atol=1e-4, rtol=0)


# seconds


def test_the_run_s_seconds_leave_errors(hard):
    model, x, y = hard
    result = attack(Questions(times=4, pause=0.1), model, x, y, THREAT, budget=Budget(seconds=1.0), batch_size=10)
    assert 0 < result.error.sum() < N
    assert torch.equal(result.robust, ~result.error)
    assert result.messages == ("questions: the budget of 1 seconds is spent",)


def test_a_sample_s_seconds_are_its_share_of_its_batch(hard):
    model, x, y = hard
    # 0.4 s a batch: alone each sample takes 0.4 s, among ten 0.04 s.
    slow = Questions(times=4, pause=0.1)
    alone = attack(slow, model, x[:2], y[:2], THREAT, budget=Budget(sample_seconds=0.25), batch_size=1)
    assert alone.error.all()
    assert alone.messages == ("questions: the budget of 0.25 seconds a sample is spent",)
    assert (alone.cost < 5).all()
    together = attack(slow, model, x[:10], y[:10], THREAT, budget=Budget(sample_seconds=0.25))
    assert together.robust.all()


def test_the_members_of_an_ensemble_share_a_sample_s_seconds(hard):
    model, x, y = hard
    for limit, robust in ((0.3, False), (2.0, True)):
        result = attack(Twice(times=2, pause=0.1), model, x[:1], y[:1], THREAT, budget=Budget(sample_seconds=limit))
        assert bool(result.robust.all()) is robust
        assert bool(result.error.all()) is not robust


def test_samples_whose_time_is_over_leave_the_search(hard):
    model, x, y = hard
    model.net.register_forward_pre_hook(lambda module, args: time.sleep(0.01))
    result = attack(PGD(steps=1000), model, x[:5], y[:5], THREAT, budget=Budget(sample_seconds=0.05))
    assert result.error.all()
    assert result.forwards < 5 * 500


# a bound


def test_a_decided_bound_ends_the_run():
    # Every second sample falls to any step: after two batches of 5 at most 25 of 30 can be robust.
    model, x, y = plane([0.1, 1.0] * (N // 2))
    full = attack(PGD(steps=5), model, x, y, THREAT, batch_size=5)
    assert full.robust.sum() == N / 2
    assert not full.decided
    result = attack(PGD(steps=5), model, x, y, THREAT, batch_size=5, budget=Budget(stop_below=0.85))
    assert result.decided
    assert result.unmeasured.tolist() == [False] * 10 + [True] * 20
    assert not (result.robust | result.success | result.error)[result.unmeasured].any()
    assert torch.equal(result.success[:10], full.success[:10])
    assert torch.equal(result.robust[:10], full.robust[:10])
    assert result.forwards < full.forwards
    assert result.messages == (
        "stopped: at most 25 of 30 samples can be robust, less than the share 0.85 that was asked about; "
        "20 samples were not measured",
    )
    assert result.robust.float().mean() < 0.85


def test_a_bound_that_holds_changes_nothing():
    model, x, y = plane([0.1, 1.0] * (N // 2))
    full = attack(PGD(steps=5), model, x, y, THREAT, batch_size=5)
    for bound in (0.2, 0.5):  # half of them are robust: not less than a half
        result = attack(PGD(steps=5), model, x, y, THREAT, batch_size=5, budget=Budget(stop_below=bound))
        assert not result.decided
        assert not result.unmeasured.any()
        assert torch.equal(result.robust, full.robust)


def test_clean_accuracy_alone_may_decide():
    model, x, y = plane([1.0] * N)
    y[:10] = 1
    result = attack(PGD(), model, x, y, THREAT, budget=Budget(stop_below=0.7))
    assert result.decided
    assert torch.equal(result.unmeasured, result.correct)
    assert result.backwards == 0


def test_a_cascade_that_stops_has_finished_nobody():
    model, x, y = plane([0.1, 1.0] * (N // 2))
    result = attack(Adaptive(), model, x, y, THREAT, budget=Budget(stop_below=0.9))
    assert result.decided
    assert not result.robust.any()
    assert torch.equal(result.unmeasured, ~result.success)


@pytest.mark.parametrize("limits", [{"queries": 0}, {"seconds": 0}, {"run_queries": -1}, {"stop_below": 0}, {"stop_below": 1.1}])
def test_limits_that_make_no_sense(limits):
    with pytest.raises(ConfigError):
        Budget(**limits)
