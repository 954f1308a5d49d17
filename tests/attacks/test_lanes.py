"""What is asked ahead of need, where few samples are left: outcome and counts are those of one question after the other."""

import math

import pytest
import torch
from torch import nn

from martensite.attacks import EOT, FAB, PGD, APGDTargeted, AutoAttack, Budget, Oracle, Square, attack
from martensite.attacks.lanes import turns_at_once
from martensite.attacks.losses import margin
from martensite.core.rng import streams
from martensite.models import BlackBox, Classifier
from martensite.threat import Constraints, ThreatModel

ONE_BY_ONE = Budget(run_queries=10**9)  # a limit that nothing reaches, but nothing may be asked needlessly under it
K = 6


def victim(seed=0):
    """A small random CNN and eight inputs, in float64, so that another batch's rounding can't tip a comparison."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        convolutions = nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU()
        net = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(128, K)).double()
        model, x = Classifier(net, K), torch.rand(400, 1, 10, 10, dtype=torch.float64)
    with torch.no_grad():
        logits = model(x)
        top = logits.topk(2, 1).values
        chosen = (top[:, 0] - top[:, 1]).argsort(descending=True)[:: 400 // 8][:8]  # from the surest to the least sure
    return model, x[chosen], logits.argmax(1)[chosen]


class Passes:
    """Counts the points that go through a model."""

    def __init__(self, model):
        self.points, self.calls = 0, 0
        model.net.register_forward_pre_hook(self)

    def __call__(self, module, args):
        self.points, self.calls = self.points + len(args[0]), self.calls + 1


def both(method, n, threat, goal=None):
    """The attack as it is, and with every question asked only when it is needed; calls of the model and points passed in each."""
    model, x, y = victim()
    target = None if goal is None else (y + 1) % K
    passes, runs = Passes(model), []
    for budget in (None, ONE_BY_ONE):
        passes.points = passes.calls = 0
        result = attack(method, model, x[:n], y[:n], threat, target=None if target is None else target[:n], budget=budget)
        assert not result.error.any(), result.messages
        runs.append((result, passes.calls, passes.points))
    return runs


def agree(first, second):
    torch.testing.assert_close(first.adversarial, second.adversarial, rtol=0, atol=1e-12)
    assert torch.equal(first.success, second.success)
    assert torch.equal(first.cost, second.cost)
    assert (first.forwards, first.backwards) == (second.forwards, second.backwards)
    assert second.discarded == 0


# Square


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize("goal", [None, "targeted"])
def test_squares_asked_ahead_change_nothing(n, goal):
    threat = ThreatModel(eps=0.06 if goal is None else 0.1, goal=goal or "untargeted")
    (ahead, calls, points), (single, calls_single, points_single) = both(Square(queries=250), n, threat, goal)
    agree(ahead, single)
    assert points == ahead.forwards + ahead.discarded
    assert points_single == single.forwards
    assert calls < calls_single / 2 or n > 1
    if n == 8 and goal is None:
        assert 0 < int(single.success.sum()) < 8  # some leave on the way, at different times, and some stay to the end
        assert len(set(single.cost.tolist())) > 4


def one_query_at_a_time(model, x, y, eps, queries, p, rng):
    """Square on one image (1, h, w) as the paper has it, from the same draws: the margin's rises, and how often was asked."""
    side, n = x.shape[-1], x[0].numel()
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    stripes = rng.integers(2, (1, 1, side))[0]
    z = torch.where(stripes.expand_as(x) == 1, high, low)
    ask = lambda z: float(margin(model(z[None]), y[None]))  # noqa: E731
    best, asked, draws = ask(z), 1, rng.uniform((queries, 3))[0]
    for query in range(1, queries):
        share = Square(queries=queries, p=p).share(query)
        length = min(max(round(math.sqrt(share * n)), 1), side)
        top, left = (int(draws[query - 1, axis] * (side - length + 1)) for axis in (0, 1))
        new = z.clone()
        window = (slice(None), slice(top, top + length), slice(left, left + length))
        new[window] = (high if draws[query - 1, 2] < 0.5 else low)[window]
        if torch.equal(new, z):
            continue
        value, asked = ask(new), asked + 1
        if value > best:
            z, best = new, value
    return z, asked


@pytest.mark.parametrize("room", [0, 125])
def test_square_is_the_paper_s_one_query_at_a_time(room):
    model, x, y = victim()
    oracle, method, threat = Oracle(model, until_broken=False), Square(queries=300), ThreatModel(eps=0.1)
    oracle.begin(x[:3], room=room)
    found = method.perturb(oracle, x[:3], y[:3], threat, streams(0, "s", 3))
    assert (oracle.discarded > 0) is (room > 0)
    with torch.no_grad():
        for row in range(3):
            z, asked = one_query_at_a_time(model, x[row], y[row], 0.1, 300, 0.8, streams(0, "s", 3)[row : row + 1])
            torch.testing.assert_close(found[row], z, rtol=0, atol=1e-12)
            assert int(oracle.account.spent[row]) == asked


@pytest.mark.parametrize("shape", [(30,), (9, 2), (2, 3, 4, 5), (3, 7, 7)])
def test_other_shapes_and_more_channels(shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 20), nn.Tanh(), nn.Linear(20, 3)).double()
        model, x = Classifier(net, 3), torch.rand(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        y = model(x).argmax(1)
    runs = [attack(Square(queries=200), model, x, y, ThreatModel(eps=0.02), budget=budget) for budget in (None, ONE_BY_ONE)]
    agree(*runs)


# targets


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.3), ("l1", 1.5)])
@pytest.mark.parametrize(
    "method", [APGDTargeted(steps=15), APGDTargeted(steps=12, targets=3, restarts=3)], ids=["once", "thrice"]
)
def test_targets_side_by_side_change_nothing(method, n, norm, eps):
    (beside, calls, _), (single, calls_single, _) = both(method, n, ThreatModel(norm=norm, eps=eps))
    agree(beside, single)
    assert calls < calls_single / 2
    if n == 8:
        assert 0 < int(single.success.sum()) < 8
        assert beside.discarded > 0  # later targets, of samples that an earlier one broke


def test_the_earliest_target_that_breaks_counts_even_if_a_later_one_is_faster():
    steps, overtaken = 20, 0
    for seed in range(4):
        model, x, y = victim(seed)
        for row in range(8):
            runs = [
                attack(APGDTargeted(steps=steps), model, x[[row]], y[[row]], ThreatModel(eps=0.06), budget=budget)
                for budget in (None, ONE_BY_ONE)
            ]
            agree(*runs)
            # One after the other: the engine's look, the ranking, then steps + 1 passes forward for each target before the last.
            before, last = divmod(int(runs[1].cost[0]) - 3, steps + 1)
            # Had no later target broken it sooner, all of them would have gone as far.
            as_far = (K - 2 - before) * (2 * (last + 1) - (last == steps))
            assert not runs[0].success[0] or runs[0].discarded <= as_far
            overtaken += bool(runs[0].success[0]) and runs[0].discarded < as_far
    assert overtaken > 0  # else this says nothing


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.04), ("l2", 0.3), ("l1", 1.5)])
@pytest.mark.parametrize("method", [FAB(steps=10, targets=5), FAB(steps=6, targets=3, restarts=2)], ids=["once", "twice"])
def test_runs_of_fab_side_by_side_change_nothing(method, n, norm, eps):
    (beside, calls, _), (single, calls_single, _) = both(method, n, ThreatModel(norm=norm, eps=eps))
    agree(beside, single)
    torch.testing.assert_close(beside.distance, single.distance)
    assert beside.discarded == 0
    assert calls < calls_single


def test_lanes_know_whose_constraints_they_keep():
    model, x, y = victim()
    x = (x * 255).round() / 255
    fixed = torch.zeros(1, 10, 10, dtype=torch.bool)
    fixed[:, 6:] = True
    threat = ThreatModel(eps=0.06, constraints=Constraints(levels=256, fixed=fixed))
    with torch.no_grad():
        y = model(x).argmax(1)
    for method in (APGDTargeted(steps=10), FAB(steps=6, targets=5), Square(queries=80)):
        runs = [attack(method, model, x, y, threat, budget=budget) for budget in (None, ONE_BY_ONE)]
        assert not runs[0].error.any(), runs[0].messages
        agree(*runs)
        assert torch.equal(runs[0].adversarial[:, fixed], x[:, fixed])


def test_an_ensemble_without_an_engine_asks_ahead_among_those_it_has_left():
    model, x, y = victim()
    method, threat, found = AutoAttack(steps=8, queries=40, targets=3), ThreatModel(eps=0.05), []
    for room in (0, 125):
        oracle = Oracle(model)
        oracle.begin(x, room=room)
        points = method.perturb(oracle, x, y, threat, streams(0, "s", 8))
        found.append((points, oracle.account.spent, oracle.forwards, oracle.backwards))
        assert (oracle.discarded > 0) is (room > 0)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-12)
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][2:] == found[1][2:]


# when


def test_what_is_paid_for_is_not_asked_ahead():
    model, x, y = victim()
    threat = ThreatModel(eps=0.05)
    for budget in (Budget(queries=100), Budget(run_queries=400), Budget(sample_seconds=60.0), Budget(seconds=60.0)):
        for method in (Square(queries=50), APGDTargeted(steps=5)):
            assert attack(method, model, x[:2], y[:2], threat, budget=budget).discarded == 0
    scores = BlackBox(lambda z: model(torch.from_numpy(z).double()).detach().numpy(), K, shape=(1, 10, 10))
    assert attack(Square(queries=50), scores, x[:2], y[:2], threat).discarded == 0
    assert attack(EOT(attack=APGDTargeted(steps=5), samples=2, judge_samples=1), model, x[:2], y[:2], threat).discarded == 0
    for budget in (None, Budget(stop_below=0.1)):
        assert attack(Square(queries=50), model, x[:2], y[:2], threat, budget=budget).discarded > 0


def test_turns_fill_the_room_in_groups_of_one_size():
    model, x, _ = victim()
    oracle = Oracle(model)
    assert turns_at_once(oracle, 1, 9) == 1  # nobody said what fits
    oracle.begin(x, room=125)
    assert [turns_at_once(oracle, m, 9) for m in (1, 13, 14, 16, 17)] == [9, 9, 5, 5, 1]
    oracle.begin(x, room=4)
    assert [turns_at_once(oracle, m, 9) for m in (1, 2, 3)] == [3, 2, 1]


class Small(nn.Module):
    """Takes so many samples at once, and no more."""

    def __init__(self, net, most):
        super().__init__()
        self.net, self.most, self.largest = net, most, 0

    def forward(self, x):
        self.largest = max(self.largest, len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.net(x)


@pytest.mark.parametrize("method", [APGDTargeted(steps=10), FAB(steps=5, targets=5), Square(queries=40), PGD(steps=2)])
def test_what_was_asked_ahead_and_did_not_fit_is_asked_one_after_the_other(method):
    model, x, y = victim()
    expected = attack(method, model, x[:2], y[:2], ThreatModel(eps=0.04))
    small = Small(model.net, 2)
    result = attack(method, Classifier(small, K), x[:2], y[:2], ThreatModel(eps=0.04))
    assert not result.error.any(), result.messages
    torch.testing.assert_close(result.adversarial, expected.adversarial, rtol=0, atol=1e-12)
    assert torch.equal(result.cost, expected.cost) or method.kind != "pgd"
    assert (small.largest > 2) is (method.kind != "pgd")


def test_a_run_that_goes_on_counts_what_was_discarded(tmp_path):
    model, x, y = victim()
    threat = ThreatModel(eps=0.05)
    first, again = (attack(Square(queries=60), model, x[:2], y[:2], threat, store=tmp_path) for _ in range(2))
    assert again.discarded == first.discarded > 0
    assert again.forwards == first.forwards
