"""The defended model: what it answers, what an attack sees, and what makes the two agree."""

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import PGD, attack
from martensite.core.errors import ConfigError, DataError
from martensite.core.rng import streams
from martensite.defenses import (
    JPEG,
    BitDepth,
    Defence,
    Defended,
    Energy,
    Evasion,
    Gaussian,
    InputRules,
    Mahalanobis,
    ResizePad,
    Squeezing,
    Voting,
    defend,
    masked,
)
from martensite.models import Classifier, build
from martensite.models.digest import model_digest
from martensite.threat import Constraints, ThreatModel

THREAT = ThreatModel(eps=0.1)


@pytest.fixture(scope="module")
def watched(model, digits):
    """Two detectors that ring often, behind a transform."""
    plan = Defence(transforms=(BitDepth(bits=3),), detectors=(Energy(), Mahalanobis()), false_alarms=0.2)
    return defend(model, plan, digits.held)


def test_transforms_are_applied_in_order(model, digits):
    x = digits.test.x[:10]
    plan = Defence(transforms=(Gaussian(sigma=0.5), BitDepth(bits=2)))
    with torch.no_grad():
        expected = model(BitDepth(bits=2).apply(Gaussian(sigma=0.5).apply(x, (0.0, 1.0), None), (0.0, 1.0), None))
        assert torch.equal(Defended(model, plan).eval()(x), expected)


def test_a_right_or_refused_answer_is_no_success_and_any_other_is(watched, digits):
    """`judged` against `respond`: the attacker wins exactly where the answer is wrong and no alarm rings."""
    chance = torch.Generator().manual_seed(0)
    x = (digits.test.x + 0.6 * torch.rand(digits.test.x.shape, generator=chance) - 0.3).clamp(0, 1)
    y = torch.randint(10, (len(x),), generator=chance)
    y[::2] = watched.respond(x).prediction[::2]
    seen = watched.respond(x)
    wins = (seen.prediction != y) & ~seen.flagged
    assert {bool(one) for one in wins} == {True, False}
    assert {bool(one) for one in seen.flagged} == {True, False}
    with torch.no_grad():
        logits = watched.judged(x, y)
    lead = logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None]).squeeze(1)
    assert torch.equal(lead > 0, wins)


def test_what_an_adaptive_attack_breaks_is_wrong_and_goes_unnoticed(watched, digits):
    for label in range(3):
        rows = (digits.test.y == label).nonzero().flatten()[:12]
        x, y = digits.test.x[rows], digits.test.y[rows]
        result = attack(PGD(steps=15, loss="margin"), Evasion(watched, label), x, y, THREAT)
        seen = watched.respond(result.adversarial)
        wrong = (seen.prediction != y) & ~seen.flagged
        assert torch.equal(wrong & result.correct, result.success & result.correct)


def test_knowing_the_alarm_helps_the_attacker(model, digits):
    """Adversarials of the bare model ring the alarm; with the alarm in the loss more get through."""
    defended = defend(model, Defence(detectors=(Mahalanobis(), Squeezing()), false_alarms=0.3), digits.held)
    through = {"naive": 0, "adaptive": 0}
    for label in range(4):
        rows = digits.test.y == label
        x, y = digits.test.x[rows], digits.test.y[rows]
        view, method = Evasion(defended, label), PGD(steps=15, loss="margin")
        for name, surrogate in (("naive", model), ("adaptive", None)):
            through[name] += int(attack(method, view, x, y, THREAT, surrogate=surrogate).success.sum())
    assert through["adaptive"] > through["naive"]


def test_the_stand_in_helps_the_attacker(model, digits):
    """A quantiser has no gradient: without BPDA PGD moves at random, with it the model falls."""

    class Bare(nn.Module):
        def forward(self, x):
            return model(BitDepth(bits=2).apply(x, (0.0, 1.0), None))

    x, y = digits.test.x[:60], digits.test.y[:60]
    method = PGD(steps=20, loss="margin")
    defended = Defended(model, Defence(transforms=(BitDepth(bits=2),)))
    masked_ = attack(method, Classifier(Bare(), 10), x, y, ThreatModel(eps=0.2))
    through = attack(method, defended, x, y, ThreatModel(eps=0.2))
    assert int(masked_.correct.sum()) == int(through.correct.sum())
    assert int(through.robust.sum()) < int(masked_.robust.sum()) - 5


def test_the_answer_is_whole_and_any_batch_size_gives_it(watched, digits):
    x = torch.cat([digits.test.x, digits.test.x])  # more than a pass
    seen = watched.respond(x)
    assert len(seen.logits) == len(x) == len(seen.decisions)
    alone = watched.respond(x[:3])
    torch.testing.assert_close(alone.logits, seen.logits[:3])
    assert set(seen.decisions) <= {"answer", "flagged"}
    assert seen.decisions.count("flagged") == int(seen.flagged.sum())


def test_without_transforms_the_detectors_look_gives_the_answer(model, digits):
    defended = defend(model, Defence(detectors=(Mahalanobis(),), false_alarms=0.2), digits.held)
    with torch.no_grad():
        torch.testing.assert_close(defended.respond(digits.test.x[:20]).logits, model(digits.test.x[:20]))


def test_random_draws_repeat_only_if_they_are_asked_to(model, digits):
    x, defended = digits.test.x[:6], Defended(model, Defence(transforms=(ResizePad(),)))
    with torch.no_grad():
        defended.reseed(1)
        first, second = defended(x), defended(x)
        defended.reseed(1)
        assert torch.equal(defended(x), first)
        assert not torch.equal(first, second)
        other = Defended(model, Defence(transforms=(ResizePad(),)))
        assert not torch.equal(other(x), Defended(model, Defence(transforms=(ResizePad(),)))(x))  # seeds nobody can foresee
    assert (defended.random, defended.draws) == (True, 10)


def test_the_digest_is_of_model_and_defence(model, digits):
    plain = [Defended(model, Defence(transforms=(one,))) for one in (BitDepth(bits=3), BitDepth(bits=4), JPEG())]
    ringing = [defend(model, Defence(detectors=(Energy(),), false_alarms=a), digits.held) for a in (0.1, 0.2)]
    fewer = defend(model, Defence(detectors=(Energy(),), false_alarms=0.1), digits.held.subset(slice(0, 200)))
    digests = [model_digest(one) for one in (model, *plain, *ringing, fewer)]
    assert len(set(digests)) == len(digests)
    again = Defended(model, Defence(transforms=(BitDepth(bits=3),)), seed=5)
    assert model_digest(again) == digests[1]  # the seed of the draws is no part of the model


def test_what_masks_gradients_is_named(model):
    assert "jpeg" in masked(Defence(transforms=(JPEG(),), hardened=True))
    assert masked(Defence(transforms=(JPEG(),))) == ""
    assert masked(Defence(transforms=(Gaussian(),), hardened=True)) == ""


def test_what_could_not_be_meant_is_refused(model, digits):
    with pytest.raises(ConfigError, match="holds nothing"):
        Defence()
    with pytest.raises(ConfigError, match="gets its noise last"):
        Defence(transforms=(JPEG(),), voting=Voting(sigma=0.1))
    with pytest.raises(ConfigError, match="defended already"):
        Defended(Defended(model, Defence(transforms=(JPEG(),))), Defence(transforms=(JPEG(),)))
    with pytest.raises(ConfigError, match="no clean data"):
        defend(model, Defence(detectors=(Energy(),)))
    with pytest.raises(ConfigError, match="could never ring"):
        defend(model, Defence(detectors=(Energy(),), false_alarms=0.001), digits.held)
    with pytest.raises(ConfigError, match="fitted detectors are none"):
        Defended(model, Defence(detectors=(Energy(),)))
    with pytest.raises(DataError, match="classes"):
        defend(build("mlp", (1, 8, 8), 3), Defence(detectors=(Energy(),)), digits.held)
    with pytest.raises(ConfigError, match="did you mean 'jpeg'"):
        Defence.parse({"transforms": ["jpg"]})


# votes


def test_votes_are_those_of_the_noise(model, digits):
    """A linear model in one dimension: the share of votes is Phi((x - 0.5) / sigma)."""
    net = nn.Linear(1, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0], [1.0]]))
        net.bias.copy_(torch.tensor([0.5, 0.0]))
    line, x = Classifier(net, 2), torch.tensor([[0.2], [0.5], [0.6], [0.9]])
    share = Voting(sigma=0.2, votes=20_000).count(line, x, seed=3)[:, 1] / 20_000
    expected = torch.distributions.Normal(0.0, 0.2).cdf(x[:, 0] - 0.5)
    assert (share - expected).abs().max() < 5 * (0.25 / 20_000) ** 0.5
    seen = Defended(line, Defence(voting=Voting(sigma=0.2, votes=100)), seed=0).respond(x)
    assert seen.abstained.tolist() == [False, True, True, False] or seen.abstained.tolist() == [False, True, False, False]
    assert seen.prediction[[0, 3]].tolist() == [0, 1]
    assert seen.decisions[1] == "abstained"


def test_abstentions_are_kept_out_of_an_attackers_wins(model, digits):
    defended = Defended(model, Defence(voting=Voting(sigma=0.3, votes=30)))
    x, y = digits.test.x[:60], digits.test.y[:60]
    defended.reseed(0)
    seen = defended.respond(x)
    defended.reseed(0)
    with torch.no_grad():
        logits = defended.judged(x, y)
    assert seen.abstained.any()
    wins = logits.scatter(1, y[:, None], -torch.inf).amax(1) > logits.gather(1, y[:, None]).squeeze(1)
    assert torch.equal(wins, (seen.prediction != y) & ~seen.abstained)
    with pytest.raises(ConfigError, match="no vote could be clear"):
        Voting(sigma=0.1, votes=10)


def test_the_votes_gradient_is_that_of_the_mean_probability(model, digits):
    x = digits.test.x[:3].clone().requires_grad_(True)
    voting = Voting(sigma=0.1, votes=20, gradient_draws=4)
    logits, _ = voting.answer(model, x, 0, streams(0, "t", 3))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), x)
    noise = streams(0, "t", 3).normal((4, 1, 8, 8)).transpose(0, 1)
    other = digits.test.x[:3].clone().requires_grad_(True)
    mean = torch.stack([model(other + 0.1 * one).softmax(1) for one in noise]).mean(0)
    (expected,) = torch.autograd.grad(mean[:, 0].log().sum(), other)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)


# rules


def test_rules_refuse_a_batch_and_name_the_rows():
    rules = InputRules(shape=(3,), rows=4)
    x = rules.check(torch.tensor([[0.1, 0.2, 0.3], [0.0, float("nan"), 0.5], [0.0, 1.5, 0.0]]).numpy())
    assert x.dtype == torch.float32
    reasons = rules.refusals(x)
    assert reasons[0] is None
    assert "NaN" in reasons[1]
    assert "outside [0, 1]" in reasons[2]
    for bad, why in (
        (torch.zeros(2, 4), "shape"),
        (torch.zeros(5, 3), "rows"),
        (torch.zeros(0, 3), "rows"),
        (torch.zeros(3), "shape"),
        (torch.zeros(2, 3, dtype=torch.complex64), "real numbers"),
        ([["a", "b", "c"]], "real numbers"),
        (None, "real numbers"),
    ):
        with pytest.raises(DataError, match=why):
            rules.check(bad)
    for other in (">f4", "float16", "uint16", "int64", "bool"):
        assert torch.equal(rules.check(np.ones((2, 3), other)), torch.ones(2, 3))
    huge = rules.refusals(rules.check(np.full((1, 3), 1e300)))
    assert "infinity" in huge[0]
    with pytest.raises(DataError, match="numbers"):
        InputRules(shape=(3,), size=5).check(torch.zeros(2, 3))


def test_rules_of_a_table_are_its_schema():
    schema = Constraints(
        names=("age", "pay", "a", "b"),
        units={"age": (0.0, 100.0)},
        integer=("age",),
        one_hot=(("a", "b"),),
        ranges={"pay": (0.2, 0.9)},
    )
    rules = InputRules(shape=(4,), table=schema)
    rows = torch.tensor(
        [[0.3, 0.5, 1.0, 0.0], [0.305, 0.5, 1.0, 0.0], [0.3, 0.95, 1.0, 0.0], [0.3, 0.5, 1.0, 1.0], [float("nan")] * 4]
    )
    reasons = rules.refusals(rows)
    assert reasons[0] is None
    assert all(reasons[1:])
    assert len(set(reasons[1:])) == 4
    assert InputRules.parse(rules.model_dump(mode="json")) == rules
