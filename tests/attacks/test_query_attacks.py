"""The attacks that only ask: by scores, or by labels alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import (
    FMN,
    NES,
    PGD,
    SPSA,
    Boundary,
    Budget,
    GeoDA,
    HopSkipJump,
    OnePixel,
    Oracle,
    SparseRS,
    Square,
    attack,
)
from martensite.attacks.decisions import Decisions
from martensite.attacks.estimate import estimate
from martensite.attacks.geoda import _low_pass
from martensite.attacks.grid import Grid
from martensite.attacks.losses import ascend
from martensite.attacks.square_lp import _bumps
from martensite.core.errors import AccessError, ConfigError
from martensite.core.rng import streams
from martensite.data import load_data
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import Constraints, ThreatModel

SHAPES = {"table": (10,), "sequence": (6, 3), "image": (2, 5, 5)}
BY_SCORES = [
    (Square(queries=60), "linf"),
    (Square(queries=60), "l2"),
    (Square(queries=60), "l1"),
    (SparseRS(queries=60), "l0"),
    (OnePixel(queries=60, population=20), "l0"),
    (SPSA(queries=99, samples=8, lr=0.05), "linf"),
    (NES(queries=70, samples=20), "l2"),
    (NES(queries=70, samples=20), "linf"),
]
BY_LABELS = [
    (HopSkipJump(queries=200, samples=20), "l2"),
    (HopSkipJump(queries=200, samples=20), "linf"),
    (GeoDA(queries=200), "l2"),
    (GeoDA(queries=200), "linf"),
    (GeoDA(queries=200), "l1"),
    (Boundary(queries=200), "l2"),
]
ids = [f"{method.kind}-{norm}" for method, norm in BY_SCORES + BY_LABELS]
every = pytest.mark.parametrize(("method", "norm"), BY_SCORES + BY_LABELS, ids=ids)
by_scores = pytest.mark.parametrize(("method", "norm"), BY_SCORES, ids=ids[: len(BY_SCORES)])
by_labels = pytest.mark.parametrize(("method", "norm"), BY_LABELS, ids=ids[len(BY_SCORES) :])
EPS = {"linf": 0.05, "l2": 0.2, "l1": 0.5, "l0": 2.0}


def linear(shape, classes, box=(0.0, 1.0)):
    """Random weights; the middle of the box has equal scores."""
    generator, size = torch.Generator().manual_seed(0), math.prod(shape)
    layer = nn.Linear(size, classes)
    layer.weight.data = torch.randn(classes, size, generator=generator)
    layer.bias.data = -layer.weight.data @ torch.full((size,), sum(box) / 2)
    return Classifier(nn.Sequential(nn.Flatten(), layer), classes, box=box)


def around_the_middle(shape, n, box=(0.0, 1.0)):
    """Inputs so far from the box's faces that these cut nothing off."""
    low, high = box
    unit = 0.5 + 0.2 * (torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)) - 0.5)
    return low + (high - low) * unit


def to_the_planes(model, x, y, norm):
    """(n, K) distances from x to the planes where each class ties with y, infinite for y itself."""
    dual = {"l2": 2, "linf": 1, "l1": math.inf}[norm]
    weight = model.net[1].weight.detach()
    with torch.no_grad():
        gap = model(x).gather(1, y[:, None]) - model(x)
    slope = (weight[y][:, None] - weight[None]).norm(p=dual, dim=2)
    return (gap / slope.clamp_min(1e-9)).scatter(1, y[:, None], math.inf)


@pytest.fixture(scope="module")
def digits():
    """A small CNN on digits, and 60 test images that it gets right."""
    data, test = load_data("digits", split="train"), load_data("digits", split="test")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(12):
            for rows in torch.randperm(len(data.x)).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(data.x[rows]), data.y[rows]).backward()
                optimiser.step()
    model = Classifier(net, 10)
    with torch.no_grad():
        right = (model(test.x).argmax(1) == test.y).nonzero().squeeze(1)[:60]
    return model, test.x[right], test.y[right]


# closed forms


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("box", [(0.0, 1.0), (-1.0, 3.0)], ids=["unit", "wide"])
@pytest.mark.parametrize(
    ("method", "norm"),
    [
        (HopSkipJump(queries=5000), "l2"),
        (HopSkipJump(queries=10_000), "linf"),
        (GeoDA(queries=5000), "l2"),
        (GeoDA(queries=10_000), "linf"),
        (GeoDA(queries=10_000), "l1"),
        (Boundary(queries=5000), "l2"),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_distances_to_a_plane_are_within_5_percent(method, norm, shape, box):
    model, x = linear(shape, 2, box), around_the_middle(shape, 20, box)
    with torch.no_grad():
        y = model(x).argmax(1)
    exact = to_the_planes(model, x, y, norm).amin(1)
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps={"linf": 0.5, "l2": 1.0, "l1": 2.0}[norm], box=box))
    ratio = result.distance / exact
    assert result.cost.max() <= method.queries + 1
    assert ratio.min() >= 1 - 1e-4
    assert ratio.max() <= 1.05


@pytest.mark.parametrize(
    ("method", "norm"),
    [(HopSkipJump(queries=8000), "l2"), (GeoDA(queries=8000), "l2"), (Boundary(queries=8000), "l2")],
    ids=lambda value: getattr(value, "kind", value),
)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_with_ten_classes_the_plane_that_was_found_is_met_at_its_nearest_point(method, norm, shape):
    model, x = linear(shape, 10), around_the_middle(shape, 40)
    with torch.no_grad():
        y = model(x).argmax(1)
        planes = to_the_planes(model, x, y, norm)
        result = attack(method, model, x, y, ThreatModel(norm=norm, eps=1.0))
        found = model(result.adversarial).argmax(1)
    assert (result.distance / planes.amin(1)).min() >= 1 - 1e-4
    assert (result.distance / planes.amin(1)).median() <= 1.05
    # A walk along the boundary ends in the valley where it began: not on the nearest plane for all, but near it for most.
    assert (result.distance <= 1.05 * planes.amin(1)).float().mean() >= 0.7
    assert (result.distance <= 1.05 * planes.gather(1, found[:, None]).squeeze(1)).float().mean() >= 0.85


@pytest.mark.parametrize("goal", ["untargeted", "targeted"])
@pytest.mark.parametrize("classes", [2, 10])
def test_square_reaches_the_best_corner_of_a_linear_model(goal, classes):
    model, x = linear((10,), classes), around_the_middle((10,), 20)
    with torch.no_grad():
        y = model(x).argmin(1) if goal == "targeted" else model(x).argmax(1)
    threat = ThreatModel(eps=0.02, goal=goal)
    z = Square(queries=1000, loss="margin").perturb(Oracle(model, until_broken=False), x, y, threat, streams(0, "s", 20))
    loss = ascend("margin", y, goal)
    corners = torch.tensor([[(bits >> place & 1) * 2.0 - 1.0 for place in range(10)] for bits in range(1024)])
    with torch.no_grad():
        best = torch.stack([loss(model(x + threat.eps * corner)) for corner in corners]).amax(0)
        reached, start = loss(model(z)), loss(model(x))
    share = (reached - start) / (best - start)
    assert share.median() >= 0.999
    assert share.min() >= (
        0.999 if classes == 2 else 0.7
    )  # the margin to the best of several has corners where one square is stuck


# against attacks by gradients, on a trained network


def share_broken(method, digits, norm, eps, n=60):
    model, x, y = digits
    return float(attack(method, model, x[:n], y[:n], ThreatModel(norm=norm, eps=eps)).success.float().mean())


@pytest.mark.parametrize(
    ("method", "norm", "eps", "slack"),
    [
        (Square(queries=1500), "linf", 0.15, 0.05),
        (NES(queries=5000), "linf", 0.15, 0.15),
        (SPSA(queries=5140), "linf", 0.15, 0.15),
        (Square(queries=3000), "l2", 0.8, 0.15),
        (NES(queries=5000), "l2", 0.8, 0.15),
        (Square(queries=3000), "l1", 2.0, 0.3),
    ],
    ids=lambda value: getattr(value, "kind", value),
)
def test_scores_break_nearly_what_gradients_break(digits, method, norm, eps, slack):
    by_gradients = share_broken(PGD(steps=50), digits, norm, eps)
    assert 0.3 <= by_gradients <= 0.95  # else it says nothing
    assert share_broken(method, digits, norm, eps) >= by_gradients - slack


def test_sparse_rs_breaks_what_fmn_breaks(digits):
    by_gradients = share_broken(FMN(steps=100), digits, "l0", 3.0)
    sparse = share_broken(SparseRS(queries=2000), digits, "l0", 3.0)
    assert sparse >= by_gradients - 0.05
    assert share_broken(OnePixel(queries=4000), digits, "l0", 3.0) >= 0.4 * sparse > 0.1


def test_labels_alone_come_near_to_gradients(digits):
    model, x, y = digits
    threat = ThreatModel(norm="l2", eps=8.0)
    nearest = attack(FMN(steps=100), model, x, y, threat).distance
    for method in (HopSkipJump(queries=3000), GeoDA(queries=3000), Boundary(queries=3000)):
        result = attack(method, model, x, y, threat)
        assert result.success.all()
        assert result.distance.median() <= 1.35 * nearest.median()


# goals


@by_scores
def test_scores_reach_a_target(digits, method, norm):
    model, x, y = digits
    threat = ThreatModel(norm=norm, eps={"linf": 0.5, "l2": 4.0, "l1": 20.0, "l0": 25.0}[norm], goal="targeted")
    more = method.model_copy(update={"queries": 1000})
    result = attack(more, model, x[:20], y[:20], threat, target=(y[:20] + 1) % 10)
    with torch.no_grad():
        assert torch.equal(model(result.adversarial).argmax(1) == (y[:20] + 1) % 10, result.success)
    assert result.success.float().mean() >= 0.5


@by_labels
def test_labels_reach_a_target_where_a_random_input_has_it(digits, method, norm):
    model, x, y = digits
    threat = ThreatModel(norm=norm, eps={"linf": 1.0, "l2": 8.0, "l1": 64.0}[norm], goal="targeted")
    target = torch.where(y == 8, 1, 8)
    result = attack(method.model_copy(update={"queries": 500}), model, x, y, threat, target=target)
    found = result.distance.isfinite()
    assert found.float().mean() >= 0.5
    with torch.no_grad():
        assert (model(result.adversarial).argmax(1) == target)[found].all()
    assert torch.equal(result.adversarial[~found], x[~found])


@by_labels
def test_no_start_is_no_failure(method, norm):
    predict = lambda z: np.zeros(len(z), dtype=np.int64)  # noqa: E731
    model, x = BlackBox(predict, 2, access=Access.DECISIONS), torch.rand(4, 6)
    method = method.model_copy(update={"starts": 15})
    result = attack(method, model, x, torch.zeros(4, dtype=torch.int64), ThreatModel(norm=norm, eps=1.0))
    assert result.distance.isinf().all()
    assert not result.success.any()
    assert not result.error.any()
    assert torch.equal(result.adversarial, x)
    assert result.cost.tolist() == [16] * 4  # the engine's own question, and the tries


# what is asked


def counting(classes, access, shape):
    model, seen = linear(shape, classes), []

    def predict(z):
        assert z.min() >= 0
        assert z.max() <= 1
        seen.append(len(z))
        with torch.no_grad():
            scores = model(torch.from_numpy(z)).numpy()
        return scores.argmax(1) if access is Access.DECISIONS else scores

    return BlackBox(predict, classes, access=access, shape=shape), seen


@every
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_black_box_is_asked_as_often_as_is_said(method, norm, shape):
    model, seen = counting(3, method.needs, shape)
    x = around_the_middle(shape, 12)
    y = model(x).argmax(1)
    seen.clear()
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps=EPS[norm]), batch_size=5)
    assert not result.error.any(), result.messages
    assert sum(seen) == result.forwards == int(result.cost.sum()) + len(x)  # at the end, the judge asks once more
    assert result.cost.max() <= method.queries + 1  # at first, the engine asks who is right
    assert result.backwards == 0


@every
@pytest.mark.parametrize("queries", [1, 2, 3, 7, 26])
def test_no_more_than_the_queries_are_asked(method, norm, queries):
    model, x = linear((2, 5, 5), 3), around_the_middle((2, 5, 5), 6)
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(method.model_copy(update={"queries": queries}), model, x, y, ThreatModel(norm=norm, eps=EPS[norm]))
    assert not result.error.any(), result.messages
    assert result.cost.max() <= queries + 1


@every
def test_a_budget_cuts_the_search_and_keeps_what_it_found(method, norm):
    model, x = linear((10,), 2), around_the_middle((10,), 20)
    with torch.no_grad():
        y = model(x).argmax(1)
    threat = ThreatModel(norm=norm, eps={"linf": 0.5, "l2": 1.0, "l1": 2.0, "l0": 5.0}[norm])
    result = attack(method, model, x, y, threat, budget=Budget(queries=40))
    assert not result.error.any(), result.messages
    assert result.cost.max() <= 41
    assert result.success.float().mean() >= 0.5


@by_labels
@pytest.mark.parametrize("right", [0, 1])
def test_where_scores_tie_the_search_goes_on_as_the_judge_wants_it(method, norm, right):
    """Rounded scores tie in wide bands, in which ``argmax`` names the first class: no success, whichever class is right."""

    def rounded(x):
        score = 2.0 * (x.mean(1) - 0.5) * (1 if right else -1)
        return np.stack([-score, score], 1).round(1)

    model, x = BlackBox(rounded, 2), torch.full((6, 10), 0.62 if right else 0.38)
    result = attack(method, model, x, torch.full((6,), right), ThreatModel(norm=norm, eps=1.0))
    assert result.distance.isfinite().all()
    assert (rounded(result.adversarial.numpy()).argmax(1) != right).all()


@by_scores
def test_scores_are_refused_before_any_question(method, norm):
    model, seen = counting(3, Access.DECISIONS, (10,))
    with pytest.raises(AccessError, match="needs scores"):
        attack(method, model, around_the_middle((10,), 3), torch.zeros(3).long(), ThreatModel(norm=norm, eps=EPS[norm]))
    assert not seen


class NoGradient(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        assert not torch.is_grad_enabled()
        assert not x.requires_grad
        return self.inner(x)


@every
def test_no_gradient_is_asked_for(method, norm):
    model = Classifier(NoGradient(linear((10,), 3).net), 3)
    x = around_the_middle((10,), 6)
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(method, model, x, y, ThreatModel(norm=norm, eps=EPS[norm]))
    assert not result.error.any(), result.messages
    assert result.backwards == 0


@every
def test_neighbours_in_a_batch_change_nothing(method, norm):
    # In float64, so that another batch's rounding can't tip a comparison.
    model, x = linear((2, 5, 5), 3).double(), around_the_middle((2, 5, 5), 9).double()
    with torch.no_grad():
        y = model(x).argmax(1)
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    together = attack(method, model, x, y, threat)
    for row in (0, 5, 8):
        alone = attack(method, model, x[row : row + 1], y[row : row + 1], threat, indices=torch.tensor([row]))
        torch.testing.assert_close(alone.adversarial[0], together.adversarial[row], rtol=0, atol=1e-9)
        assert alone.cost[0] == together.cost[row]


def test_labels_are_asked_in_full_precision(digits):
    model, x, y = digits
    threat, method = ThreatModel(norm="l2", eps=8.0), HopSkipJump(queries=300)
    plain, low = (attack(method, model, x[:10], y[:10], threat, precision=kind) for kind in ("float32", "bfloat16"))
    assert torch.equal(plain.adversarial, low.adversarial)


# Square


def test_the_schedule_of_squares():
    method = Square(queries=10_000)
    shares = {query: method.share(query + 1) for query in (0, 10, 11, 50, 51, 200, 201, 1000, 1001, 8000, 8001, 9999)}
    halvings = {query: round(math.log2(0.8 / share)) for query, share in shares.items()}
    assert halvings == {0: 0, 10: 0, 11: 1, 50: 1, 51: 2, 200: 2, 201: 3, 1000: 4, 1001: 5, 8000: 8, 8001: 9, 9999: 9}
    assert [Square(queries=100).share(query) for query in (1, 2, 3)] == pytest.approx([0.8, 0.2, 0.2])


def square(queries, x, norm="linf", eps=0.1, seed=0):
    """Where a search ends that never finds anything better than the last: the model rewards each new query."""

    class Rewarded(nn.Module):
        calls = 0

        def forward(self, z):
            self.calls += 1
            return torch.tensor([[-float(self.calls), 0.0]]).expand(len(z), -1)

    threat = ThreatModel(norm=norm, eps=eps)
    oracle = Oracle(Classifier(Rewarded(), 2), until_broken=False)
    return Square(queries=queries).perturb(oracle, x, torch.zeros(len(x)).long(), threat, streams(seed, "s", len(x)))


def test_linf_starts_from_stripes_and_puts_squares_at_corners():
    x = torch.rand(50, 3, 12, 12)
    threat = ThreatModel(eps=0.1)
    low, high = threat.project(x - 0.1, x), threat.project(x + 0.1, x)
    start, second = square(1, x), square(2, x)
    for z in (start, second, square(300, x)):
        assert ((z == low) | (z == high)).all()
    up = start == high
    assert (up == up[:, :, :1]).all()
    changed = (second != start).any(1)  # pixels
    side = round(math.sqrt(0.8 * 144))
    assert (changed.any(2).sum(1) <= side).all()
    assert (changed.any(1).sum(1) <= side).all()
    assert changed.any(2).sum(1).max() == side


@pytest.mark.parametrize("norm", ["l2", "l1"])
@pytest.mark.parametrize("shape", [(3, 12, 12), (1, 7, 4), (30,), (9, 2), (2, 3, 4, 5)])
def test_lp_squares_spend_the_whole_budget(norm, shape):
    x = torch.full((20, *shape), 0.5)
    for queries in (1, 2, 40):
        z = square(queries, x, norm, 0.4)
        length = torch.linalg.vector_norm((z - x).flatten(1), 2 if norm == "l2" else 1, dim=1)
        assert length.max() <= 0.4 + 1e-7 * math.prod(shape)
        assert length.median() >= 0.4 * 0.9999  # but where a bump meets its own negative


def test_bumps_are_those_of_the_paper():
    upright, lying = _bumps(5, 5, 2.0).view(2, 5, 5)
    assert torch.equal(lying, upright.T)
    assert upright.norm() == pytest.approx(1.0)
    assert (upright[:2] > 0).all()
    assert (upright[2:] < 0).all()
    # 1, 1 + 1/4 and 1 + 1/4 + 1/9 times the same: the sum over k >= r of 1 / (k + 1)**2 grows towards the centre.
    lower = upright[2:] / upright[2:].amax()
    torch.testing.assert_close(lower[1, 2] / lower[1, 0], torch.tensor((1 + 1 / 4 + 1 / 9) / (1 / 9)))
    assert _bumps(1, 1, 1.0).abs().tolist() == [[1.0], [1.0]]


def test_a_square_that_changes_nothing_is_not_asked():
    x = torch.full((40, 1), 0.5)  # one feature: half of the squares are where it already is
    model = Classifier(nn.Linear(1, 2), 2)
    model.net.weight.data, model.net.bias.data = torch.tensor([[1.0], [-1.0]]), torch.zeros(2)
    oracle = Oracle(model)
    oracle.begin(x)
    Square(queries=200).perturb(oracle, x, torch.zeros(40).long(), ThreatModel(eps=0.1), streams(0, "s", 40))
    assert oracle.account.spent.min() >= 70
    assert oracle.account.spent.max() <= 130
    assert oracle.forwards == int(oracle.account.spent.sum())


# other parts


@pytest.mark.parametrize("shape", [(7,), (6, 3), (2, 5, 4), (2, 3, 4, 5)])
def test_a_grid_names_every_value_once(shape):
    x = torch.rand(2, *shape)
    grid, size = Grid.of(x), math.prod(shape)
    everything = set(range(size))
    assert set(grid.pixels(torch.arange(grid.positions)).flatten().tolist()) == everything
    assert set(grid.window(grid.height, grid.width, x.device).flatten().tolist()) == everything
    assert grid.channels * grid.positions == size
    tall, wide = grid.sides(0.3)
    draws = torch.rand(500, 2)
    corners = grid.corner(draws, torch.tensor(tall), torch.tensor(wide))
    covered = (corners[:, None, None] + grid.window(tall, wide, x.device)).flatten().tolist()
    assert set(covered) == everything
    values = torch.rand(2, grid.channels, grid.height, grid.width)
    back = grid.flat(values).view(2, *shape)
    if len(shape) >= 3:
        assert torch.equal(back.flatten(), values.flatten())
    else:
        assert torch.equal(back.view(2, grid.width, grid.channels), values[:, :, 0].transpose(1, 2))


@pytest.mark.parametrize(("eps", "pixels", "features"), [(1.0, 1, 1), (3.0, 1, 3), (7.0, 2, 6)])
def test_whole_pixels_are_changed_where_eps_allows_one(eps, pixels, features):
    model, x = linear((3, 4, 4), 2), around_the_middle((3, 4, 4), 10)
    with torch.no_grad():
        y = model(x).argmax(1)
    for method in (SparseRS(queries=100, pixels=True), OnePixel(queries=100, population=20)):
        z = method.perturb(Oracle(model, False), x, y, ThreatModel(norm="l0", eps=eps), streams(0, "s", 10))
        changed = z != x
        assert changed.any(1).flatten(1).sum(1).max() <= pixels
        assert changed.flatten(1).sum(1).max() == features


def test_sparse_rs_may_change_everything():
    model, x = linear((6,), 2), around_the_middle((6,), 10)
    with torch.no_grad():
        y = model(x).argmax(1)
    z = SparseRS(queries=300).perturb(Oracle(model, False), x, y, ThreatModel(norm="l0", eps=6), streams(0, "s", 10))
    weight = model.net[1].weight.detach()
    best = ((weight[1 - y] - weight[y]) > 0).float()
    assert torch.equal(z, best)


@pytest.mark.parametrize("kind", ["normal", "sign"])
def test_estimated_gradients(kind):
    model, x = linear((10,), 3).double(), around_the_middle((10,), 4).double()
    rng, y = streams(0, "s", 4), torch.zeros(4).long()
    gradient, mean = estimate(
        Oracle(model), x, lambda times: ascend("logit", y.repeat(times), "untargeted"),
        lambda count: getattr(rng, kind)((count, 10)), 20_000, 0.01, (0.0, 1.0),
    )  # fmt: skip
    weight = -model.net[1].weight.detach()[0]
    torch.testing.assert_close(gradient, weight.expand(4, -1), rtol=0, atol=0.1)
    with torch.no_grad():
        torch.testing.assert_close(mean, -model(x)[:, 0], rtol=0, atol=1e-2)


def test_the_way_back_ends_within_the_tolerance():
    # In float64, where scores tie in no band that is wider than the tolerance.
    model, x = linear((10,), 2).double(), around_the_middle((10,), 20).double()
    with torch.no_grad():
        y = model(x).argmax(1)
    threat = ThreatModel(norm="l2", eps=1.0)
    search = Decisions(Oracle(model), x, y, threat, 500)
    search.start(streams(0, "s", 20), 100)
    rows = search.rows()
    assert len(rows) == 20
    outer = search.point.clone()
    inner = search.pull(rows, outer, 1e-5)
    w = model.net[1].weight.detach()
    w = (w[1 - y] - w[y])[rows]
    with torch.no_grad():
        gap = -(ascend("margin", y, "untargeted")(model(x)))
    crossing = gap / ((outer - x) * w).sum(1)  # where the line meets the plane
    share = (inner - x).norm(dim=1) / (outer - x).norm(dim=1)
    assert (share >= crossing - 1e-4).all()
    assert (share <= crossing + 1e-4).all()


def test_geoda_rounds_grow_and_fit():
    for queries in (1, 50, 200, 4000, 20_000):
        rounds = GeoDA(queries=queries).rounds()
        assert 1 <= rounds[0] <= 80
        assert rounds == sorted(rounds)
        assert sum(rounds) <= queries
    assert GeoDA(queries=4000).rounds()[1] / GeoDA(queries=4000).rounds()[0] == pytest.approx(0.6 ** (-2 / 3), rel=0.05)


def test_low_frequencies():
    keep = _low_pass(8, 3)
    torch.testing.assert_close(keep @ keep, keep)
    torch.testing.assert_close(keep @ torch.ones(8), torch.ones(8))
    assert torch.trace(keep) == pytest.approx(3.0)
    torch.testing.assert_close(_low_pass(5, 9), torch.eye(5))


def test_geoda_in_low_frequencies_changes_only_those(digits):
    model, x, y = digits
    threat = ThreatModel(norm="l2", eps=8.0)
    result = attack(GeoDA(queries=1000, frequencies=4), model, x, y, threat)
    assert result.success.all()
    assert result.cost.max() <= 1001


@pytest.mark.parametrize(
    ("method", "norm"), [(HopSkipJump(queries=6000), "linf"), (GeoDA(), "linf"), (GeoDA(), "l2"), (GeoDA(), "l1")]
)
def test_eight_bits_cost_little_of_the_distance(method, norm):
    """Of points nearer to each other than two levels the labels tell nothing: they are drawn further apart."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        net[1].weight.mul_(0.8)
        net[1].bias.copy_(-net[1].weight @ torch.full((64,), 0.5) + torch.tensor([0.8, 0.0]))
    model = Classifier(net, 2)
    x = ((torch.rand(8, 1, 8, 8) * 0.2 + 0.4) * 255).round() / 255
    y = model(x).argmax(1)
    free, grid = (
        attack(method, model, x, y, ThreatModel(norm=norm, eps=1, constraints=rules)).distance.median()
        for rules in (None, Constraints(levels=256))
    )
    assert grid <= 1.1 * free


def test_only_the_hopeless_are_given_up(digits):
    """Those that Square breaks are the same, of the others most are left early; the cost says how early."""
    model, x, y = digits
    threat = ThreatModel(eps=0.08)
    whole = attack(Square(queries=400), model, x, y, threat)
    short = attack(Square(queries=400, hopeless=0.04), model, x, y, threat)
    assert int((whole.success & ~short.success).sum()) <= 0.15 * int(whole.success.sum())
    assert int(short.cost[short.robust].float().mean()) < 0.7 * int(whole.cost[whole.robust].float().mean())
    assert int(short.cost.max()) <= int(whole.cost.max())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_limits_that_nobody_keeps_end_the_search_at_the_first_check(norm):
    model = Classifier(nn.Linear(20, 3), 3)
    x = torch.rand(6, 20, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = model(x).argmax(1)
    result = attack(Square(queries=100, hopeless=1e-9), model, x, y, ThreatModel(norm=norm, eps=1e-6 if norm != "linf" else 1e-3))
    assert result.robust.any()
    assert int(result.cost[result.robust].max()) <= 1 + 1 + 5 + 1  # clean input, its margin, a twentieth of 100, the judge


def test_hopeless_is_about_margins():
    with pytest.raises(ConfigError, match="it is about margins"):
        Square(hopeless=0.04, loss="ce")
