"""Balls cut by the box: projection, random start, steepest step, against closed forms, scipy and brute force."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from martensite.core.rng import streams
from martensite.threat import BALLS, ThreatModel

ALPHA = 1e-4  # of the statistical tests; their seeds are fixed
NORMS = list(BALLS)
BOXES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 0.3), (-2.1179, 2.64), (1000.0, 1001.0)]
each_norm = pytest.mark.parametrize("norm", NORMS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
thorough = settings(deadline=None, derandomize=True, max_examples=60)


def length(norm, change):
    """(n,) norms of (n, d) in numpy: nothing is shared with the code under test."""
    change = np.abs(change.reshape(len(change), -1))
    return {"linf": change.max(1), "l2": np.sqrt((change**2).sum(1)), "l1": change.sum(1), "l0": (change > 0).sum(1)}[norm]


def rounding(norm, x, box):
    """What rounding in x's precision may add to a distance: two units in the last place of each feature."""
    size = x[0].numel()
    widest = {"linf": 1.0, "l2": size**0.5, "l1": size, "l0": 0.0}[norm] * max(abs(box[0]), abs(box[1]), box[1] - box[0])
    return 2 * torch.finfo(x.dtype).eps * widest


def assert_inside(norm, z, x, eps, box):
    assert z.shape == x.shape
    assert z.dtype == x.dtype
    assert z.isfinite().all()
    low, high = (torch.tensor(end, dtype=x.dtype) for end in box)
    assert z.min() >= low
    assert z.max() <= high
    far = length(norm, z.double().numpy() - x.double().numpy())
    assert (far <= np.asarray(eps) + rounding(norm, x, box)).all(), far.max()


@st.composite
def problems(draw, dtype=torch.float64, box=(0.0, 1.0), most=6):
    """(x, point, eps): x in the box, with features on its faces; a point up to three boxes away; eps up to the diameter."""
    size, width = draw(st.integers(1, most)), box[1] - box[0]
    share = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))
    # Rounded, for the square of a change of 1e-300 is nothing even in float64.
    x = draw(arrays(np.float64, (3, size), elements=share)).round(12) * width + box[0]
    point = x + draw(arrays(np.float64, (3, size), elements=st.floats(-3, 3))).round(12) * width
    eps = draw(st.floats(0.01, 1.2)) * width
    low, high = (torch.tensor(end, dtype=dtype) for end in box)
    return torch.tensor(x, dtype=dtype).clamp(low, high), torch.tensor(point, dtype=dtype), eps


def radius(norm, eps, size):
    """Spread an eps for one feature over `size` of them, so that the ball neither vanishes nor swallows the box."""
    return {"linf": eps, "l2": eps * size**0.5 / 2, "l1": eps * size / 3, "l0": 1 + int(eps * size / 2)}[norm]


# projection: what holds for every norm


@each_norm
@each_dtype
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_projections_are_inside_and_stay(norm, dtype, box):
    @thorough
    @given(problems(dtype, box))
    def check(problem):
        x, point, eps = problem
        eps = radius(norm, eps, x.shape[1]) if norm != "l0" else radius(norm, eps / (box[1] - box[0]), x.shape[1])
        given_ = x.clone(), point.clone()
        z = BALLS[norm].project(point, x, eps, box)
        assert_inside(norm, z, x, eps, box)
        again = BALLS[norm].project(z, x, eps, box)
        assert (again - z).abs().max() <= rounding(norm, x, box)
        assert torch.equal(x, given_[0])
        assert torch.equal(point, given_[1])

    check()


@each_norm
@each_dtype
def test_a_point_inside_is_left_alone_bit_by_bit(norm, dtype):
    @thorough
    @given(problems(dtype), st.floats(0, 0.999))
    def check(problem, share):
        x, point, eps = problem
        eps = radius(norm, eps, x.shape[1])
        if norm == "l0":
            keep = torch.arange(x.shape[1]) < eps
            inside = torch.where(keep, point.clamp(0, 1), x)
        else:
            change = point.clamp(0, 1) - x
            far = torch.as_tensor(length(norm, change.double().numpy()), dtype=dtype).clamp_min(1e-9)[:, None]
            inside = (x + change * (share * eps / far).clamp_max(1)).clamp(0, 1)
        assert torch.equal(BALLS[norm].project(inside, x, eps, (0.0, 1.0)), inside)
        assert torch.equal(BALLS[norm].project(x, x, eps, (0.0, 1.0)), x)

    check()


@pytest.mark.parametrize("norm", ["linf", "l1"])
@each_dtype
def test_no_feasible_point_is_nearer(norm, dtype):
    """The projection P onto a convex set is the point with <p - P, z - P> <= 0 for every z of the set."""

    @thorough
    @given(problems(dtype), st.integers(0, 2**32))
    def check(problem, seed):
        x, point, eps = problem
        eps = radius(norm, eps, x.shape[1])
        projected = BALLS[norm].project(point, x, eps, (0.0, 1.0)).double().numpy()
        p, start = point.double().numpy(), x.double().numpy()
        # Feasible points: any points of the box, drawn towards x until they are in the ball; the corners among them.
        rng = np.random.default_rng(seed)
        for wild in [*rng.uniform(0, 1, (50, *start.shape)), *rng.integers(0, 2, (50, *start.shape)).astype(float)]:
            shrink = np.minimum(1, eps / np.maximum(length(norm, wild - start), 1e-12))[:, None]
            z = start + (wild - start) * shrink
            inner = ((p - projected) * (z - projected)).sum(1)
            assert (inner <= (1e-4 if dtype == torch.float32 else 1e-10)).all()

    check()


# projection: references


@thorough
@given(problems(most=12))
def test_l1_against_bisection(problem):
    """|z - x| = clip(|p - x| - t, 0, room), with the t that spends eps found by bisection."""
    x, point, eps = problem
    eps = radius("l1", eps, x.shape[1])
    projected = BALLS["l1"].project(point, x, eps, (0.0, 1.0)).numpy()
    for start, p, z in zip(x.numpy(), point.numpy(), projected, strict=True):
        wanted = np.abs(p - start)
        room = np.where(p > start, 1 - start, start)
        spend = lambda t, wanted=wanted, room=room: np.clip(wanted - t, 0, room).sum() - eps  # noqa: E731
        t = optimize.bisect(spend, 0, wanted.max(), xtol=1e-14) if spend(0) > 0 else 0.0
        np.testing.assert_allclose(z, start + np.sign(p - start) * np.clip(wanted - t, 0, room), atol=1e-11)


def test_l1_against_a_solver():
    """The same quadratic programme given to SLSQP: z = x + u - v, u and v >= 0, sum(u + v) <= eps, z in the box."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        size = int(rng.integers(1, 6))
        start, eps = rng.uniform(0, 1, size).round(1), rng.uniform(0.05, 1) * size / 3
        p = start + rng.uniform(-2, 2, size)
        solved = optimize.minimize(
            lambda w, start=start, p=p, size=size: ((start + w[:size] - w[size:] - p) ** 2).sum(),
            np.zeros(2 * size),
            # The gradient too: with finite differences SLSQP stops up to 5e-5 short of the optimum.
            jac=lambda w, start=start, p=p, size=size: np.kron([2, -2], start + w[:size] - w[size:] - p),
            bounds=[(0, 1 - s) for s in start] + [(0, s) for s in start],
            constraints={"type": "ineq", "fun": lambda w, eps=eps: eps - w.sum()},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        reference = start + solved.x[:size] - solved.x[size:]
        z = BALLS["l1"].project(torch.tensor(p)[None], torch.tensor(start)[None], eps, (0.0, 1.0))[0].numpy()
        np.testing.assert_allclose(z, reference, atol=1e-5)
        assert ((z - p) ** 2).sum() <= ((reference - p) ** 2).sum() + 1e-9


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_l1_from_far_outside(scale):
    x = torch.rand(5, 50, generator=torch.Generator().manual_seed(0))
    point = x + scale * torch.randn(5, 50, generator=torch.Generator().manual_seed(1))
    assert_inside("l1", BALLS["l1"].project(point, x, 3.0, (0.0, 1.0)), x, 3.0, (0.0, 1.0))


def test_l1_with_ties_spends_eps_evenly():
    x, point = torch.full((1, 4), 0.5), torch.full((1, 4), 0.9)
    torch.testing.assert_close(BALLS["l1"].project(point, x, 0.8, (0.0, 1.0)), torch.full((1, 4), 0.7))


@thorough
@given(problems())
def test_l2_is_the_nearest_point_where_the_box_does_not_cut(problem):
    x, point, eps = problem
    eps = radius("l2", eps, x.shape[1])
    z = BALLS["l2"].project(point, x, eps, (-99.0, 99.0)).numpy()
    delta = point.numpy() - x.numpy()
    far = length("l2", delta)[:, None]
    np.testing.assert_allclose(z, x.numpy() + delta * np.minimum(1, eps / np.maximum(far, 1e-300)), atol=1e-12)


@thorough
@given(problems())
def test_linf_is_feature_by_feature(problem):
    x, point, eps = problem
    z = BALLS["linf"].project(point, x, eps, (0.0, 1.0)).numpy()
    nearest = np.vectorize(lambda p, s: min(max(p, s - eps, 0.0), s + eps, 1.0))
    np.testing.assert_array_equal(z, nearest(point.numpy(), x.numpy()))


@each_dtype
def test_l0_is_the_nearest_point_by_brute_force(dtype):
    @thorough
    @given(problems(dtype, most=5), st.integers(1, 5))
    def check(problem, count):
        x, point, _ = problem
        z = BALLS["l0"].project(point, x, count, (0.0, 1.0)).double().numpy()
        p, start = point.double().numpy(), x.double().numpy()
        kept = np.clip(p, 0, 1)
        size = p.shape[1]
        for row in range(len(p)):
            best = min(
                sum((kept[row, i] - p[row, i]) ** 2 if i in chosen else (start[row, i] - p[row, i]) ** 2 for i in range(size))
                for chosen in itertools.combinations(range(size), min(count, size))
            )
            assert ((z[row] - p[row]) ** 2).sum() == pytest.approx(best, rel=1e-9, abs=1e-12)

    check()


def test_l0_sees_through_cancellation():
    # Seen from 10,000 away, float32 squares hide which of the two changes by more.
    x, point = torch.tensor([[0.5, 0.4]]), torch.tensor([[1e4, 1e4]])
    assert BALLS["l0"].project(point, x, 1, (0.0, 1.0)).tolist() == [[0.5, 1.0]]
    point = torch.tensor([[0.5, 0.4 + 1e-6]])
    assert torch.equal(BALLS["l0"].project(point, x, 1, (0.0, 1.0)), point)


# shapes, and an eps for each sample


@each_norm
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2), (2, 3, 1, 2)], ids=str)
def test_shapes_do_not_matter(norm, shape):
    torch.manual_seed(0)
    x, point, gradient = torch.rand(4, 12), torch.rand(4, 12) * 3 - 1, torch.randn(4, 12)
    ball, box, eps = BALLS[norm], (0.0, 1.0), 2.0 if norm in ("l1", "l0") else 0.4
    shaped = [t.view(4, *shape) for t in (x, point, gradient)]
    assert torch.equal(ball.project(shaped[1], shaped[0], eps, box).flatten(1), ball.project(point, x, eps, box))
    step = ball.steepest_step(gradient, x, box)
    assert torch.equal(ball.steepest_step(shaped[2], shaped[0], box).flatten(1), step)
    start = ball.random_start(shaped[0], eps, box, streams(0, "s", 4))
    assert start.shape == (4, *shape)
    assert torch.equal(start.flatten(1), ball.random_start(x, eps, box, streams(0, "s", 4)))
    torch.testing.assert_close(ball.distance(shaped[0], shaped[1]), ball.distance(x, point))


@each_norm
@each_dtype
@pytest.mark.parametrize("shape", [(12,), (3, 2, 2)], ids=str)
def test_an_eps_for_each_sample(norm, dtype, shape):
    torch.manual_seed(0)
    x, point = torch.rand(5, *shape, dtype=dtype), torch.rand(5, *shape, dtype=dtype) * 3 - 1
    eps = torch.tensor([0.01, 0.1, 0.5, 1.0, 7.0], dtype=torch.float64) * (3 if norm == "l0" else 1)
    together = BALLS[norm].project(point, x, eps, (0.0, 1.0))
    for i in range(5):
        alone = BALLS[norm].project(point[i : i + 1], x[i : i + 1], float(eps[i]), (0.0, 1.0))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-6)
        assert_inside(norm, together[i : i + 1], x[i : i + 1], float(eps[i]), (0.0, 1.0))


# random starts


@each_norm
@each_dtype
@pytest.mark.parametrize("box", BOXES, ids=str)
def test_random_starts_are_inside(norm, dtype, box):
    torch.manual_seed(0)
    width = box[1] - box[0]
    low, high = (torch.tensor(end, dtype=dtype) for end in box)
    x = (torch.rand(300, 3, 5, dtype=dtype) * width + box[0]).clamp(low, high)
    x[0], x[1] = low, high
    for eps in (0.03, 0.6):
        eps = radius(norm, eps if norm == "l0" else eps * width, 15)
        z = BALLS[norm].random_start(x, eps, box, streams(0, "s", 300))
        assert_inside(norm, z, x, eps, box)
        assert (z != x).flatten(1).any(1).all()


@pytest.mark.parametrize("size", [1, 2, 10])
def test_random_starts_are_uniform_in_the_ball(size):
    """Known laws of the first coordinate and of the radius, x far from the box's faces."""
    n, eps, box = 5000, 0.3, (-9.0, 9.0)
    x = torch.zeros(n, size, dtype=torch.float64)
    delta = {norm: BALLS[norm].random_start(x, eps, box, streams(1, norm, n)).numpy() / eps for norm in ("linf", "l2", "l1")}
    first = {norm: stats.kstest(np.abs(values[:, 0]), law).pvalue for norm, values, law in [
        ("linf", delta["linf"], stats.uniform().cdf),
        ("l2", delta["l2"], lambda r: stats.beta(0.5, (size + 1) / 2).cdf(r**2)),
        ("l1", delta["l1"], stats.beta(1, size).cdf),
    ]}  # fmt: skip
    far = {norm: stats.kstest(length(norm, values) ** size, stats.uniform().cdf).pvalue for norm, values in delta.items()}
    signs = {norm: stats.binomtest(int((values[:, -1] > 0).sum()), n).pvalue for norm, values in delta.items()}
    for name, pvalues in {"first": first, "far": far, "signs": signs}.items():
        assert min(pvalues.values()) > ALPHA, (name, pvalues)


def test_l0_random_starts_change_every_feature_equally_often():
    n, size = 4000, 6
    x = torch.full((n, size), 0.5)
    changed = BALLS["l0"].random_start(x, 2.9, (0.0, 1.0), streams(2, "l0", n)) != x
    assert (changed.sum(1) == 2).mean(dtype=torch.float32) > 0.99  # a uniform value may be the old one
    # Two of six without replacement: the counts vary by (1 - 2/6) * 6/5 less than a multinomial's, so the test is cautious.
    assert stats.chisquare(changed.sum(0)).pvalue > ALPHA


@each_norm
def test_random_starts_belong_to_samples(norm):
    torch.manual_seed(0)
    x = torch.rand(20, 3, 4)
    eps = 2.0 if norm in ("l1", "l0") else 0.4
    whole = BALLS[norm].random_start(x, eps, (0.0, 1.0), streams(0, "s", 20))
    index = torch.tensor([13, 2, 7])
    part = BALLS[norm].random_start(x[index], eps, (0.0, 1.0), streams(0, "s", index))
    torch.testing.assert_close(part, whole[index], rtol=0, atol=1e-7)


# steepest steps


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2), ("l1", math.inf)])
@each_dtype
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-20, 1e20])
def test_the_steepest_step_has_unit_norm_and_the_largest_slope(norm, dual, dtype, scale):
    torch.manual_seed(0)
    gradient = torch.randn(50, 2, 5, dtype=dtype) * scale
    step = BALLS[norm].steepest_step(gradient, torch.full_like(gradient, 0.5), (0.0, 1.0))
    assert step.dtype == dtype
    assert step.shape == gradient.shape
    np.testing.assert_allclose(length(norm, step.double().numpy()), 1, rtol=1e-6)
    slope = (gradient.double() * step.double()).flatten(1).sum(1)
    largest = torch.linalg.vector_norm(gradient.double().flatten(1), ord=dual, dim=1)  # Hoelder: no unit step has more
    torch.testing.assert_close(slope, largest, rtol=1e-5, atol=0)


def test_l1_steps_only_where_the_box_lets_it():
    torch.manual_seed(0)
    point = torch.randint(0, 3, (200, 6)) / 2.0
    gradient = torch.randn(200, 6)
    step = BALLS["l1"].steepest_step(gradient, point, (0.0, 1.0))
    free = ~((gradient > 0) & (point == 1) | (gradient < 0) & (point == 0))
    best = torch.where(free, gradient.abs(), 0).amax(1)
    torch.testing.assert_close((gradient * step).sum(1), best)
    assert ((step != 0) <= free).all()
    assert (step.abs().sum(1) == free.any(1).float()).all()  # nowhere to go: no step


@each_norm
@each_dtype
@pytest.mark.parametrize("size", [1e-40, 1e-44, 0.0])
def test_vanishing_gradients_give_no_nan(norm, dtype, size):
    x = torch.full((3, 8), 0.5, dtype=dtype)
    gradient = torch.full_like(x, size)
    gradient[1] = 0.0
    gradient[2, ::2] *= -1
    step = BALLS[norm].steepest_step(gradient, x, (0.0, 1.0))
    assert step.isfinite().all()
    assert (step[1] == 0).all()
    if size and norm in ("linf", "l2", "l1"):
        np.testing.assert_allclose(length(norm, step[[0, 2]].double().numpy()), 1, rtol=1e-5)
    eps = 2 if norm == "l0" else 0.1
    assert_inside(norm, BALLS[norm].project(x + step, x, eps, (0.0, 1.0)), x, eps, (0.0, 1.0))
    assert_inside(norm, BALLS[norm].project(x + size, x, eps, (0.0, 1.0)), x, eps, (0.0, 1.0))


def test_l0_scales_the_gradient_to_one():
    gradient = torch.tensor([[3.0, -6.0, 0.0]])
    assert BALLS["l0"].steepest_step(gradient, torch.zeros(1, 3), (0.0, 1.0)).tolist() == [[0.5, -1.0, 0.0]]


@each_norm
@each_dtype
def test_the_projection_around_inputs_is_the_projection_bit_by_bit(norm, dtype):
    @thorough
    @given(problems(dtype))
    def check(problem):
        x, point, eps = problem
        eps = radius(norm, min(eps, 0.9), x.shape[1])
        threat = ThreatModel(norm=norm, eps=min(eps, x.shape[1]))
        assert torch.equal(threat.projection(x)(point), threat.project(point, x))

    check()
