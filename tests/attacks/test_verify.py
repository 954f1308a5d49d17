"""The judge: accepts float32's rounding and nothing more; a tie is no success."""

import pytest
import torch

from martensite.attacks.verify import judge
from martensite.core.rng import streams
from martensite.threat import ThreatModel

EPS = {"linf": [8 / 255, 0.3], "l2": [0.5, 3.0], "l1": [1.0, 12.0], "l0": [1, 20]}
CASES = [(norm, eps) for norm, values in EPS.items() for eps in values]
every_case = pytest.mark.parametrize(("norm", "eps"), CASES)


def verdict(x, candidate, threat, logits=None, y=None):
    n = len(x)
    logits = torch.tensor([[0.0, 1.0]]).expand(n, 2) if logits is None else logits
    return judge(x, candidate, logits, torch.zeros(n, dtype=torch.long) if y is None else y, threat)


def inside(judgement):
    return judgement.allowed & judgement.within


@every_case
@pytest.mark.parametrize("shape", [(12,), (1, 28, 28), (3, 32, 32)], ids=str)
def test_projections_in_float32_are_accepted(norm, eps, shape):
    torch.manual_seed(0)
    threat, x = ThreatModel(norm=norm, eps=eps), torch.rand(50, *shape)
    for point in (x + torch.randn(50, *shape), x + torch.randn(50, *shape).sign() * 2 * eps):
        candidate = threat.project(point, x)
        assert inside(verdict(x, candidate, threat)).all()
        assert inside(verdict(x, threat.random_start(x, streams(0, "s", 50)), threat)).all()


@every_case
def test_projections_of_large_images_are_accepted(norm, eps):
    torch.manual_seed(0)
    threat, x = ThreatModel(norm=norm, eps=eps), torch.rand(2, 3, 224, 224)
    assert inside(verdict(x, threat.project(x + torch.randn_like(x), x), threat)).all()


@pytest.mark.parametrize("box", [(0.0, 255.0), (-1.0, 1.0), (0.0, 0.3), (-2.1179, 2.64), (1000.0, 1001.0)], ids=str)
@pytest.mark.parametrize("norm", EPS)
def test_projections_in_other_boxes_are_accepted(norm, box):
    torch.manual_seed(0)
    width = box[1] - box[0]
    threat = ThreatModel(norm=norm, eps=2 if norm == "l0" else 0.2 * width, box=box)
    x = (torch.rand(50, 20) * width + box[0]).clamp(*box)
    assert inside(verdict(x, threat.project(x + width * torch.randn(50, 20), x), threat)).all()


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_lies_outside_the_ball_is_seen(norm, eps, dtype):
    threat = ThreatModel(norm=norm, eps=eps)
    x = torch.full((4, 784), 0.3, dtype=dtype)
    share = {"linf": 1.0, "l2": 784**-0.5, "l1": 1 / 784, "l0": None}[norm]
    if share is None:
        candidate = torch.where(torch.arange(784) < eps + 1, 0.4, x)
        edge = torch.where(torch.arange(784) < eps, 0.4, x)
    else:
        candidate, edge = x + share * eps * 1.001, x + share * eps
    assert not verdict(x, candidate, threat).within.any()
    assert verdict(x, candidate, threat).allowed.all()
    assert verdict(x, edge, threat).within.all()


def test_one_changed_feature_too_many_is_seen_however_small_the_change():
    threat, x = ThreatModel(norm="l0", eps=1), torch.full((1, 5), 0.5)
    candidate = x.clone()
    candidate[0, :2] = torch.nextafter(candidate[0, :2], torch.tensor(1.0))
    assert verdict(x, candidate, threat).distance.item() == 2
    assert not verdict(x, candidate, threat).within.any()


@pytest.mark.parametrize("norm", EPS)
@pytest.mark.parametrize("value", [-1e-6, 1 + 1e-6, float("nan"), float("inf"), float("-inf")])
def test_what_lies_outside_the_box_is_seen(norm, value):
    threat, x = ThreatModel(norm=norm, eps=1), torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
    candidate = x.clone()
    candidate[0, 0 if value < 0 else 1] = value
    assert verdict(x, candidate, threat).allowed.tolist() == [False, True]


def test_distances_by_hand():
    x = torch.zeros(2, 2, 2)
    candidate = torch.tensor([[[0.3, 0.0], [0.0, -0.4]], [[0.0, 0.0], [0.0, 0.0]]])
    expected = {"linf": 0.4, "l2": 0.5, "l1": 0.7, "l0": 2.0}
    for norm, value in expected.items():
        judgement = verdict(x, candidate, ThreatModel(norm=norm, eps=1, box=(-1, 1)))
        assert judgement.distance.dtype == torch.float64
        assert judgement.distance.tolist() == pytest.approx([value, 0.0], abs=1e-7)


@pytest.mark.parametrize("norm", EPS)
def test_the_judge_and_the_ball_agree_on_distances(norm):
    # Two implementations that share no line.
    torch.manual_seed(0)
    threat, x, candidate = ThreatModel(norm=norm, eps=1), torch.rand(20, 3, 5), torch.rand(20, 3, 5)
    candidate[:, 0] = x[:, 0]
    torch.testing.assert_close(verdict(x, candidate, threat).distance.float(), threat.distance(x, candidate))


def test_a_tie_is_no_success():
    x, y = torch.full((5, 3), 0.5), torch.tensor([0, 1, 0, 1, 2])
    logits = torch.tensor([[1.0, 1, 0], [1, 1, 0], [1, 2, 0], [1, 1, 2], [0, 0, 0]])
    # Class 1 ties in row 1, and class 2 in row 4, where argmax would name another class.
    untargeted = verdict(x, x, ThreatModel(eps=0.1), logits, y)
    assert untargeted.misclassified.tolist() == [False, False, True, True, False]
    targeted = verdict(x, x, ThreatModel(eps=0.1, goal="targeted"), logits, torch.tensor([0, 0, 1, 2, 0]))
    assert targeted.misclassified.tolist() == [False, False, True, True, False]
