"""P(z; x): admissible by the independent check, in the ball, idempotent, and z itself where z is admissible."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.threat import Constraints, ThreatModel, violations

EPS = {"linf": 0.1, "l2": 1.6, "l1": 2.5, "l0": 4.0}
NORMS = ("linf", "l2", "l1", "l0")
BOX = (0.0, 1.0)
rounding = {"linf": 1.2e-7, "l2": 4e-7, "l1": 1.2e-6, "l0": 0.0}


def points(x, seed, spread):
    return x + spread * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)


def check(threat, repair, z, x, ball):
    w = repair(z, x)
    assert w.shape == z.shape
    assert w.dtype == z.dtype
    assert not violations(w, x, threat.constraints, threat.box)
    assert (w >= threat.box[0]).all()
    assert (w <= threat.box[1]).all()
    assert torch.equal(repair(w, x), w)
    assert torch.equal(repair(x, x), x)
    if ball:
        reach = threat.distance(x, z).clamp_min(threat.eps)
        assert (threat.distance(x, w) <= reach + rounding[threat.norm] * x[0].numel() ** (threat.norm == "l1")).all()
    return w


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ball", [True, False], ids=["ball", "free"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), spread=st.sampled_from([1e-3, 0.03, 0.3, 3.0]), projected=st.booleans())
def test_a_table(loans, norm, ball, dtype, seed, spread, projected):
    rules, draw = loans
    x = draw(40, seed, dtype)
    threat = ThreatModel(norm=norm, eps=EPS[norm], constraints=rules)
    z = points(x, seed, spread)
    z = threat.project(z, x) if projected else z
    check(threat, threat.repair(x, threat.eps if ball else None), z, x, ball)


def test_an_admissible_point_stays(loans):
    """Two independent draws share their fixed feature: each is admissible for the other."""
    rules, draw = loans
    x, z = draw(200, 1), draw(200, 2)
    x[:, 0] = z[:, 0]
    threat = ThreatModel(norm="l2", eps=0.1, constraints=rules)
    assert not violations(z, x, rules, BOX)
    assert torch.equal(threat.repair(x, None)(z, x), z)
    assert torch.equal(threat.repair(x, 10.0)(z, x), z)


def test_points_stay_near(loans):
    """On the linear rules alone, nothing is moved further than twice the way to an admissible point that is known."""
    rules, draw = loans
    x, target = draw(500, 3), draw(500, 4)
    target[:, 0] = x[:, 0]
    z = points(target, 5, 0.01)
    z[:, 0] = x[:, 0]
    threat = ThreatModel(norm="l2", eps=0.1, constraints=rules)
    moved, known = threat.distance(z, threat.repair(x, None)(z, x)), threat.distance(z, target)
    assert (moved <= 2.0 * known + 0.05).all()  # half the step of the coarsest whole number is 0.025
    assert moved.median() <= known.median() + 0.02


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("ball", [True, False], ids=["ball", "free"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**31), box=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]), levels=st.sampled_from([2, 17, 256])
)
def test_an_image(norm, ball, seed, box, levels):
    generator, width = torch.Generator().manual_seed(seed), box[1] - box[0]
    lines = torch.randint(levels, (10, 3, 6, 6), generator=generator).double()
    x = (box[0] + width * lines / (levels - 1)).float()
    mask = torch.rand(3, 6, 6, generator=generator) < 0.3
    rules = Constraints(levels=levels, fixed=mask)
    size = width if norm != "l0" else 1.0
    threat = ThreatModel(norm=norm, eps={"linf": 0.05, "l2": 1.0, "l1": 5.0, "l0": 9.0}[norm] * size, box=box, constraints=rules)
    z = threat.project(points(x, seed, 0.3 * width), x)
    repair = threat.repair(x, threat.eps if ball else None)
    w = repair(z, x)
    assert not violations(w, x, rules, box)
    assert torch.equal(repair(w, x), w)
    assert torch.equal(repair(x, x), x)
    assert torch.equal(w[:, mask], x[:, mask])
    if ball:
        tolerance = 1.2e-7 * width * {"linf": 1.0, "l2": 108**0.5, "l1": 108.0, "l0": 0.0}[norm]
        assert (threat.distance(x, w) <= threat.eps + tolerance).all()
    else:  # nearest line, feature by feature
        assert ((w - z).abs() <= width / (levels - 1) / 2 * (1 + 1e-4))[:, ~mask].all()


def test_eight_bit_images_use_the_whole_linf_ball():
    x = torch.randint(256, (20, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 255
    threat = ThreatModel(eps="8/255", constraints=Constraints(levels=256))
    z = threat.project(x + 1.0, x)
    assert torch.equal(threat.repair(x, threat.eps)(z, x), ((x * 255).round() + 8).clamp(max=255) / 255)
    # Between 8 and 9 levels, 8 are left.
    wide = ThreatModel(eps=8.7 / 255, constraints=Constraints(levels=256))
    assert torch.equal(wide.repair(x, wide.eps)(wide.project(x + 1.0, x), x), ((x * 255).round() + 8).clamp(max=255) / 255)


def test_one_hot_groups_go_to_the_largest_or_stay_where_the_switch_leaves_the_ball():
    rules = Constraints(names=("a", "b", "c", "d"), one_hot=(("a", "b", "c"),))
    x = torch.tensor([[1.0, 0.0, 0.0, 0.5]])
    z = torch.tensor([[0.4, 0.3, 0.6, 0.5]])
    switched = torch.tensor([[0.0, 0.0, 1.0, 0.5]])
    l2 = ThreatModel(norm="l2", eps=0.5, constraints=rules)
    assert torch.equal(l2.repair(x, None)(z, x), switched)
    assert torch.equal(l2.repair(x, 1.42)(z, x), switched)
    assert torch.equal(l2.repair(x, 1.41)(z, x), x)
    fixed = ThreatModel(norm="l2", eps=0.5, constraints=Constraints(one_hot=((0, 1, 2),), fixed=(2,)))
    assert torch.equal(fixed.repair(x, None)(torch.tensor([[0.4, 0.5, 0.9, 0.5]]), x), torch.tensor([[0.0, 1.0, 0.0, 0.5]]))
    closed = ThreatModel(norm="l2", eps=0.5, constraints=Constraints(one_hot=((0, 1, 2),), ranges={"2": (0.0, 0.0)}))
    assert torch.equal(closed.repair(x, None)(z, x), x)


def test_equations_define_the_feature_that_stands_alone_and_chains_are_solved():
    rules = Constraints(
        names=("x", "y", "total", "tax", "grand"), relations=("total == x + y", "tax == total / 4", "grand == total + tax")
    )
    x = torch.tensor([[0.1, 0.2, 0.3, 0.075, 0.375]], dtype=torch.float64)
    z = torch.tensor([[0.2, 0.2, 0.9, 0.0, 0.1]], dtype=torch.float64)
    w = ThreatModel(norm="l2", eps=0.1, constraints=rules).repair(x, None)(z, x)
    assert torch.allclose(w, torch.tensor([[0.2, 0.2, 0.4, 0.1, 0.5]], dtype=torch.float64))


def pulled_back(norm):
    """Repair, a point, a loss of repaired points, and its gradient as pulled back, on rules without rounding."""
    rules = Constraints(
        names=("x", "y", "total", "grand", "held", "span"),
        relations=("total == x + 2 * y", "grand == total + 0.5 * x"),
        fixed=("held",), ranges={"span": (0.4, 0.6)},
    )  # fmt: skip
    base = torch.tensor([[0.1, 0.2, 0.5, 0.55, 0.3, 0.5], [0.15, 0.1, 0.35, 0.425, 0.9, 0.45]], dtype=torch.float64)
    repair = ThreatModel(norm=norm, eps=0.1, constraints=rules).repair(base, None)
    z = base + torch.tensor([0.03, -0.02, 0.3, 0.1, 0.2, 0.02], dtype=torch.float64)
    z[1, 5] = 0.8
    weight = torch.tensor([1.0, -2.0, 3.0, 0.7, 5.0, 1.5], dtype=torch.float64)
    leaf = z.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((repair.through(leaf, base).sin() * weight).sum(), leaf)
    return z, lambda point: (repair(point, base).sin() * weight).sum(1), gradient


@pytest.mark.parametrize("norm", ["linf", "l1"])
def test_the_pull_back_is_the_gradient_of_the_dependent_features_chain_rule(norm):
    z, loss, gradient = pulled_back(norm)
    for place in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[place] = 1e-6
        slope = (loss(z + step) - loss(z - step)) / 2e-6
        assert torch.allclose(gradient[:, place], slope, atol=1e-6), place


def test_for_l2_the_pull_back_agrees_on_changes_that_keep_the_equations_and_is_one_itself():
    z, loss, gradient = pulled_back("l2")
    for x, y in ((1.0, 0.0), (0.0, 1.0), (0.6, -0.8)):
        step = 1e-6 * torch.tensor([x, y, x + 2 * y, 1.5 * x + 2 * y, 0.0, 0.0], dtype=torch.float64)
        slope = (loss(z + step) - loss(z - step)) / 2e-6
        assert torch.allclose(gradient @ step / 1e-6, slope, atol=1e-6)
    x, y, total, grand, held, _ = gradient.unbind(1)
    assert torch.allclose(total, x + 2 * y)
    assert torch.allclose(grand, total + 0.5 * x)
    assert not held.any()


def test_whole_numbers_pass_gradients_straight_through():
    rules = Constraints(integer=(0,), units={"0": (0.0, 10.0)})
    x = torch.tensor([[0.5, 0.5]])
    repair = ThreatModel(norm="l2", eps=0.1, constraints=rules).repair(x, None)
    leaf = torch.tensor([[0.57, 0.2]], requires_grad=True)
    shown = repair.through(leaf, x)
    assert torch.allclose(shown, torch.tensor([[0.6, 0.2]]))
    (gradient,) = torch.autograd.grad((shown * torch.tensor([3.0, 4.0])).sum(), leaf)
    assert gradient.tolist() == [[3.0, 4.0]]


def test_samples_do_not_depend_on_their_neighbours(loans):
    rules, draw = loans
    x = draw(64, 7)
    z = points(x, 8, 0.2)
    repair = ThreatModel(norm="l1", eps=1.0, constraints=rules).repair(x, 1.0)
    alone = torch.cat([repair(z[i : i + 1], x[i : i + 1]) for i in range(64)])
    assert torch.equal(repair(z, x), alone)


def test_nan_stays_to_be_found(loans):
    rules, draw = loans
    x = draw(3, 9)
    z = x.clone()
    z[1, 3] = torch.nan
    for constraints in (rules, Constraints(levels=256)):
        w = ThreatModel(norm="l2", eps=0.5, constraints=constraints).repair(x, 0.5)(z, x)
        assert w.isnan().any(1).tolist() == [False, True, False]
