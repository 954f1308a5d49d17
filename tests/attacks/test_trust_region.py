"""Steps in a trust region against scipy's solver, for L0 against every choice of features, and where nothing can be reached."""

import itertools

import numpy as np
import pytest
import torch
from scipy import optimize

from martensite.attacks.trust_region import CLOSE, GAP, ON_PLANE, step_along

BOX = (0.0, 1.0)
every_norm = pytest.mark.parametrize("norm", ["l2", "l1", "linf", "l0"])


def problem(rng, most=7):
    """Clean input, point, unit normal, height and radius; every other input is black and white."""
    size = int(rng.integers(2, most))
    x, point, b = rng.uniform(0, 1, size), rng.uniform(0, 1, size), rng.normal(size=size)
    x = x.round() if rng.uniform() < 0.5 else x
    return x, point, b / np.linalg.norm(b), 0.1 * rng.normal(), rng.uniform(0.05, 0.6)


def step(x, point, b, c, radius, norm):
    row = lambda values: torch.tensor(values, dtype=torch.float64)[None]  # noqa: E731
    return step_along(row(x), row(point), row(b), row(c), row(radius), norm, BOX)[0].numpy()


def size_of(norm, v):
    return {"l2": np.linalg.norm(v), "l1": np.abs(v).sum(), "linf": np.abs(v).max(), "l0": (np.abs(v) > 1e-9).sum()}[norm]


def solved(norm, x, point, b, c, radius):
    """The least norm by SLSQP; None where it finds no feasible point. Variables: the perturbation, then bounds on its size."""
    n, u = len(x), point - x
    extra = {"l2": 0, "linf": 1, "l1": n}[norm]
    lift = np.eye(n) if norm == "l1" else np.ones((n, 1))
    pad = lambda jacobian: np.hstack([jacobian, np.zeros((len(jacobian), extra))])  # noqa: E731
    constraints = [
        {"type": "eq", "fun": lambda w: [b @ (w[:n] - u) - c], "jac": lambda w: pad(b[None])},
        {"type": "ineq", "fun": lambda w: [radius**2 - ((w[:n] - u) ** 2).sum()], "jac": lambda w: pad(-2 * (w[:n] - u)[None])},
    ]
    if extra:
        for sign in (1, -1):
            constraints.append({
                "type": "ineq",
                "fun": lambda w, s=sign: lift @ w[n:] - s * w[:n],
                "jac": lambda w, s=sign: np.hstack([-s * np.eye(n), lift]),
            })  # fmt: skip
        value, slope = (lambda w: w[n:].sum()), (lambda w: np.r_[np.zeros(n), np.ones(extra)])
    else:
        value, slope = (lambda w: w @ w), (lambda w: 2 * w)
    result = optimize.minimize(
        value, np.r_[u, np.full(extra, np.abs(u).max())], jac=slope, method="SLSQP", constraints=constraints,
        bounds=[*zip(-x, 1 - x, strict=True), *[(0, 1)] * extra], options={"ftol": 1e-14, "maxiter": 1000},
    )  # fmt: skip
    v = result.x[:n]
    feasible = abs(b @ (v - u) - c) < 1e-7 and np.linalg.norm(v - u) <= radius + 1e-7
    return size_of(norm, v) if result.success and feasible else None


def shortest(point, b, c):
    """The least L2 length of a step to the plane inside the box; infinite where it is out of reach."""
    room = np.where(b * c > 0, 1 - point, point)
    if np.abs(b) @ room < abs(c):
        return np.inf
    scale = optimize.bisect(lambda t: np.abs(b) @ np.minimum(t * np.abs(b), room) - abs(c), 0, 1e9, xtol=1e-12)
    return np.linalg.norm(np.minimum(scale * np.abs(b), room))


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
def test_the_nearest_point_of_the_plane_against_a_solver(norm):
    rng, compared = np.random.default_rng(0), 0
    for _ in range(120):
        x, point, b, c, radius = problem(rng)
        tight, loose = (solved(norm, x, point, b, c, part * radius) for part in (1 - CLOSE, 1))
        if tight is None or loose is None:
            continue
        compared += 1
        ours = step(x, point, b, c, radius, norm)
        assert abs(b @ ours - c) <= ON_PLANE * abs(c) + 1e-12
        # The plane may be missed by that share of its height, which moves the optimum by no more than the same share of it.
        slack = 3 * np.sqrt(len(x)) * ON_PLANE * abs(c) + 1e-6
        assert loose - slack <= size_of(norm, point + ours - x) <= (1 + GAP) * tight + slack
    assert compared > 60  # of the rest, some can't be reached, and for some SLSQP gives up


@every_norm
def test_steps_stay_in_trust_region_and_box(norm):
    rng = np.random.default_rng(1)
    for _ in range(200):
        x, point, b, c, radius = problem(rng)
        ours = step(x, point, b, c, radius, norm)
        assert np.linalg.norm(ours) <= radius * (1 + 1e-12)
        assert (point + ours).min() >= -1e-12
        assert (point + ours).max() <= 1 + 1e-12
        if shortest(point, b, c) <= radius * (1 - 1e-9):
            assert abs(b @ ours - c) <= ON_PLANE * abs(c) + 1e-12


@every_norm
def test_as_close_as_can_be_to_a_plane_out_of_reach(norm):
    rng, seen = np.random.default_rng(2), 0
    for _ in range(60):
        x, point, b, c, radius = problem(rng)
        c, radius = 20 * c, radius / 3
        if shortest(point, b, c) <= radius:
            continue
        seen += 1
        ours = step(x, point, b, c, radius, norm)
        best = optimize.minimize(
            lambda w, b=b, c=c: -np.sign(c) * (b @ w), np.zeros(len(x)), jac=lambda w, b=b, c=c: -np.sign(c) * b, method="SLSQP",
            constraints={"type": "ineq", "fun": lambda w, r=radius: r**2 - w @ w, "jac": lambda w: -2 * w},
            bounds=list(zip(-point, 1 - point, strict=True)), options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        assert np.sign(c) * (b @ ours) == pytest.approx(-best.fun, abs=1e-6)
    assert seen > 30


def fewest(x, point, b, c, radius):
    """The least number of changed features over all choices of them; for each, the shortest step that changes no others."""
    u, n = point - x, len(x)
    for count in range(n + 1):
        for chosen in itertools.combinations(range(n), count):
            kept = np.isin(np.arange(n), chosen)
            fixed = np.where(kept, 0.0, -u)  # the others go back
            rest, left = c - b @ fixed, radius**2 - fixed @ fixed
            if left >= 0 and (abs(rest) < 1e-12 or (count and shortest(point[kept], b[kept], rest) ** 2 <= left)):
                return count
    return None


def test_few_features_against_every_choice_of_them():
    rng, excess = np.random.default_rng(3), []
    for _ in range(150):
        x, point, b, c, radius = problem(rng, most=6)
        least = fewest(x, point, b, c, radius)
        if least is not None:
            excess.append(size_of("l0", point + step(x, point, b, c, radius, "l0") - x) - least)
    assert len(excess) > 80
    assert min(excess) >= 0
    assert np.mean(np.array(excess) == 0) >= 0.9  # a problem that is not convex, solved by a threshold
    assert np.mean(excess) <= 0.1


@every_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_its_rows(norm, dtype):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(20, 3, 4, generator=generator, dtype=torch.float64)
    point = (x + 0.3 * torch.randn(20, 3, 4, generator=generator, dtype=torch.float64)).clamp(0, 1)
    b, c = torch.randn(20, 3, 4, generator=generator, dtype=torch.float64), 0.1 * torch.randn(20, generator=generator).double()
    radius = torch.rand(20, generator=generator).double()
    x, point, b, c, radius = (part.to(dtype) for part in (x, point, b, c, radius))
    whole = step_along(x, point, b, c, radius, norm, BOX)
    assert whole.shape == x.shape
    assert whole.dtype == dtype
    parts = torch.cat([step_along(*(part[i : i + 1] for part in (x, point, b, c, radius)), norm, BOX) for i in range(20)])
    distance = {"l0": lambda v: (v.abs() > 1e-6).sum(1), "l1": lambda v: v.abs().sum(1), "l2": lambda v: v.norm(dim=1)}.get(
        norm, lambda v: v.abs().amax(1)
    )
    one, other = (distance((point + step - x).flatten(1)) for step in (whole, parts))
    torch.testing.assert_close(one, other)


@every_norm
def test_features_without_slope_do_not_move_towards_a_plane_out_of_reach(norm):
    b = torch.tensor([[1.0, 0.0, -2.0]])
    far = step_along(torch.full((1, 3), 0.5), torch.full((1, 3), 0.4), b, torch.tensor([9.0]), torch.tensor([50.0]), norm, BOX)
    torch.testing.assert_close(far, torch.tensor([[0.6, 0.0, -0.4]]))


def test_no_normal_no_step():
    x, point = torch.rand(4, 6), torch.rand(4, 6)
    for norm in ("l2", "l1", "linf", "l0"):
        still = step_along(x, point, torch.zeros(4, 6), torch.ones(4), torch.ones(4), norm, BOX)
        assert torch.equal(still, torch.zeros(4, 6))
