"""Known answers: models whose robust accuracy has a closed form, plain and in every disguise, and shapes of every kind."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import (
    APGD,
    ATTACKS,
    DDN,
    EOT,
    FAB,
    FGSM,
    PGD,
    UAP,
    Adaptive,
    APGDTargeted,
    AutoAttack,
    HopSkipJump,
    SparseRS,
    Square,
    attack,
)
from martensite.attacks.canaries import Noisy, Saturated, Staircase
from martensite.models import BPDA, Classifier
from martensite.threat import ThreatModel

STEP = 1 / 255
CASCADES = [AutoAttack(), Adaptive()]
FALLS, HOLDS = 0.9, 1.02  # margins, in shares of what the best attack gains: below one it breaks them, above it can't


class Plane(nn.Module):
    """A linear network of K classes: class 0 has weight w, the others 0, and class 1 is ahead of the rest by one."""

    def __init__(self, shape, classes, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.flat = nn.Flatten()
        self.layer = nn.Linear(math.prod(shape), classes)
        w = torch.randn(math.prod(shape), generator=generator)
        w = w.sign() * w.abs().clamp_min(0.2)
        self.layer.weight.data = torch.stack([w] + [torch.zeros_like(w)] * (classes - 1))
        self.layer.bias.data = torch.tensor([-0.5 * float(w.sum()), 0.0] + [-1.0] * (classes - 2))

    def forward(self, x):
        return self.layer(self.flat(x))

    def gain(self, norm, eps):
        """What an adversary in the middle of the box takes off the margin: eps times the dual norm of w."""
        w = self.layer.weight[0].detach()
        if norm == "l0":
            # A feature moves to the face that lies against its weight, from which a margin of m has moved it away by m / |w|_1:
            # the m at which (1/2 + m / |w|_1) times the largest weights is m itself.
            largest = float(w.abs().sort(descending=True).values[: int(eps)].sum())
            return 0.5 * largest / (1.0 - largest / float(w.abs().sum()))
        return eps * float(torch.linalg.vector_norm(w, {"linf": 1, "l2": 2, "l1": torch.inf}[norm]))


def samples(net, shape, gain, falls=FALLS, n=12, on_grid=False):
    """Inputs near the middle of the box, of class 0: half of them with margins below what the adversary gains, half above."""
    w = net.layer.weight[0].detach().double()
    shares = torch.cat([torch.linspace(0.3, 1.0, n // 2) * falls, torch.linspace(HOLDS, 1.3, n - n // 2)]).double()
    along = shares[:, None] * gain * w.sign() / w.abs().sum()
    x = (0.5 + along).float().view(n, *shape)
    if on_grid:
        x = (x * 255).round() / 255
    robust = torch.arange(n) >= n // 2
    with torch.no_grad():
        margin = net(x)[:, 0] - net(x)[:, 1]
        assert torch.equal(margin > gain, robust)
    return x, torch.zeros(n, dtype=torch.long), robust


def eps_for(norm, shape):
    return {"linf": 10 * STEP, "l2": 0.4, "l1": 0.45, "l0": 3.0}[norm]


# the plain model, in closed form

# The share of the optimal gain that an attack is sure of on this model; without an entry, FALLS.
SURE = {
    ("one_pixel", "l0"): 0.3,
    ("sparse_rs", "l0"): 0.5,
    ("square", "l2"): 0.3,
    ("square", "l1"): 0.25,
    ("uap", "l1"): 0.5,
    ("ti_fgsm", "linf"): 0.1,
    ("ti_fgsm", "l2"): 0.2,
    ("vni_fgsm", "l2"): 0.7,
    ("di_fgsm", "linf"): 0.8,
    ("di_fgsm", "l2"): 0.6,
}
SHORT = {
    "autoattack": {"steps": 30, "queries": 200},
    "square": {"queries": 500},
    "sparse_rs": {"queries": 500},
    "spsa": {"queries": 2000, "lr": 0.05},
    "nes": {"queries": 2000},
    "eot": {"samples": 2, "judge_samples": 1},
}
BOUNDED = [(cls, norm) for cls in ATTACKS if cls.bounded and cls.ball for norm in cls.norms]


def kind(cls):
    return cls.model_fields["kind"].default


@pytest.mark.parametrize(("cls", "norm"), BOUNDED, ids=[f"{kind(cls)}-{norm}" for cls, norm in BOUNDED])
@pytest.mark.parametrize("classes", [2, 3])
def test_robust_accuracy_is_that_of_the_closed_form(cls, norm, classes):
    if kind(cls) == "patch":
        pytest.skip("a patch covers what it covers: test_patch")
    shape = (1, 6, 6)
    net, eps = Plane(shape, classes), eps_for(norm, shape)
    x, y, robust = samples(net, shape, net.gain(norm, eps), SURE.get((kind(cls), norm), FALLS))
    result = attack(cls(**SHORT.get(kind(cls), {})), Classifier(net, classes), x, y, ThreatModel(norm=norm, eps=eps))
    assert not result.error.any(), result.messages
    assert result.correct.all()
    assert torch.equal(result.robust, robust)
    assert result.rejected == 0


@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_every_version_of_autoattack(version, norm, classes):
    shape = (12,)
    net, eps = Plane(shape, classes), eps_for(norm, shape)
    x, y, robust = samples(net, shape, net.gain(norm, eps))
    method = AutoAttack(version=version, steps=20, queries=50, draws=3)
    result = attack(method, Classifier(net, classes), x, y, ThreatModel(norm=norm, eps=eps))
    assert torch.equal(result.robust, robust)
    assert not result.error.any()


SHORT_AUTOATTACKS = [AutoAttack(version=version, steps=20, queries=50, draws=2) for version in ("standard", "plus", "rand")]


@pytest.mark.parametrize("method", [APGDTargeted(), *SHORT_AUTOATTACKS, Adaptive()])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_target_is_the_only_success(method, norm):
    # With three classes the third is behind the second by one, everywhere: it can't be reached, and the second can.
    shape = (12,)
    net, eps = Plane(shape, 3), eps_for(norm, shape)
    x, y, robust = samples(net, shape, net.gain(norm, eps))
    threat = ThreatModel(norm=norm, eps=eps, goal="targeted")
    second, third = (attack(method, Classifier(net, 3), x, y, threat, target=y + k) for k in (1, 2))
    assert torch.equal(second.success, ~robust)
    assert not third.success.any()
    assert not (second.error | third.error).any()


# disguises


@pytest.mark.parametrize("classes", [2, 3])
def test_saturated_logits_fool_pgd_and_no_cascade(classes):
    shape = (1, 6, 6)
    net, threat = Plane(shape, classes), ThreatModel(eps=10 * STEP)
    x, y, robust = samples(net, shape, net.gain("linf", threat.eps))
    model = Classifier(Saturated(net), classes)
    for blind in (FGSM(), PGD(restarts=3)):
        result = attack(blind, model, x, y, threat)
        assert result.robust.all()
        assert "the gradient is zero" in result.warnings[0]
    assert torch.equal(attack(PGD(loss="margin"), model, x, y, threat).robust, robust)
    for method in CASCADES:
        assert torch.equal(attack(method, model, x, y, threat).robust, robust)


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("method", [AutoAttack(steps=30, queries=100), Adaptive()], ids=lambda method: method.kind)
def test_saturated_logits_in_other_norms(method, norm):
    shape = (1, 6, 6)
    net, eps = Plane(shape, 3), eps_for(norm, shape)
    x, y, robust = samples(net, shape, net.gain(norm, eps))
    assert torch.equal(attack(method, Classifier(Saturated(net), 3), x, y, ThreatModel(norm=norm, eps=eps)).robust, robust)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_on_a_staircase_the_cascade_breaks_what_autoattack_breaks(norm):
    # Here there is no closed form: Square's bumps are smooth, and the weights are not.
    shape = (1, 6, 6)
    net, threat = Plane(shape, 3), ThreatModel(norm=norm, eps=eps_for(norm, shape))
    x, y, robust = samples(net, shape, net.gain(norm, threat.eps), falls=0.4, on_grid=True)
    hidden = Classifier(nn.Sequential(Staircase(), net), 3)
    whole, adaptive = (attack(method, hidden, x, y, threat) for method in (AutoAttack(queries=1000), Adaptive(probe=300)))
    assert whole.success.any()
    assert (adaptive.success >= whole.success).all()
    assert not adaptive.success[robust].any()


def test_a_staircase_hides_from_gradients_alone():
    # On the grid of 8-bit images and with eps a multiple of a step, the ball's corners are on the grid: the optimum is the same.
    shape = (1, 6, 6)
    net, threat = Plane(shape, 3), ThreatModel(eps=10 * STEP)
    x, y, robust = samples(net, shape, net.gain("linf", threat.eps), on_grid=True)
    hidden = Classifier(nn.Sequential(Staircase(), net), 3)
    for blind in (PGD(random_start=False), FGSM()):
        result = attack(blind, hidden, x, y, threat)
        assert result.robust.all()
        assert result.warnings
    for method in CASCADES:
        assert torch.equal(attack(method, hidden, x, y, threat).robust, robust)
    opened = Classifier(nn.Sequential(BPDA(Staircase()), net), 3)
    for method in (PGD(), APGD()):
        result = attack(method, opened, x, y, threat)
        assert torch.equal(result.robust, robust)
        with torch.no_grad():
            assert torch.equal(hidden(result.adversarial).argmax(1) == y, robust)


def test_a_stochastic_model_is_judged_over_draws():
    shape = (1, 6, 6)
    net, threat = Plane(shape, 2), ThreatModel(eps=10 * STEP)
    gain = net.gain("linf", threat.eps)
    w = net.layer.weight[0].detach()
    # Margins of 0.5 and 1.5 gains: after the best attack -0.5 and 0.5 gains are left. The margin's noise is the difference of two
    # uniform ones of 0.75 gains: triangular in [-1.5, 1.5] gains, so a draw goes wrong with a chance of 1/2 (1 - 1/3)**2 = 0.222,
    # and half of 60 draws with one of 2e-6.
    share = torch.tensor([0.5] * 20 + [1.5] * 20)
    x = (0.5 + share[:, None] * gain * w.sign() / w.abs().sum()).view(40, *shape)
    y, robust = torch.zeros(40).long(), share > 1

    def model():
        return Classifier(Noisy(net, 0.75 * gain), 2)

    # By single draws each verdict is wrong with a chance of 0.222 at least: of 40 fewer than 3 with one of 3e-3.
    lucky = attack(PGD(steps=10), model(), x, y, threat)
    assert (lucky.robust != robust).sum() >= 3
    assert not lucky.correct.all()
    for method in (AutoAttack(version="rand", steps=10, draws=60), EOT(attack=PGD(steps=10), judge_samples=60)):
        result = attack(method, model(), x, y, threat)
        assert result.correct.all()
        assert torch.equal(result.robust, robust)


# precision and size


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("method", [PGD(), AutoAttack(steps=30, queries=100), Adaptive()], ids=lambda method: method.kind)
def test_models_of_any_precision(dtype, method):
    # bfloat16 keeps 8 bits of an input near a half: steps of 1/256, so margins are kept well apart.
    shape = (1, 6, 6)
    net, threat = Plane(shape, 3), ThreatModel(eps=0.125)
    gain = net.gain("linf", threat.eps)
    w = net.layer.weight[0].detach()
    share = torch.tensor([0.3] * 10 + [1.5] * 10)
    x = (0.5 + share[:, None] * gain * w.sign() / w.abs().sum()).view(20, *shape)
    model = Classifier(net, 3).to(dtype)
    result = attack(method, model, x, torch.zeros(20).long(), threat)
    assert not result.error.any(), result.messages
    assert torch.equal(result.robust, share > 1)
    with torch.no_grad():
        assert torch.equal(model(result.adversarial.to(dtype)).argmax(1) == 0, share > 1)


@pytest.mark.parametrize("shift", [1e4, -1e4])
@pytest.mark.parametrize("method", [PGD(), APGD(), APGD(loss="dlr"), AutoAttack(steps=30, queries=100), Adaptive()])
def test_logits_far_from_zero(shift, method):
    # Near 1e4 float32 has steps of 1/1024: the margins, up to 5, stay what they are to a part in a thousand.
    shape = (1, 6, 6)
    net, threat = Plane(shape, 3), ThreatModel(eps=20 * STEP)
    x, y, robust = samples(net, shape, net.gain("linf", threat.eps))
    net.layer.bias.data += shift
    result = attack(method, Classifier(net, 3), x, y, threat)
    assert torch.equal(result.robust, robust)
    assert result.warnings == ()


@pytest.mark.parametrize("method", [PGD(), *CASCADES], ids=lambda method: method.kind)
def test_dropout_and_frozen_batch_normalisation_come_back_as_they_were(method):
    shape = (1, 6, 6)
    plane, threat = Plane(shape, 3), ThreatModel(eps=10 * STEP)
    x, y, robust = samples(plane, shape, plane.gain("linf", threat.eps))
    frozen = nn.BatchNorm2d(1)
    net = nn.Sequential(frozen, nn.Dropout(0.5), plane, nn.Dropout(0.9))
    model = Classifier(net, 3).train()
    frozen.eval().requires_grad_(False)  # in fine-tuning: statistics and weights stay
    flags = [module.training for module in model.modules()]
    needed = [parameter.requires_grad for parameter in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = attack(method, model, x, y, threat)
    assert torch.equal(result.robust, robust)
    assert [module.training for module in model.modules()] == flags
    assert [parameter.requires_grad for parameter in model.parameters()] == needed
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# shapes


class Recurrent(nn.Module):
    """A GRU over a sequence (time, features)."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def sequence():
    return Recurrent(), (8, 3)


def video():
    """(channels, time, height, width)."""
    net = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d((2, 2, 2)), nn.Flatten(), nn.Linear(64, 3))
    return net, (3, 4, 6, 6)


REPRESENTATIVE = [
    (PGD(steps=10), "linf"), (APGD(steps=20), "l2"), (APGD(steps=20), "l1"), (APGDTargeted(steps=10), "linf"),
    (FAB(steps=10), "l2"), (DDN(steps=50), "l2"), (Square(queries=300), "linf"), (Square(queries=300), "l2"),
    (SparseRS(queries=300), "l0"), (HopSkipJump(queries=500), "l2"), (UAP(epochs=3), "linf"),
    (AutoAttack(steps=10, queries=50), "linf"), (Adaptive(steps=20), "linf"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "norm"), REPRESENTATIVE, ids=[f"{method.kind}-{norm}" for method, norm in REPRESENTATIVE])
@pytest.mark.parametrize("make", [sequence, video], ids=["sequence", "video"])
def test_sequences_and_videos(method, norm, make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, shape = make()
        x = torch.rand(40, *shape)
    model = Classifier(net, 3)
    with torch.no_grad():
        head = next(module for module in reversed(list(net.modules())) if isinstance(module, nn.Linear))
        head.weight *= 10
        head.bias -= model(x).mean(0)
        y = model(x).argmax(1)
    eps = {"linf": 0.1, "l2": 1.0, "l1": 5.0, "l0": 12.0}[norm]
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps=eps), batch_size=16)
    assert not result.error.any(), result.messages
    assert result.adversarial.shape == x.shape
    assert result.success.any()
    with torch.no_grad():
        assert ((model(result.adversarial).argmax(1) != y) | ~result.success).all()
