"""Minimum-norm attacks: least distances of linear models in closed form, other libraries, targets, inputs where searches fail."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import (
    CW,
    DDN,
    EAD,
    FAB,
    FMN,
    JSMA,
    BrendelBethge,
    DeepFool,
    Oracle,
    SigmaZero,
    SuperDeepFool,
    attack,
)  # fmt: skip
from martensite.attacks.linear import boundary, rivals, step_to_plane
from martensite.attacks.nearest import Nearest
from martensite.core.errors import AccessError
from martensite.core.rng import streams
from martensite.data.load import load_data
from martensite.models import Access, Classifier, undisturbed
from martensite.threat import ThreatModel

# Long enough to converge on a linear model.
METHODS = [
    DeepFool(),
    SuperDeepFool(),
    DDN(),
    FMN(),
    FAB(steps=30),
    FAB(steps=30, targets=9),
    CW(steps=200),
    EAD(steps=500),
    JSMA(),
    SigmaZero(steps=200),
    BrendelBethge(steps=100),
]
CASES = [(method, norm) for method in METHODS for norm in method.norms]
NAMES = [f"{method.kind}{'-targets' if getattr(method, 'targets', None) else ''}-{norm}" for method, norm in CASES]
every_case = pytest.mark.parametrize(("method", "norm"), CASES, ids=NAMES)
EPS = {"linf": 0.1, "l2": 0.5, "l1": 2.0, "l0": 3.0}


def threat_of(norm, box=(0.0, 1.0), goal="untargeted", eps=None):
    return ThreatModel(norm=norm, eps=eps or EPS[norm], box=box, goal=goal)


def perturb(method, model, x, y, threat):
    oracle = Oracle(model)
    with undisturbed(model):
        return method.perturb(oracle, x, y, threat, streams(0, "minimum norm", len(x))), oracle


# linear models


def hadamard(size):
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def faces(classes, size=16, box=(0.0, 1.0), scale=1.0):
    """A linear model whose decision boundaries are as steep as each other in every norm: the strongest rival is the nearest."""
    layer = nn.Linear(size, classes)
    layer.weight.data = hadamard(size)[1 : classes + 1] * scale
    layer.bias.data = -layer.weight.data @ torch.full((size,), (box[0] + box[1]) / 2)
    return Classifier(nn.Sequential(nn.Flatten(), layer), classes, box=box)


def least(model, x, y, norm, box):
    """The shortest way to any decision boundary inside the box, sample by sample and class by class, by bisection or greedily."""
    weight, bias = (part.detach().double().numpy() for part in model.net[1].parameters())
    result = []
    for point, right in zip(x.flatten(1).double().numpy(), y.tolist(), strict=True):
        ways = [math.inf]
        for other in set(range(len(weight))) - {right}:
            w = weight[other] - weight[right]
            gain, need = np.abs(w), -(w @ point + bias[other] - bias[right])
            room = np.where(w > 0, box[1] - point, point - box[0])
            if gain @ room >= need:
                ways.append(WAYS[norm](gain, room, need))
        result.append(min(ways))
    return np.array(result)


def shared(step):
    def way(gain, room, need):
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if gain @ np.minimum(middle * step(gain), room) < need else (low, middle)
        moved = np.minimum(high * step(gain), room)
        return np.linalg.norm(moved) if step is np.abs else moved.max()

    return way


def greedy_l1(gain, room, need):
    total = 0.0
    for place in np.argsort(-gain):
        taken = min(room[place], need / gain[place]) if gain[place] else 0.0
        total, need = total + taken, need - gain[place] * taken
    return total


def greedy_l0(gain, room, need):
    return 1 + int((np.cumsum(-np.sort(-gain * room)) < need).sum())


WAYS = {"linf": shared(np.ones_like), "l2": shared(np.abs), "l1": greedy_l1, "l0": greedy_l0}


def off_face(model, classes, shape, box, spread, n=12):
    """Inputs around the box's middle, whose distance from the nearest boundary is no mere rounding."""
    generator = torch.Generator().manual_seed(classes)
    x = (sum(box) / 2 + spread * torch.randn(400, *shape, generator=generator)).clamp(*box)
    top = model(x).topk(2, dim=1).values
    clear = ((top[:, 0] - top[:, 1]) > 0.3 * (top[:, 0] - top[:, 1]).mean()).nonzero().squeeze(1)[:n]
    return x[clear], model(x[clear]).argmax(1)


@every_case
@pytest.mark.parametrize(("classes", "shape"), [(2, (16,)), (3, (2, 2, 2, 2)), (10, (2, 8))], ids=["2", "3", "10"])
@pytest.mark.parametrize(
    ("box", "spread"), [((-10.0, 10.0), 0.5), ((0.0, 1.0), 0.1), ((0.0, 1.0), 0.4)], ids=["far", "unit", "cut"]
)
def test_the_least_distance_of_a_linear_model(method, norm, classes, shape, box, spread):
    model = faces(classes, box=box)
    x, y = off_face(model, classes, shape, box, spread)
    result = attack(method, model, x, y, threat_of(norm, box))
    ratio = result.distance.double().numpy() / least(model, x, y, norm, box)
    assert not result.error.any(), result.messages
    assert ratio.min() >= 1 - 1e-4  # else the closed form is wrong
    if norm == "l0" and method.kind == "jsma":  # it goes to the class that is nearest in probability
        assert np.median(ratio) == 1
        assert (ratio * least(model, x, y, norm, box) <= least(model, x, y, norm, box) + 1).all()
    elif norm == "l0":
        assert (ratio == 1).all()
    else:
        assert np.median(ratio) <= 1.002
        assert ratio.max() <= 1.01


@every_case
def test_distances_follow_the_scale_of_the_box(method, norm):
    x = torch.rand(12, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    small, large = faces(4).double(), faces(4, box=(0.0, 255.0), scale=1 / 255).double()
    y = small(x).argmax(1)
    one = attack(method, small, x, y, threat_of(norm)).distance
    many = attack(method, large, 255 * x, y, threat_of(norm, (0.0, 255.0))).distance
    torch.testing.assert_close(many / (1 if norm == "l0" else 255), one, rtol=0.02, atol=1e-4)


# small networks


@pytest.fixture(scope="module")
def digits():
    """A convolutional network on scikit-learn's digits, trained for some seconds, and test images that it gets right."""
    train, test = load_data("digits", split="train"), load_data("digits", split="test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(net.parameters(), 2e-3)
        for _ in range(300):
            rows = torch.randint(len(train.x), (128,))
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(train.x[rows]), train.y[rows]).backward()
            optimiser.step()
    model = Classifier(net, 10).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    right = (model(test.x).argmax(1) == test.y).nonzero().squeeze(1)[:40]
    assert len(right) == 40
    return model, test.x[right], test.y[right]


QUICK = [
    DeepFool(),
    SuperDeepFool(steps=10),
    DDN(steps=60),
    FMN(steps=100),
    FAB(steps=10),
    FAB(steps=10, targets=9),
    CW(steps=100, search_steps=5, c=1.0, lr=0.05),
    EAD(steps=60, search_steps=4, c=0.1),
    JSMA(),
    SigmaZero(steps=100),
    BrendelBethge(steps=40),
]
QUICK_CASES = [(method, norm) for method in QUICK for norm in method.norms]
every_quick_case = pytest.mark.parametrize(("method", "norm"), QUICK_CASES, ids=NAMES)


@every_quick_case
def test_every_image_falls_and_eps_plays_no_part(digits, method, norm):
    model, x, y = digits
    wide, narrow = (
        attack(method, model, x, y, threat_of(norm, eps=eps)) for eps in (EPS[norm] * 2, EPS[norm] / 3 if norm != "l0" else 1)
    )
    assert wide.distance.isfinite().all()
    assert torch.equal(wide.adversarial, narrow.adversarial)
    assert torch.equal(wide.distance, narrow.distance)
    assert torch.equal(wide.success, wide.distance <= EPS[norm] * 2)
    worst = {"linf": 0.45, "l2": 1.6, "l1": 6.0, "l0": 9.0}[norm]
    assert wide.distance.median() < worst


@every_quick_case
def test_targets_are_reached(digits, method, norm):
    model, x, y = digits
    if getattr(method, "targets", None):
        pytest.skip("the targets are the attack's own")
    target = (y + 3) % 10
    result = attack(
        method, model, x, y, threat_of(norm, goal="targeted", eps=EPS[norm] * 5 if norm != "linf" else 1.0), target=target
    )
    found = result.distance.isfinite()
    assert found.float().mean() >= 0.9
    assert (model(result.adversarial[found]).argmax(1) == target[found]).all()
    anywhere = attack(method, model, x, y, threat_of(norm))
    assert result.distance.median() > anywhere.distance.median()


PEERS = {
    "deepfool-l2": (DeepFool(), "l2", "L2DeepFoolAttack", {"steps": 50}),
    "deepfool-linf": (DeepFool(), "linf", "LinfDeepFoolAttack", {"steps": 50}),
    "ddn-l2": (DDN(steps=60), "l2", "DDNAttack", {"steps": 60}),
    "fmn-linf": (FMN(steps=60), "linf", "LInfFMNAttack", {"steps": 60}),
    "fmn-l2": (FMN(steps=60), "l2", "L2FMNAttack", {"steps": 60}),
    "fmn-l1": (FMN(steps=60), "l1", "L1FMNAttack", {"steps": 60}),
    "fmn-l0": (FMN(steps=60), "l0", "L0FMNAttack", {"steps": 60}),
    "ead-l1": (
        EAD(steps=60, search_steps=4, c=0.1),
        "l1",
        "EADAttack",
        {"steps": 60, "binary_search_steps": 4, "initial_const": 0.1, "decision_rule": "L1"},
    ),
    "cw-l2": (
        CW(steps=60, search_steps=4, c=1.0, lr=0.05),
        "l2",
        "L2CarliniWagnerAttack",
        {"steps": 60, "binary_search_steps": 4, "initial_const": 1.0, "stepsize": 0.05},
    ),
}


@pytest.mark.parametrize("name", PEERS)
def test_no_farther_than_foolbox(digits, name):
    foolbox = pytest.importorskip("foolbox")
    model, x, y = digits
    method, norm, peer, parameters = PEERS[name]
    ours = attack(method, model, x, y, threat_of(norm)).distance
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    theirs = getattr(foolbox.attacks, peer)(**parameters)(wrapped, x, y, epsilons=None)[1]
    theirs = torch.where(model(theirs).argmax(1) != y, threat_of(norm).distance(x, theirs), torch.inf)
    assert ours.median() <= 1.02 * theirs.median()


@pytest.mark.parametrize(("norm", "peer"), [("linf", "Linfinity"), ("l2", "L2"), ("l1", "L1"), ("l0", "L0")])
def test_brendel_bethge_from_the_same_start_as_foolbox(digits, norm, peer):
    pytest.importorskip("numba")
    foolbox = pytest.importorskip("foolbox")
    model, x, y = digits
    ours = attack(BrendelBethge(steps=100), model, x, y, threat_of(norm)).distance
    start = attack(DeepFool(top=3), model, x, y, threat_of(norm if norm == "linf" else "l2")).adversarial
    method = getattr(foolbox.attacks, f"{peer}BrendelBethgeAttack")(steps=100)
    theirs = method(foolbox.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=None, starting_points=start)[1]
    theirs = torch.where(model(theirs).argmax(1) != y, threat_of(norm).distance(x, theirs), torch.inf)
    assert ours.median() <= 1.005 * theirs.median()


# where searches break


@every_quick_case
def test_on_the_boundary_already(method, norm):
    model = faces(3).double()
    x = torch.full((4, 16), 0.5, dtype=torch.float64)
    x[0, 0] += 1e-9  # a margin just above rounding, and ties
    y = model(x).argmax(1)
    z, _ = perturb(method, model, x, y, threat_of(norm))
    assert z.isfinite().all()
    assert (model(z).argmax(1) != y).all()
    assert threat_of(norm).distance(x, z).max() <= {"linf": 1e-3, "l2": 1e-2, "l1": 1e-2, "l0": 2}[norm]


class Deaf(nn.Module):
    """Class 0 everywhere, with a gradient of zero."""

    def forward(self, x):
        return torch.relu(-1 - x.flatten(1)[:, :3]) + torch.tensor([1.0, 0.0, 0.0])


@every_quick_case
def test_no_gradient_no_adversarial_no_nan(method, norm):
    model, x = Classifier(Deaf(), 3), torch.rand(5, 2, 4, generator=torch.Generator().manual_seed(0))
    result = attack(method, model, x, torch.zeros(5, dtype=torch.long), threat_of(norm))
    assert not result.error.any(), result.messages
    assert not result.success.any()
    assert result.distance.isinf().all()
    assert torch.equal(result.adversarial, x)


@every_quick_case
def test_a_model_surer_than_float32_can_say(digits, method, norm):
    model, x, y = digits

    def loud(z):
        return 1000 * model.net(z)

    class Loud(nn.Module):
        forward = staticmethod(loud)

    result = attack(method, Classifier(Loud(), 10), x[:10], y[:10], threat_of(norm))
    assert not result.error.any(), result.messages
    assert result.distance.isfinite().float().mean() >= 0.9


@every_quick_case
def test_black_and_white_inputs_stay_in_the_box(digits, method, norm):
    model, x, _ = digits
    x = (x > 0.5).float()
    y = model(x).argmax(1)
    z, _ = perturb(method, model, x, y, threat_of(norm))
    assert z.min() >= 0
    assert z.max() <= 1
    assert (model(z).argmax(1) != y).float().mean() >= 0.95


@every_quick_case
def test_queries_stay_in_the_box(digits, method, norm):
    model, x, y = digits
    seen = []
    handle = model.net.register_forward_pre_hook(lambda module, args: seen.append((args[0].min().item(), args[0].max().item())))
    try:
        perturb(method, model, x[:6], y[:6], threat_of(norm))
    finally:
        handle.remove()
    assert min(low for low, _ in seen) >= 0
    assert max(high for _, high in seen) <= 1


# cost


def test_deepfool_pays_for_those_who_still_stand(digits):
    model, x, y = digits
    near = attack(DeepFool(), model, x, y, threat_of("l2"))
    assert near.backwards < 40 * 9 * 6
    two = attack(DeepFool(top=2), model, x, y, threat_of("l2"))
    assert two.backwards < near.backwards / 5
    assert (two.distance >= near.distance - 0.05).float().mean() > 0.8


@pytest.mark.parametrize(
    ("method", "norm"), [(DDN(steps=20, search=0), "l2"), (FMN(steps=20), "linf"), (SigmaZero(steps=20, search=0), "l0")]
)
def test_one_pass_forth_and_back_a_step(digits, method, norm):
    model, x, y = digits
    _, oracle = perturb(method, model, x, y, threat_of(norm))
    assert oracle.backwards == 20 * len(x)
    assert oracle.forwards <= 22 * len(x)


def test_patience_ends_descents_without_harm(digits):
    model, x, y = digits
    fast, slow = (
        attack(CW(steps=300, search_steps=4, c=1.0, abort_early=early), model, x[:15], y[:15], threat_of("l2"))
        for early in (True, False)
    )
    assert fast.forwards < slow.forwards
    assert fast.distance.median() <= 1.01 * slow.distance.median()


def test_confidence_is_a_margin(digits):
    model, x, y = digits
    z, _ = perturb(CW(steps=100, search_steps=4, c=1.0, lr=0.05, confidence=2.0), model, x, y, threat_of("l2"))
    logits = model(z)
    gap = logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None]).squeeze(1)
    assert (gap >= 2.0 - 1e-4).float().mean() >= 0.9


def test_more_restarts_and_jsma_settings(digits):
    model, x, y = digits
    once, thrice = (attack(FAB(steps=5, restarts=restarts), model, x, y, threat_of("l2")).distance for restarts in (1, 3))
    assert (thrice <= once + 1e-6).all()
    z, _ = perturb(JSMA(sign="increase"), model, x, y, threat_of("l0"))
    assert (z >= x).all()
    few, _ = perturb(JSMA(gamma=0.05), model, x, y, threat_of("l0"))
    assert ((few != x).flatten(1).sum(1) <= 3.2).all()
    small, _ = perturb(JSMA(theta=0.5), model, x, y, threat_of("l0"))
    assert small.isfinite().all()


# parts


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_step_to_plane(norm):
    generator = torch.Generator().manual_seed(3)
    point, w = torch.rand(50, 7, generator=generator).double(), torch.randn(50, 7, generator=generator).double()
    w[:5, 2] = 0
    point[5:15] = point[5:15].round()
    c = torch.randn(50, generator=generator).double()
    step = step_to_plane(point, w, c, norm, (0.0, 1.0))
    assert ((point + step) >= -1e-12).all()
    assert ((point + step) <= 1 + 1e-12).all()
    for row in range(50):
        gain, way = w[row].abs().numpy(), torch.where(w[row] * c[row] > 0, 1 - point[row], point[row]).numpy()
        if gain @ way >= abs(c[row]):
            assert (w[row] @ step[row]).item() == pytest.approx(c[row].item(), abs=1e-9)
            size = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
            assert np.linalg.norm(step[row], size) == pytest.approx(WAYS[norm](gain, way, abs(c[row].item())), rel=1e-6)
        else:
            np.testing.assert_allclose(step[row].abs().numpy(), np.where(gain > 0, way, 0.0))
    flat = step_to_plane(point, torch.zeros_like(w), c, norm, (0.0, 1.0))
    assert torch.equal(flat, torch.zeros_like(flat))


def test_the_nearest_boundary(digits):
    model, x, y = digits
    oracle = Oracle(model)
    classes = rivals(oracle.logits(x), y, 10)
    assert classes.shape == (40, 9)
    f, w = boundary(oracle, x, y, classes, threat_of("l2"))
    assert oracle.backwards == 9 * 40
    leaf = x.clone().requires_grad_()
    logits = model(leaf)
    best = torch.full((40,), torch.inf)
    for other in range(10):
        gap = logits[:, other] - logits.gather(1, y[:, None]).squeeze(1)
        slope = torch.autograd.grad(gap.sum(), leaf, retain_graph=True)[0].flatten(1).norm(dim=1)
        best = torch.where(y == other, best, torch.minimum(best, gap.detach().abs() / slope))
    torch.testing.assert_close(f.abs() / w.flatten(1).norm(dim=1), best, rtol=1e-4, atol=1e-5)
    assert rivals(logits.detach(), y, 4).shape == (40, 3)
    assert rivals(logits[:, :2].detach(), y.clamp_max(1), 10).shape == (40, 1)


def test_gradients_of_several_functions_from_one_pass(digits):
    model, x, _ = digits
    oracle = Oracle(model)
    logits, gradients = oracle.jacobian(x, lambda z: z[:, :3] ** 2)
    assert (oracle.forwards, oracle.backwards) == (40, 0)
    for place, gradient in enumerate(gradients):
        _, expected = oracle.gradient(x, lambda z, place=place: z[:, place] ** 2)
        torch.testing.assert_close(gradient, expected)
    assert (oracle.forwards, oracle.backwards) == (160, 240)
    assert logits.shape == (40, 10)
    assert not logits.requires_grad
    model.access = Access.SCORES
    try:
        with pytest.raises(AccessError, match="black box"):
            Oracle(model).jacobian(x, lambda z: z)
    finally:
        del model.access


def test_approach_ends_just_outside(digits):
    model, x, y = digits
    oracle = Oracle(model)
    far = 1.0 - x  # the negative, where it is adversarial
    nearest = Nearest(oracle, x, y, threat_of("l2"))
    nearest.note(far, oracle.logits(far))
    before = nearest.distance.clone()
    nearest.approach(20)
    found = nearest.found
    assert (nearest.distance < before)[found].all()
    inner = x + 0.99 * (nearest.point - x)
    assert (model(inner).argmax(1) == y)[found].float().mean() > 0.9
    assert (model(nearest.point).argmax(1) != y)[found].all()


def test_least_distances_are_decided_in_float32(digits):
    model, x, y = digits
    exact, half = (attack(DeepFool(), model, x, y, threat_of("l2"), precision=kind) for kind in ("float32", "bfloat16"))
    assert torch.equal(exact.distance, half.distance)
