"""What every attack owes, whichever it is: a member of the registry is tested by being there.

An attack that is slow, or that can't do what the others can, says so in one of the tables below.
"""

import json
import math
import random

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from martensite.attacks import ATTACKS, Oracle, attack
from martensite.core.errors import AccessError, ThreatError
from martensite.core.rng import streams
from martensite.models import Access, Classifier, undisturbed
from martensite.threat import Constraints, ThreatModel, violations

# Settings that keep a search short where its outcome doesn't matter; without an entry, the defaults.
CHEAP = {
    "corruptions": {"kinds": ["shot_noise", "glass_blur", "fog", "elastic"]},
    "uap": {"epochs": 4, "minibatch": 10},
    "patch": {"steps": 10},
    "rotation_translation": {"angles": 3, "shifts": 3},
    "eot": {"attack": {"kind": "pgd", "steps": 3}, "samples": 2, "judge_samples": 1},
    "pgd": {"steps": 5, "restarts": 2},
    "apgd": {"steps": 8, "restarts": 2},
    "apgd_targeted": {"steps": 5},
    "mi_fgsm": {"steps": 4},
    "ni_fgsm": {"steps": 4},
    "di_fgsm": {"steps": 4},
    "ti_fgsm": {"steps": 4},
    "si_fgsm": {"steps": 4},
    "vmi_fgsm": {"steps": 3, "neighbours": 3},
    "vni_fgsm": {"steps": 3, "neighbours": 3},
    "ddn": {"steps": 10},
    "fmn": {"steps": 10},
    "deepfool": {"steps": 5},
    "sigma_zero": {"steps": 5},
    "jsma": {},
    "ead": {"steps": 5, "search_steps": 2, "c": 10.0},
    "fab": {"steps": 5},
    "adaptive": {"steps": 4, "probe": 10, "queries": 40},
    "autoattack": {"steps": 4, "queries": 10, "targets": 2},
    "square": {"queries": 20},
    "sparse_rs": {"queries": 30},
    "one_pixel": {"queries": 60, "population": 20},
    "spsa": {"queries": 130, "samples": 16, "lr": 0.05},
    "nes": {"queries": 110, "samples": 20},
    "hopskipjump": {"queries": 300, "samples": 30},
    "boundary": {"queries": 200},
    "brendel_bethge": {"steps": 5, "starts": 10},
    "geoda": {"queries": 300},
    "cw": {"steps": 5, "search_steps": 2},
    "superdeepfool": {"steps": 3, "deepfool_steps": 3},
}
# The smallest settings that make sense; without an entry, every whole number is as small as it may be.
MINIMAL: dict[str, dict[str, object]] = {}
# Attacks on images alone.
IMAGES_ONLY = {"corruptions", "patch", "rotation_translation", "di_fgsm", "ti_fgsm"}
# Attacks that make one perturbation for a batch, which depends on who is in it.
WHOLE_BATCH = {"uap", "patch"}
# Settings for the optimum on a linear model, where the defaults take long; without an entry, the defaults.
THOROUGH = {
    "sparse_rs": {"queries": 2000},
    "boundary": {"queries": 5000},
    "cw": {"steps": 200},
    "ead": {"steps": 200, "search_steps": 5},
    "autoattack": {"steps": 50, "queries": 50, "targets": 1},
    "adaptive": {"probe": 50, "queries": 500},
}
# On a linear model, with the defaults or those settings: the least share of the optimal gain (bounded), or of the found distance
# that the shortest one is (minimum norm, by gradients or by decisions). Linf is decided feature by feature, so a bounded attack's
# optimum is exact.
REACHED = {"linf": 0.999, "l2": 0.95, "l1": 0.95, "l0": 0.95}
NEAREST, NEAREST_BY_DECISIONS = 0.99, 0.95
REACH = {
    ("square", "l2"): 0.5,  # bumps are smooth, random weights are not
    ("square", "l1"): 0.4,
    ("one_pixel", "l0"): 0.35,  # with two channels it changes one pixel of two features, where three features may change
    ("spsa", "linf"): 0.98,  # signs of an estimate: small weights drown in its noise
    ("nes", "linf"): 0.95,
    ("hopskipjump", "linf"): 0.95,  # the sign of an estimated normal: a small weight's may be wrong
    ("geoda", "linf"): 0.95,
    ("geoda", "l1"): 0.85,  # which features weigh most is estimated: test_query_attacks shows what more queries give
    ("uap", "l1"): 0.5,  # the features that one sample has room in are not another's
    ("patch", "l0"): -math.inf,  # it lies where chance lays it
    ("adaptive", "l1"): 0.9,  # one start, where AutoAttack takes five
    ("eot", "l1"): 0.9,  # that of pgd
    ("pgd", "l1"): 0.9,  # the fixed step is long for ten features: test_pgd shows that shorter ones come closer
    ("di_fgsm", "linf"): 0.95,  # a shrunk image shows the model fewer of its pixels
    ("ti_fgsm", "linf"): 0.1,  # it gives up gain here for transfer: random weights are all but smooth
    ("ti_fgsm", "l2"): 0.25,
}

EPS = {"linf": 0.1, "l2": 0.6, "l1": 2.0, "l0": 3.0}
N = 24
SHAPES = {"table": (10,), "image": (2, 5, 5)}

MEMBERS = [(cls, norm) for cls in ATTACKS for norm in cls.norms]
IDS = [f"{cls.model_fields['kind'].default}-{norm}" for cls, norm in MEMBERS]
every_member = pytest.mark.parametrize(("cls", "norm"), MEMBERS, ids=IDS)
every_attack = pytest.mark.parametrize("cls", list(ATTACKS), ids=ATTACKS.names())
every_shape = pytest.mark.parametrize("kind", SHAPES)


def name(cls):
    return cls.model_fields["kind"].default


def cheap(cls):
    return cls(**CHEAP.get(name(cls), {}))


def minimal(cls):
    if name(cls) in MINIMAL:
        return cls(**MINIMAL[name(cls)])
    whole = {key: field.metadata for key, field in cls.model_fields.items() if type(field.default) is int and field.default}
    return cls(**{key: max([1, *(limit.ge for limit in limits if hasattr(limit, "ge"))]) for key, limits in whole.items()})


def fits(cls, kind):
    if kind != "image" and name(cls) in IMAGES_ONLY:
        pytest.skip("an attack on images")


def victim(kind, dtype=torch.float32):
    """A small untrained net with batch normalisation and dropout; K = 2 for the table and 4 for the images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "table":
            net = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))
            model = Classifier(net, 2)
        else:
            conv = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout2d(0.5)]
            model = Classifier(nn.Sequential(*conv, nn.Flatten(), nn.Linear(150, 4)), 4, mean=(0.4, 0.5), std=(0.3, 0.2))
        for _ in range(30):  # running statistics that fit the inputs
            model.train()(torch.rand(64, *SHAPES[kind]))
    return model.to(dtype).eval()


def samples(model, kind, dtype=torch.float32):
    """Inputs, a few of them with features on the box's faces, and the labels that the model gives them."""
    x = torch.rand(N, *SHAPES[kind], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[:4] = x[:4].round()
    x = x.to(dtype)
    with torch.no_grad():
        return x, model(x.to(model.dtype)).argmax(1)


def length(norm, change):
    change = np.abs(change.double().numpy().reshape(len(change), -1))
    return {"linf": change.max(1), "l2": np.sqrt((change**2).sum(1)), "l1": change.sum(1), "l0": (change > 0).sum(1)}[norm]


def rounding(norm, x):
    size = x[0].numel()
    return 2 * torch.finfo(x.dtype).eps * {"linf": 1.0, "l2": math.sqrt(size), "l1": size, "l0": 0.0}[norm]


def perturb(method, model, x, y, threat, until_broken=False, seed=0):
    with undisturbed(model):
        return method.perturb(Oracle(model, until_broken), x, y, threat, streams(seed, "contract", len(x)))


# what an attack returns


@every_member
@every_shape
@pytest.mark.parametrize(
    ("until_broken", "dtype"),
    [
        pytest.param(True, torch.float32, id="until broken-float32"),
        pytest.param(False, torch.float64, id="full course-float64"),
        pytest.param(True, torch.float64, id="until broken-float64", marks=pytest.mark.slow),
        pytest.param(False, torch.float32, id="full course-float32", marks=pytest.mark.slow),
    ],
)
def test_ball_box_and_dtype_are_kept(cls, norm, kind, dtype, until_broken):
    fits(cls, kind)
    model = victim(kind, dtype)
    x, y = samples(model, kind, dtype)
    given = x.clone(), y.clone()
    z = perturb(cheap(cls), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]), until_broken)
    assert z.shape == x.shape
    assert z.dtype == dtype
    assert not z.requires_grad
    assert z.isfinite().all()
    assert z.min() >= 0
    assert z.max() <= 1
    if cls.bounded and cls.ball:
        assert length(norm, z - x).max() <= EPS[norm] + rounding(norm, x)
    assert torch.equal(x, given[0])
    assert torch.equal(y, given[1])


DECLARED = [member for member in MEMBERS if cheap(member[0]).passes is not None]


@pytest.mark.parametrize(("cls", "norm"), DECLARED, ids=[f"{name(cls)}-{norm}" for cls, norm in DECLARED])
def test_a_declared_cost_is_that_of_a_full_course(cls, norm):
    model = victim("table")
    x, y = samples(model, "table")
    oracle = Oracle(model, until_broken=False)
    with undisturbed(model):
        cheap(cls).perturb(oracle, x, y, ThreatModel(norm=norm, eps=EPS[norm]), streams(0, "contract", N))
    assert (oracle.forwards, oracle.backwards) == tuple(N * passes for passes in cheap(cls).passes)


@every_member
@every_shape
def test_what_the_engine_says_is_so(cls, norm, kind):
    fits(cls, kind)
    model = victim(kind)
    x, y = samples(model, kind)
    result = attack(cheap(cls), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]), batch_size=10)
    assert not result.error.any()
    assert result.messages == ()
    assert result.correct.all()
    with torch.no_grad():
        predicted = model(result.adversarial).argmax(1)
    far = length(norm, result.adversarial - x)
    assert (predicted != y)[result.success].all()
    assert not cls.ball or far[result.success.numpy()].max(initial=0) <= EPS[norm] + rounding(norm, x)
    found = result.distance.isfinite().numpy()
    np.testing.assert_allclose(result.distance.numpy()[found], far[found], rtol=1e-5, atol=1e-6)
    assert found.all() or not cls.bounded
    if cls.bounded:
        assert torch.equal(predicted != y, result.success)


@every_member
def test_how_the_inputs_lie_in_memory_is_no_matter(cls, norm):
    model = victim("image")
    x, y = samples(model, "image")
    strided = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)  # as images come from files: channels last
    assert not strided.is_contiguous()
    plain, result = (attack(cheap(cls), model, each, y, ThreatModel(norm=norm, eps=EPS[norm])) for each in (x, strided))
    assert not result.error.any(), result.messages
    assert torch.equal(result.adversarial, plain.adversarial)
    oracle = Oracle(model)
    oracle.begin(strided)  # where no engine stands between
    with undisturbed(model):
        cheap(cls).perturb(oracle, strided, y, ThreatModel(norm=norm, eps=EPS[norm]), streams(0, "test", torch.arange(N)))


class Tight(nn.Module):
    """Memory for no more than seven points."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        if len(x) > 7:
            raise torch.OutOfMemoryError("out of memory")
        return self.net(x)


@every_attack
def test_little_memory_makes_no_errors(cls):
    if name(cls) in WHOLE_BATCH:
        pytest.skip("asks about its whole batch")
    model = victim("image")
    x, y = samples(model, "image")
    tight = Classifier(Tight(model.net), 4, mean=(0.4, 0.5), std=(0.3, 0.2)).eval()
    threat = ThreatModel(norm=cls.norms[0], eps=EPS[cls.norms[0]])
    result, free = (attack(cheap(cls), each, x, y, threat) for each in (tight, model))
    assert not result.error.any(), result.messages
    assert torch.equal(result.success, free.success)


@every_member
def test_targets_are_reached_or_refused(cls, norm):
    model = victim("image")
    x, y = samples(model, "image")
    threat = ThreatModel(norm=norm, eps=EPS[norm], goal="targeted")
    try:
        cheap(cls).check(model, threat)
    except ThreatError:
        return
    target = (y + 1) % 4
    result = attack(cheap(cls), model, x, y, threat, target=target)
    assert not result.error.any()
    with torch.no_grad():
        logits = model(result.adversarial)
    assert (logits.argmax(1) == target)[result.success].all()
    if cls.bounded:
        assert torch.equal(logits.argmax(1) == target, result.success)
    before, after = (torch.log_softmax(values, 1)[range(N), target].mean() for values in (model(x), logits))
    assert after > before or name(cls) in WHOLE_BATCH  # with a target each, one perturbation can't serve all


# randomness


@every_member
@every_shape
def test_the_same_seed_gives_the_same_bits(cls, norm, kind):
    fits(cls, kind)
    model = victim(kind)
    x, y = samples(model, kind)
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    first, second = (attack(cheap(cls), model, x, y, threat, seed=3, batch_size=10) for _ in range(2))
    assert torch.equal(first.adversarial, second.adversarial)
    assert torch.equal(first.success, second.success)
    assert (first.forwards, first.backwards) == (second.forwards, second.backwards)


@every_member
@every_shape
def test_draws_belong_to_samples_not_to_batches(cls, norm, kind):
    # In float64, so that another batch's rounding can't tip a sign.
    fits(cls, kind)
    if name(cls) in WHOLE_BATCH:
        pytest.skip("one perturbation for the batch")
    model = victim(kind, torch.float64)
    x, y = samples(model, kind, torch.float64)
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    whole = attack(cheap(cls), model, x, y, threat, batch_size=64)
    small = attack(cheap(cls), model, x, y, threat, batch_size=7)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(0))[:15]
    part = attack(cheap(cls), model, x[order], y[order], threat, indices=order)
    torch.testing.assert_close(small.adversarial, whole.adversarial, rtol=0, atol=1e-7)
    torch.testing.assert_close(part.adversarial, whole.adversarial[order], rtol=0, atol=1e-7)
    assert torch.equal(small.success, whole.success)
    assert torch.equal(part.success, whole.success[order])
    assert small.forwards == whole.forwards


@every_member
def test_global_random_state_is_neither_read_nor_written(cls, norm):
    model = victim("image")
    x, y = samples(model, "image")
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    first = attack(cheap(cls), model, x, y, threat)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])
    with torch.random.fork_rng():
        torch.manual_seed(4321)
        assert torch.equal(attack(cheap(cls), model, x, y, threat).adversarial, first.adversarial)


# the model is as before


def disturb(model):
    """A pattern of flags and gradients that no attack would make by itself."""
    for place, module in enumerate(model.modules()):
        module.training = place % 2 == 1  # batch normalisation and dropout among them
    for place, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(place % 3 != 0)
        parameter.grad = torch.full_like(parameter, 0.5) if place % 2 else None


def snapshot(model):
    return (
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [None if parameter.grad is None else parameter.grad.tolist() for parameter in model.parameters()],
        {key: value.tolist() for key, value in model.state_dict().items()},
        [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.net.modules()],
    )


@every_member
@every_shape
def test_the_model_is_as_before(cls, norm, kind):
    fits(cls, kind)
    model = victim(kind)
    x, y = samples(model, kind)
    disturb(model)
    before = snapshot(model)
    result = attack(cheap(cls), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]))
    assert result.correct.all()  # evaluation mode, whatever the flags say
    assert snapshot(model) == before


@every_member
@pytest.mark.parametrize("fault", [RuntimeError("out of luck"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_the_model_is_as_before_when_an_attack_breaks_off(cls, norm, fault):
    model = victim("image")
    x, y = samples(model, "image")
    disturb(model)
    calls = 0

    def fail(module, args):
        nonlocal calls
        calls += 1
        if calls >= 2:  # the first pass is the engine's own, over the clean inputs
            raise fault

    handle = model.net.register_forward_pre_hook(fail)
    before = snapshot(model)
    if isinstance(fault, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            attack(cheap(cls), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]))
    else:
        result = attack(cheap(cls), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]))
        assert result.error.all()
        assert not result.success.any()
        assert not result.robust.any()
        assert "out of luck" in result.messages[0]
    assert snapshot(model) == before
    handle.remove()


# the closed form


def linear(shape, seed):
    """A linear model of two classes, and the weights w of its margin."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(math.prod(shape), 2)
    layer.weight.data = torch.randn(2, math.prod(shape), generator=generator)
    layer.bias.data = torch.randn(2, generator=generator)
    return Classifier(nn.Sequential(nn.Flatten(), layer), 2), (layer.weight[1] - layer.weight[0]).detach().double().numpy()


def optimum(norm, w, x, eps):
    """The largest w . delta with |delta| <= eps and x + delta in the unit box, sample by sample."""
    x = x.double().numpy().reshape(len(x), -1)
    room = np.where(w > 0, 1 - x, x)
    if norm == "linf":
        return (np.abs(w) * np.minimum(eps, room)).sum(1)
    if norm == "l2":
        assert (eps * np.abs(w) / np.linalg.norm(w) <= room).all(), "the box must not cut: there is no closed form then"
        return np.full(len(x), eps * np.linalg.norm(w))
    order = np.argsort(-np.abs(w))
    if norm == "l0":
        return -np.sort(-np.abs(w) * room, axis=1)[:, : int(eps)].sum(1)
    before = np.cumsum(room[:, order], 1) - room[:, order]
    return (np.abs(w[order]) * np.minimum(room[:, order], np.clip(eps - before, 0, None))).sum(1)


def least(norm, w, x, margin):
    """The shortest way over a distance of `margin` to the decision boundary inside the unit box, sample by sample."""
    x = x.double().numpy().reshape(len(x), -1)
    room = np.where(w > 0, 1 - x, x)
    if norm in ("linf", "l2"):
        far = margin / np.linalg.norm(w, {"linf": 1, "l2": 2}[norm])
        way = far[:, None] * (np.ones_like(w) if norm == "linf" else np.abs(w) / np.linalg.norm(w))
        assert (way <= room).all(), "the box must not cut: there is no closed form then"
        return far
    order = np.argsort(-np.abs(w))
    if norm == "l0":
        return 1 + (np.cumsum(-np.sort(-np.abs(w) * room, axis=1), 1) < margin[:, None]).sum(1)
    gains = np.cumsum(np.abs(w[order]) * room[:, order], 1)
    full = (gains < margin[:, None]).sum(1)  # features that go all the way to the face
    rows = np.arange(len(x))
    rest = margin - np.where(full > 0, gains[rows, full - 1], 0.0)
    return np.cumsum(room[:, order], 1)[rows, full - 1] * (full > 0) + rest / np.abs(w[order])[full]


@every_member
@every_shape
def test_on_a_linear_model_it_reaches_the_optimum(cls, norm, kind):
    fits(cls, kind)
    if not cls.ball:
        pytest.skip("it does not search the ball")
    model, w = linear(SHAPES[kind], seed=5)
    x = torch.rand(N, *SHAPES[kind], generator=torch.Generator().manual_seed(2))
    if norm == "l2" or not cls.bounded:
        x = 0.5 + 0.2 * (x - 0.5)
    y = torch.zeros(N, dtype=torch.long)
    nearest = NEAREST if cls.needs is Access.GRADIENTS else NEAREST_BY_DECISIONS
    share = REACH.get((name(cls), norm), REACHED[norm] if cls.bounded else nearest)
    if cls.bounded:
        eps = {"linf": 0.1, "l2": 0.3, "l1": 2.5, "l0": 3.0}[norm]
        z = perturb(cls(**THOROUGH.get(name(cls), {})), model, x, y, ThreatModel(norm=norm, eps=eps))
        gain = (z - x).double().flatten(1).numpy() @ w
        best = optimum(norm, w, x, eps)
        assert (gain <= best + 1e-4).all()  # else the closed form, or the ball, is wrong
        assert (gain / best).min() >= share
        return
    with torch.no_grad():
        logits = model(x)
        model.net[1].bias[0] += 0.3 * np.linalg.norm(w) - (logits[:, 0] - logits[:, 1]).mean()
        margin = (model(x)[:, 0] - model(x)[:, 1]).double().numpy()
    result = attack(
        cls(**THOROUGH.get(name(cls), {})),
        model,
        x,
        y,
        ThreatModel(norm=norm, eps={"linf": 0.5, "l2": 3.0, "l1": 9.0, "l0": 9.0}[norm]),
    )
    attacked = margin > 0
    ratio = least(norm, w, x[attacked], margin[attacked]) / result.distance.numpy()[attacked]
    assert result.success.all()
    assert (ratio <= 1 + 1e-4).all()
    assert ratio.min() >= share


# settings


@every_attack
def test_the_defaults_are_settings(cls):
    assert cls().kind == name(cls) == ATTACKS.get(name(cls)).model_fields["kind"].default
    assert set(cls.norms) <= set(EPS)
    assert cls.norms
    assert cls.needs in Access


@every_attack
@pytest.mark.parametrize("make", [lambda cls: cls(), cheap, minimal], ids=["defaults", "cheap", "minimal"])
def test_settings_survive_every_record(cls, make):
    method = make(cls)
    assert cls.parse(method.model_dump()) == method
    assert ATTACKS.build(json.loads(method.model_dump_json())) == method
    assert ATTACKS.build(yaml.safe_load(yaml.safe_dump(method.model_dump(mode="json")))) == method
    assert cls.model_validate_json(method.model_dump_json()) == method
    assert hash(cls.parse(method.model_dump())) == hash(method)


@every_member
@every_shape
def test_the_smallest_settings_work(cls, norm, kind):
    fits(cls, kind)
    model = victim(kind)
    x, y = samples(model, kind)
    for n in (1, N):
        result = attack(minimal(cls), model, x[:n], y[:n], ThreatModel(norm=norm, eps=EPS[norm]))
        assert not result.error.any(), result.messages


@every_attack
def test_other_norms_and_boxes_are_refused(cls):
    model = victim("image")
    for norm in set(EPS) - set(cls.norms):
        with pytest.raises(ThreatError, match=f"does not support {norm}"):
            cls().check(model, ThreatModel(norm=norm, eps=EPS[norm]))
    with pytest.raises(ThreatError, match="box"):
        cls().check(model, ThreatModel(norm=cls.norms[0], eps=1, box=(-1, 1)))


@every_attack
@pytest.mark.parametrize("shape", [(10,), (7, 3), (2, 4, 5, 5)], ids=["table", "sequence", "video"])
def test_attacks_on_images_refuse_all_else_and_others_refuse_nothing(cls, shape):
    threat = ThreatModel(norm=cls.norms[0], eps=EPS[cls.norms[0]])
    if name(cls) not in IMAGES_ONLY:
        cls().check_shape(shape, threat)
        return
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3)), 3)
    x = torch.full((2, *shape), 0.5)
    with pytest.raises(ThreatError, match=r"was given inputs of shape.*\(C, H, W\)"):
        attack(cls(), model, x, model(x).argmax(1), threat)


@every_attack
def test_a_model_that_grants_less_is_refused(cls):
    model = victim("image")
    for access in Access:
        model.access = access
        if access < cls.needs:
            with pytest.raises(AccessError, match=f"needs {cls.needs.name.lower()}"):
                cls().check(model, ThreatModel(norm=cls.norms[0], eps=EPS[cls.norms[0]]))
        else:
            cls().check(model, ThreatModel(norm=cls.norms[0], eps=EPS[cls.norms[0]]))


# constraints


@every_member
def test_constraints_on_a_table_are_kept(cls, norm, loans):
    """Whole numbers, a one-hot group, ranges, relations, an immutable feature: no candidate breaks them, and the judge agrees."""
    fits(cls, "table")
    rules, draw = loans
    model, x = victim("table"), draw(N, 1)
    threat = ThreatModel(norm=norm, eps={"linf": 0.1, "l2": 1.6, "l1": 2.5, "l0": 4.0}[norm], constraints=rules)
    y = model(x).argmax(1)
    result = attack(cheap(cls), model, x, y, threat)
    assert not result.error.any(), result.messages
    assert not violations(result.adversarial, x, rules, threat.box)
    assert torch.equal(model(result.adversarial).argmax(1)[result.success], 1 - y[result.success])
    if cls.bounded:
        assert length(norm, result.adversarial - x).max() <= threat.eps + rounding(norm, x)


@every_member
def test_constraints_on_images_are_kept(cls, norm):
    """8-bit values, and a part of the image that nobody can change."""
    model = victim("image")
    x, _ = samples(model, "image")
    x = (x * 255).round() / 255
    mask = torch.zeros(2, 5, 5, dtype=torch.bool)
    mask[:, :2] = True
    threat = ThreatModel(norm=norm, eps=EPS[norm], constraints=Constraints(levels=256, fixed=mask))
    y = model(x).argmax(1)
    result = attack(cheap(cls), model, x, y, threat)
    z = result.adversarial
    assert not result.error.any(), result.messages
    assert torch.equal((z * 255).round() / 255, z)
    assert torch.equal(z[:, mask], x[:, mask])
    assert torch.equal(result.success, model(z).argmax(1) != y) or not (cls.bounded and cls.ball)
    if cls.bounded and cls.ball:
        assert length(norm, z - x).max() <= threat.eps + rounding(norm, x)
