"""Constrained attacks against optima found by linear and quadratic programming; constraints in the engine and in training."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn
from torch.nn import functional as F

from martensite.attacks import (
    APGD,
    DDN,
    EOT,
    FAB,
    FGM,
    FGSM,
    FMN,
    MIFGSM,
    NES,
    PGD,
    AutoAttack,
    DeepFool,
    GeoDA,
    HopSkipJump,
    Oracle,
    Square,
    SuperDeepFool,
    attack,
)
from martensite.attacks.losses import ascend
from martensite.attacks.record import Record
from martensite.attacks.verify import judge
from martensite.core.errors import DataError, ThreatError
from martensite.core.rng import streams
from martensite.data.table import load_table
from martensite.models import BlackBox, Classifier, undisturbed
from martensite.threat import Constraints, ThreatModel, violations
from martensite.training.context import Context

N = 16
EPS = {"linf": 0.1, "l2": 0.4, "l1": 1.0}
NAMES = (*"abcdefgh", "total", "half")
SEPARATE = {"names": NAMES, "units": {"total": (0.0, 2.0)}, "fixed": ("a",), "ranges": {"b": (0.2, 0.6), "c": (0.1, 0.7)}}
EQUATIONS = ("total == d + e", "half == f / 2 + 0.2")


class Linear:
    """A linear model of two classes under constraints, and what can be reached on it at best."""

    def __init__(self, equations):
        generator = torch.Generator().manual_seed(5)
        self.rules = Constraints(**SEPARATE, relations=equations)
        x = torch.rand(N, 10, generator=generator, dtype=torch.float64)
        x[:, 1], x[:, 2] = 0.2 + 0.4 * x[:, 1], 0.1 + 0.6 * x[:, 2]
        x[:, 8], x[:, 9] = (x[:, 3] + x[:, 4]) / 2, x[:, 5] / 2 + 0.2
        self.x = x.float()
        w = torch.randn(10, generator=generator)
        layer = nn.Linear(10, 2)
        layer.weight.data = torch.stack([-w / 2, w / 2])
        layer.bias.data = torch.stack([w.sum() / 4, -w.sum() / 4])
        self.model = Classifier(layer, 2)
        with torch.no_grad():
            self.y = self.model(self.x).argmax(1)
            self.margin = self.model(self.x).diff(dim=1).squeeze(1).abs().double().numpy()
        self.w = w.double().numpy()[None] * np.where(self.y.numpy() == 1, -1.0, 1.0)[:, None]  # uphill, for each sample
        low, high = np.zeros(10), np.ones(10)
        low[[1, 2]], high[[1, 2]] = (0.2, 0.1), (0.6, 0.7)
        clean = self.x.double().numpy()
        self.low, self.high = low - clean, high - clean
        self.low[:, 0] = self.high[:, 0] = 0.0
        self.equal = np.zeros((len(equations), 10))
        for row, columns in zip(self.equal, ([8, 3, 4], [9, 5, 5]), strict=False):
            row[columns] = (2.0, -1.0, -1.0) if columns[2] == 4 else (1.0, -0.5, -0.5)

    def best(self, i, norm, eps):
        """The largest gain of the margin that a change of length eps can bring sample i."""
        w, low, high, zero = self.w[i], self.low[i], self.high[i], np.zeros(len(self.equal))
        if norm == "linf":
            bounds = list(zip(np.maximum(low, -eps), np.minimum(high, eps), strict=True))
            return -linprog(-w, A_eq=self.equal, b_eq=zero, bounds=bounds).fun
        if norm == "l1":
            bounds = [(0, max(most, 0)) for most in high] + [(0, max(-least, 0)) for least in low]
            both = np.concatenate([self.equal, -self.equal], axis=1)
            return -linprog(np.concatenate([-w, w]), np.ones((1, 20)), [eps], both, zero, bounds).fun
        keep = [{"type": "ineq", "fun": lambda d: eps**2 - d @ d, "jac": lambda d: -2 * d}]
        if len(self.equal):
            keep.append({"type": "eq", "fun": lambda d: self.equal @ d, "jac": lambda d: self.equal})
        bounds = list(zip(low, high, strict=True))
        options = {"maxiter": 500, "ftol": 1e-12}
        return -minimize(lambda d: -w @ d, np.zeros(10), jac=lambda d: -w, bounds=bounds, constraints=keep, options=options).fun

    @functools.cache  # noqa: B019
    def most(self, norm):
        """(n,) the largest gains at the norm's eps."""
        return np.array([self.best(i, norm, EPS[norm]) for i in range(N)])

    @functools.cache  # noqa: B019
    def least(self, norm):
        """(n,) the least distances at which samples can be broken; infinite where they can't."""
        return np.array([self._least(i, norm) for i in range(N)])

    def _least(self, i, norm):
        low, high = 0.0, {"linf": 1.0, "l2": 3.0, "l1": 10.0}[norm]
        if self.best(i, norm, high) < self.margin[i]:
            return np.inf
        for _ in range(25):
            middle = (low + high) / 2
            low, high = (low, middle) if self.best(i, norm, middle) >= self.margin[i] else (middle, high)
        return high


@pytest.fixture(scope="module", params=[(), EQUATIONS], ids=["separate", "equations"])
def linear(request):
    return Linear(request.param)


# The least share of the constrained optimum: with constraints on single features, and with equations as well. Where an equation
# makes a feature follow, an L1 step costs more than it seems to.
BOUNDED = [
    (FGSM(), "linf", 0.9999, 0.999),
    (PGD(), "linf", 0.9999, 0.999),
    (APGD(), "linf", 0.9999, 0.999),
    (MIFGSM(), "linf", 0.9999, 0.999),
    (Square(queries=1000), "linf", 0.9999, 0.99),
    (NES(), "linf", 0.95, 0.9),
    (PGD(steps=100), "l2", 0.95, 0.9),  # without constraints it is 0.95 as well: it shrinks, then clamps
    (APGD(), "l2", 0.98, 0.95),
    (FGM(), "l1", 0.999, 0.7),
    (PGD(steps=200), "l1", 0.95, 0.7),
]
NEAREST = [
    (DeepFool(), "linf", 0.99, 0.99),
    (FMN(), "linf", 0.99, 0.99),
    (FAB(), "linf", 0.99, 0.99),
    (DeepFool(), "l2", 0.99, 0.99),
    (SuperDeepFool(), "l2", 0.99, 0.99),
    (DDN(), "l2", 0.98, 0.97),
    (FMN(), "l2", 0.98, 0.98),
    (FAB(), "l2", 0.99, 0.99),
    (FMN(), "l1", 0.95, 0.7),
    (FAB(), "l1", 0.95, 0.7),
    (HopSkipJump(queries=4000), "l2", 0.95, 0.95),
    (HopSkipJump(queries=4000), "linf", 0.95, 0.95),
    (GeoDA(), "l2", 0.95, 0.95),
]


def ids(rows):
    return [f"{method.kind}-{norm}" for method, norm, *_ in rows]


@pytest.mark.parametrize(("method", "norm", "share", "with_equations"), BOUNDED, ids=ids(BOUNDED))
def test_bounded_attacks_reach_the_constrained_optimum(linear, method, norm, share, with_equations):
    threat, x = ThreatModel(norm=norm, eps=EPS[norm], constraints=linear.rules), linear.x
    oracle = Oracle(linear.model, until_broken=False)
    oracle.begin(x, repair=threat.repair(x, threat.eps))
    with undisturbed(linear.model):
        z = oracle.admissible(method.perturb(oracle, x, linear.y, threat, streams(0, "linear", N)), torch.arange(N))
    assert not violations(z, x, linear.rules, threat.box)
    gain = ((z - x).double().numpy() * linear.w).sum(1)
    best = linear.most(norm)
    assert (gain <= best * (1 + 1e-4)).all()
    assert (gain / best).min() >= (with_equations if linear.rules.relations else share)


@pytest.mark.parametrize(("method", "norm", "share", "with_equations"), NEAREST, ids=ids(NEAREST))
def test_minimum_norm_attacks_reach_the_constrained_least_distance(linear, method, norm, share, with_equations):
    result = attack(method, linear.model, linear.x, linear.y, ThreatModel(norm=norm, eps=EPS[norm], constraints=linear.rules))
    least = linear.least(norm)
    assert np.isfinite(least).all()
    ratio = least / result.distance.double().numpy()
    assert not result.error.any(), result.messages
    assert (ratio <= 1 + 1e-4).all()
    assert ratio.min() >= (with_equations if linear.rules.relations else share)


# the oracle


def test_without_constraints_nothing_is_copied_or_computed():
    oracle = Oracle(Classifier(nn.Linear(3, 2), 2))
    x = torch.rand(4, 3)
    oracle.begin(x)
    assert oracle.admissible(x) is x
    assert ThreatModel(eps=0.1).repair(x, 0.1) is None


def test_the_oracle_answers_at_the_admissible_point_whoever_is_asked_about(loans):
    rules, draw = loans
    torch.manual_seed(0)
    model, x = Classifier(nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 2)), 2), draw(6, 0)
    repair = ThreatModel(norm="l2", eps=1.0, constraints=rules).repair(x, None)
    oracle = Oracle(model)
    oracle.begin(x, repair=repair)
    z = torch.rand(6, 10)
    expected = model(repair(z, x)).detach()
    assert torch.equal(oracle.logits(z), expected)
    rows = torch.tensor([4, 1, 4])
    assert torch.allclose(oracle.logits(z[rows], rows), expected[rows], atol=1e-6)
    several = torch.cat([z[rows[:2]], x[rows[:2]]])
    both = torch.cat([expected[rows[:2]], model(x[rows[:2]]).detach()])
    assert torch.allclose(oracle.logits(several, rows[:2]), both, atol=1e-6)
    oracle.places = torch.tensor([5, 2])
    assert torch.allclose(oracle.logits(z[[5, 2]]), expected[[5, 2]], atol=1e-6)
    with oracle.among(torch.tensor([3, 5])):
        assert torch.allclose(oracle.logits(z[[3, 5]]), expected[[3, 5]], atol=1e-6)
        assert torch.allclose(oracle.logits(z[[5]], torch.tensor([1])), expected[[5]], atol=1e-6)
    assert oracle.account.spent.tolist() == [1, 4, 2, 2, 5, 4]


def test_gradients_know_what_cannot_move(loans):
    rules, draw = loans
    torch.manual_seed(0)
    model, x = Classifier(nn.Linear(10, 2), 2), draw(6, 0)
    y = torch.zeros(6, dtype=torch.int64)
    oracle = Oracle(model)
    oracle.begin(x, repair=ThreatModel(norm="linf", eps=0.1, constraints=rules).repair(x, 0.1))
    loss = ascend("margin", y, "untargeted")
    _, gradient = oracle.gradient(x, loss)
    _, jacobian = oracle.jacobian(x, lambda logits: loss(logits)[:, None])
    w = (model.net.weight[1] - model.net.weight[0]).detach()
    expected = w.clone()
    expected[[0, 4]] = 0.0  # age is fixed; total hands its gradient on to income and rent, at half the scale
    expected[[1, 3]] += 0.5 * w[4]
    assert torch.allclose(gradient, expected.expand(6, -1), atol=1e-6)
    assert torch.allclose(next(jacobian), gradient)
    _, halved = oracle.gradient(x, loss, view=lambda z: z / 2)
    assert torch.allclose(halved, gradient / 2, atol=1e-6)


# the judge and the engine


def test_the_judge_rejects_what_breaks_a_rule_and_says_which(loans):
    rules, draw = loans
    x, y = draw(3, 0), torch.zeros(3, dtype=torch.int64)
    z = x.clone()
    z[1, 2] += 0.01  # a fifth of a loan
    z[2, 0] += 0.01
    threat = ThreatModel(norm="linf", eps=0.2, constraints=rules)
    verdict = judge(x, z, torch.tensor([[0.0, 1.0]] * 3), y, threat)
    assert verdict.allowed.tolist() == [True, False, False]
    assert verdict.within.all()
    record = Record(x, torch.zeros(3, dtype=torch.bool))
    record.take(PGD(), torch.arange(3), z, verdict)
    assert record.error.tolist() == [False, True, True]
    assert record.success.tolist() == [True, False, False]
    assert record.rejected == 2
    assert "1 broke 'fixed features stay'" in record.messages[0]
    assert "1 broke 'loans is a whole number'" in record.messages[0]


def test_clean_inputs_that_break_the_constraints_are_refused_before_any_work(loans):
    rules, draw = loans
    x = draw(5, 0)
    x[3, 4] += 0.01
    asked = []

    def answer(x):
        asked.append(len(x))
        return np.zeros((len(x), 2))

    with pytest.raises(DataError, match="1 of 5 clean inputs break the constraints; sample 3 breaks 'total == income"):
        attack(
            Square(queries=5), BlackBox(answer, 2), x, torch.zeros(5, dtype=torch.int64), ThreatModel(eps=0.1, constraints=rules)
        )
    assert not asked
    with pytest.raises(ThreatError, match="the constraints name 10 features and inputs have 4"):
        attack(
            Square(queries=5), BlackBox(answer, 2), x[:, :4], torch.zeros(5, dtype=torch.int64),
            ThreatModel(eps=0.1, constraints=rules),
        )  # fmt: skip


def test_batch_size_and_resumption_change_nothing(loans, tmp_path):
    rules, draw = loans
    torch.manual_seed(0)
    model, x = Classifier(nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2)), 2), draw(20, 0)
    y = model(x).argmax(1)
    threat = ThreatModel(norm="linf", eps=0.1, constraints=rules)
    whole = attack(PGD(steps=10), model, x, y, threat)
    small = attack(PGD(steps=10), model, x, y, threat, batch_size=7, store=tmp_path)
    again = attack(PGD(steps=10), model, x, y, threat, batch_size=7, store=tmp_path)
    assert torch.allclose(whole.adversarial, small.adversarial, atol=1e-6)
    assert torch.equal(small.adversarial, again.adversarial)
    assert torch.equal(whole.success, small.success)


# training, and ensembles where there is no engine


@pytest.mark.parametrize("method", [PGD(steps=3), AutoAttack(steps=3, queries=5, targets=1), EOT(samples=2), FGSM()], ids=str)
def test_training_attacks_keep_the_constraints(loans, method):
    rules, draw = loans
    torch.manual_seed(0)
    model, x = Classifier(nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 2)), 2), draw(20, 0)
    threat = ThreatModel(norm="linf", eps=0.1, constraints=rules)
    context = Context(model.train(), threat)
    context.begin_batch(streams(0, "batch", 20))
    z = context.attack(method, x, model(x).argmax(1))
    assert not violations(z, x, rules, threat.box)
    assert (z != x).flatten(1).any(1).sum() > 10
    assert threat.distance(x, z).max() <= 0.1 + 2e-7


# real data

SPAMBASE = Path("/work/shared/data/spambase/spambase.data")


@pytest.fixture(scope="module")
def spam():
    """A small network on spambase, its test part, and the constraints of such mails."""
    if not SPAMBASE.exists():
        pytest.skip(f"{SPAMBASE} is not there")
    with SPAMBASE.open() as file:
        names = tuple(file.readline().strip().split(",")[:-1])
    columns = torch.from_numpy(np.loadtxt(SPAMBASE, delimiter=",", skiprows=1))[:, :-1]
    units = dict(zip(names, zip(columns.amin(0).tolist(), columns.amax(0).tolist(), strict=True), strict=True))
    train = load_table(SPAMBASE, "train", scale="minmax")
    test = load_table(SPAMBASE, "test", scale="minmax").subset(slice(0, 100))
    rules = Constraints(
        names=names, units=units, ranges={"0:54": (0.0, 100.0)},
        integer=("capital_run_length_longest", "capital_run_length_total"),
        fixed=("word_freq_george", "word_freq_650"),  # the recipient's own name and area code
        relations=(
            "capital_run_length_longest <= capital_run_length_total",
            "capital_run_length_average <= capital_run_length_longest",
            " + ".join(names[:48]) + " <= 100",
        ),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(57, 32), nn.ReLU(), nn.Linear(32, 2))
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(150):
            optimiser.zero_grad()
            F.cross_entropy(net(train.x), train.y).backward()
            optimiser.step()
    return Classifier(net, 2), test, rules


@pytest.mark.parametrize(
    ("method", "norm", "eps"),
    [(PGD(), "linf", 0.02), (PGD(), "l2", 0.1), (DeepFool(), "l2", 0.1), (HopSkipJump(queries=1000), "l2", 0.1)],
    ids=lambda value: getattr(value, "kind", str(value)),
)
def test_spam_keeps_what_mails_are(spam, method, norm, eps):
    model, test, rules = spam
    free = attack(method, model, test.x, test.y, ThreatModel(norm=norm, eps=eps))
    threat = ThreatModel(norm=norm, eps=eps, constraints=rules)
    result = attack(method, model, test.x, test.y, threat)
    assert not result.error.any(), result.messages
    assert not violations(result.adversarial, test.x, rules, threat.box)
    assert violations(free.adversarial, test.x, rules, threat.box)
    assert result.correct.float().mean() > 0.85
    # Fewer fall than without constraints, and many still do. The judge has asked the model about the admissible points.
    assert int((result.success & result.correct).sum()) >= 10
    assert result.success.sum() <= free.success.sum() + 1
    asked = model(result.adversarial).argmax(1) != test.y
    assert torch.equal(result.success & result.correct, asked & (result.distance <= eps + 1e-6) & result.correct)
