"""EOT against models that answer at random: gradients are means, luck is no success, and k fresh draws decide."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import DDN, EOT, FGSM, PGD, Attack, Oracle, attack
from martensite.attacks.eot import Expectation
from martensite.attacks.losses import ascend
from martensite.core.errors import ThreatError
from martensite.core.rng import streams
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)


class Chance(nn.Module):
    """Class 0 on most draws, whatever the input: the first logit leads by 1 plus noise uniform in [-r, r]."""

    def __init__(self, r, seed=0):
        super().__init__()
        self.r, self.generator, self.asked = r, torch.Generator().manual_seed(seed), 0

    def forward(self, x):
        self.asked += len(x)
        noise = self.r * (2 * torch.rand(len(x), generator=self.generator) - 1)
        return torch.stack([1 + noise + 0 * x.sum(1), torch.zeros_like(noise)], 1)


class Linear(nn.Module):
    """Logits of the difference w . x + b, with w and b drawn from two values each call."""

    def __init__(self, slopes, offset, seed=0):
        super().__init__()
        self.slopes, self.offset, self.generator = slopes, offset, torch.Generator().manual_seed(seed)

    def forward(self, x):
        w = self.slopes[torch.randint(len(self.slopes), (len(x),), generator=self.generator)]
        gap = (w * (x - 0.5)).sum(1) + self.offset
        return torch.stack([gap, torch.zeros_like(gap)], 1)


def run(method, net, n=400, threat=THREAT, **options):
    x = torch.full((n, 2), 0.5)
    return attack(method, Classifier(net, 2), x, torch.zeros(n, dtype=torch.long), threat, **options)


def at_least(share, k, p):
    """Chance that of k draws with chance p at least the share comes true."""
    return sum(math.comb(k, i) * p**i * (1 - p) ** (k - i) for i in range(math.ceil(share * k), k + 1))


def near(observed, p, n):
    return abs(observed - p) < 4 * math.sqrt(p * (1 - p) / n) + 1e-9


def test_one_draw_breaks_by_luck_what_many_draws_call_robust():
    # The first logit loses in one draw of four, at any input: p = P(1 + u < 0), u uniform in [-2, 2].
    lucky = run(PGD(steps=1), Chance(2.0))
    assert near(float((~lucky.correct).float().mean()), 0.25, 400)
    judged = run(EOT(attack=PGD(steps=1), samples=2, judge_samples=20, share=0.9), Chance(2.0))
    assert judged.correct.all()
    assert judged.robust.all()


@pytest.mark.parametrize(("k", "share"), [(1, 1.0), (3, 0.5), (5, 0.5), (4, 0.25), (10, 0.3)])
def test_the_chance_of_success_is_binomial(k, share):
    p, n = 0.25, 2000
    result = run(EOT(attack=FGSM(), samples=1, judge_samples=k, share=share), Chance(2.0), n)
    once = at_least(share, k, p)
    assert near(float((~result.correct).float().mean()), once, n)
    again = result.success[result.correct]  # attacked, and judged over fresh draws
    assert near(float(again.float().mean()), once, len(again))


def test_a_targeted_success_needs_its_share_too():
    # The second logit wins in one draw of four: a share of 1/2 of 20 is reached with a chance of 1.4 %, of 1/20 with 99.7 %.
    threat, target = ThreatModel(eps=0.1, goal="targeted"), torch.ones(400, dtype=torch.long)
    for share, least, most in ((0.5, 0.0, 0.06), (0.05, 0.97, 1.0)):
        result = run(EOT(attack=FGSM(), samples=1, share=share), Chance(2.0), threat=threat, target=target)
        assert least <= float(result.success.float().mean()) <= most


def test_the_mean_gradient_breaks_what_single_draws_can_not_follow():
    # Slopes (3, 1) and (-2.9, 1): the first feature pulls one way and the other, only their mean leads down along both. The
    # offset is out of reach of single steps that follow the draw of the moment, since those undo each other.
    slopes = torch.tensor([[30.0, 1.0], [-29.0, 1.0]])
    x = torch.full((1, 2), 0.5)
    net = Linear(slopes, 0.0)
    oracle = Oracle(Classifier(net, 2))
    loss = ascend("logit", torch.zeros(1, dtype=torch.long), "untargeted")
    _, gradient = Expectation(oracle, 4000, torch.zeros(1, dtype=torch.long), "untargeted").gradient(x, loss)
    # minus the mean slope, (-0.5, -1), within four standard errors of 29.5 / sqrt(4000)
    assert abs(float(gradient[0, 0]) + 0.5) < 4 * 29.5 / math.sqrt(4000)
    assert float(gradient[0, 1]) == pytest.approx(-1.0, abs=1e-4)
    assert (oracle.forwards, oracle.backwards) == (4000, 4000)


@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
def test_logits_are_those_of_the_worst_draw(goal):
    draws = iter(torch.tensor([[[0.0, 2.0], [3.0, 0.0]], [[1.0, 0.5], [0.0, 1.0]], [[0.0, 1.0], [0.0, 2.0]]]))
    net = nn.Module()
    net.forward = lambda x: next(draws)
    y = torch.tensor([0, 1]) if goal == "untargeted" else torch.tensor([1, 0])
    logits = Expectation(Oracle(Classifier(net, 2)), 3, y, goal).logits(torch.zeros(2, 1))
    # sample 0: draw 1 alone is for class 0; sample 1: draw 2 is most for class 1
    assert logits.tolist() == [[1.0, 0.5], [0.0, 2.0]]


def test_a_search_ends_early_only_where_every_draw_is_fooled():
    x, y = torch.full((50, 2), 0.5), torch.zeros(50, dtype=torch.long)
    for r, ends in ((2.0, False), (0.0, False)):  # one draw in four is fooled; none
        oracle = Oracle(Classifier(Chance(r), 2))
        oracle.begin(x)
        EOT(attack=PGD(steps=3), samples=30).perturb(oracle, x, y, THREAT, streams(0, "s", 50))
        assert bool(oracle.claimed.any()) is ends
        assert (oracle.account.spent == 90).all()
    oracle.begin(x)
    net = Linear(torch.tensor([[1.0, 1.0], [1.0, 2.0]]), 0.01)  # one step breaks both draws
    oracle = Oracle(Classifier(net, 2))
    oracle.begin(x)
    EOT(attack=PGD(steps=10, step_size=0.1), samples=5).perturb(oracle, x, y, THREAT, streams(0, "s", 50))
    assert oracle.claimed.all()
    assert (oracle.account.spent <= 15).all()


@pytest.mark.parametrize("inner", [PGD(steps=4, restarts=2), FGSM()], ids=lambda inner: inner.kind)
def test_on_a_model_that_answers_the_same_it_is_the_inner_attack(inner):
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), 3)
    x, rng = torch.rand(20, 6), lambda: streams(0, "s", 20)
    with torch.no_grad():
        y = model(x).argmax(1)
    with undisturbed(model):
        plain, averaged = Oracle(model), Oracle(model)
        plain.begin(x), averaged.begin(x)
        expected = inner.perturb(plain, x, y, THREAT, rng())
        found = EOT(attack=inner, samples=4).perturb(averaged, x, y, THREAT, rng())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(averaged.account.spent, 4 * plain.account.spent)
    assert (averaged.forwards, averaged.backwards) == (4 * plain.forwards, 4 * plain.backwards)
    assert torch.equal(averaged.claimed, plain.claimed)


def test_jacobians_are_means_and_counted():
    slopes = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    oracle = Oracle(Classifier(Linear(slopes, 0.0), 2))
    y = torch.zeros(5, dtype=torch.long)
    _, gradients = Expectation(oracle, 500, y, "untargeted").jacobian(torch.rand(5, 2), lambda logits: logits)
    first, second = gradients
    torch.testing.assert_close(first, torch.tensor([[2.0, 0.0]]).expand(5, 2), rtol=0, atol=0.2)
    assert not second.any()
    assert (oracle.forwards, oracle.backwards) == (2500, 5000)


def test_every_pass_is_counted():
    net = Chance(0.5)
    result = run(EOT(attack=PGD(steps=3), samples=4, judge_samples=6), net, 10)
    assert result.forwards == net.asked == 10 * (6 + 3 * 4 + 6)
    assert result.backwards == 10 * 3 * 4
    assert (result.cost == 1 + 12).all()


def test_a_least_distance_is_refused():
    with pytest.raises(ThreatError, match="averages bounded attacks"):
        run(EOT(attack=DDN()), Chance(0.0), 2, ThreatModel(norm="l2", eps=0.5))


def test_the_inner_attack_says_what_fits():
    with pytest.raises(ThreatError, match="fgsm does not support l2"):
        run(EOT(attack=FGSM()), Chance(0.0), 2, ThreatModel(norm="l2", eps=0.5))


def test_settings_hold_the_inner_attack():
    method = EOT.parse({"attack": {"kind": "pgd", "steps": 7}})
    assert isinstance(method.attack, Attack)
    assert method.attack.steps == 7
    assert EOT.parse({"attack": "fgsm"}).attack == FGSM()


@pytest.mark.parametrize("kind", ["rotation_translation", "corruptions"])
def test_transformations_are_no_more_of_a_ball_inside_it(kind):
    method = EOT.parse({"attack": kind, "samples": 3, "judge_samples": 1})
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model, threat = Classifier(net, 3), ThreatModel(eps=0.001)
    with torch.no_grad():
        y = model(x).argmax(1)
    averaged, plain = (attack(each, model, x, y, threat) for each in (method, method.attack))
    assert not method.ball
    assert averaged.rejected == 0
    assert not averaged.error.any()
    assert averaged.success.any()
    assert ((averaged.cost - 1) % 3 == 0).all()
    if kind == "rotation_translation":  # which draws nothing: on a model that answers the same each time it is the inner attack
        assert torch.equal(averaged.success, plain.success)
        assert torch.equal(averaged.cost - 1, 3 * (plain.cost - 1))


def test_ballots_and_labels_are_asked_as_often():
    oracle, x = Oracle(Classifier(Chance(2.0), 2)), torch.full((400, 2), 0.5)
    oracle.begin(x)
    mean = Expectation(oracle, 20, torch.zeros(400, dtype=torch.long), "untargeted")
    # One draw in four is fooled; that all of twenty are has a chance of 1e-12.
    assert (mean.labels(x) == 0).all()
    assert (mean.ballot(x).argmax(1) == 0).all()
    assert oracle.forwards == 2 * 20 * 400
