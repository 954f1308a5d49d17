"""The threat model: what it accepts, what it refuses, and that it carries itself through a report."""

import json

import pytest
import torch

from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import streams
from martensite.threat import BALLS, ThreatModel


def test_eps_as_written():
    assert ThreatModel(eps="8/255").eps == 8 / 255
    assert ThreatModel.from_yaml("{norm: l2, eps: 1e-1, box: [-1, 1]}") == ThreatModel(norm="l2", eps=0.1, box=(-1.0, 1.0))


@pytest.mark.parametrize("eps", [0, -0.1, "0/255", float("nan"), float("inf"), "eight", "8/0", None, True])
def test_an_eps_that_is_no_radius(eps):
    with pytest.raises(ConfigError, match=r"ThreatModel\.eps"):
        ThreatModel(eps=eps)


def test_eps_is_required_and_norms_are_known():
    with pytest.raises(ConfigError, match="lacks 'eps'"):
        ThreatModel()
    with pytest.raises(ConfigError, match="norm is 'l3'"):
        ThreatModel(norm="l3", eps=0.1)
    with pytest.raises(ConfigError, match="did you mean 'eps'"):
        ThreatModel(epz=0.1)


def test_an_eps_in_the_units_of_8_bit_images_is_told_so():
    with pytest.raises(ThreatError, match=r"eps is 8 in the box \[0, 1\].*write 8/255"):
        ThreatModel(eps=8)
    assert ThreatModel(eps=8, box=(0, 255)).eps == 8
    assert ThreatModel(eps=1).eps == 1
    with pytest.raises(ThreatError):
        ThreatModel(eps=1.0001)


@pytest.mark.parametrize("box", [(1, 0), (0, 0), (0.5, 0.5)])
def test_an_empty_box(box):
    with pytest.raises(ThreatError, match="lower end must be below"):
        ThreatModel(norm="l2", eps=0.1, box=box)


@pytest.mark.parametrize("box", [(0, float("nan")), (float("-inf"), 1), (0,), (0, 1, 2), "unit"])
def test_a_box_that_is_no_interval(box):
    with pytest.raises(ConfigError, match=r"ThreatModel\.box"):
        ThreatModel(eps=0.1, box=box)


def test_l0_counts_features():
    with pytest.raises(ThreatError, match="number of features"):
        ThreatModel(norm="l0", eps="8/255")
    assert ThreatModel(norm="l0", eps=1).eps == 1


@pytest.mark.parametrize(
    ("norm", "box", "widest"),
    [("linf", (0, 1), 1), ("l2", (0, 1), 4), ("l1", (0, 1), 16), ("l0", (0, 1), 16), ("l2", (-1, 3), 16), ("l1", (-1, 1), 32)],
)
def test_an_eps_that_no_two_inputs_are_apart(norm, box, widest):
    x = torch.zeros(3, 1, 4, 4)
    ThreatModel(norm=norm, eps=widest, box=box).check_shape(x)
    corners = torch.full_like(x, box[0]), torch.full_like(x, box[1])
    assert ThreatModel(norm=norm, eps=1, box=box).distance(*corners).tolist() == [widest] * 3
    if norm != "linf":
        with pytest.raises(ThreatError, match="no two inputs are further apart"):
            ThreatModel(norm=norm, eps=widest * 1.001, box=box).check_shape(x)


def test_distances_by_hand():
    x, other = torch.zeros(2, 2, 2), torch.tensor([[[3.0, 0], [0, -4]], [[0, 0], [0, 0]]])
    expected = {"linf": [4.0, 0], "l2": [5.0, 0], "l1": [7.0, 0], "l0": [2.0, 0]}
    for norm, values in expected.items():
        threat = ThreatModel(norm=norm, eps=1, box=(-9, 9))
        assert threat.distance(x, other).tolist() == values
        assert threat.distance(x, other).dtype == torch.float32
        assert threat.distance(x.double(), other.double()).dtype == torch.float64
        assert threat.distance(x.half(), other.half()).dtype == torch.float32


def test_distances_are_summed_in_double():
    x = torch.zeros(1, 2**20)
    assert ThreatModel(norm="l1", eps=1).distance(x, x + 0.1).item() == pytest.approx(2**20 * float(torch.tensor(0.1)), rel=1e-7)


def test_it_carries_itself_through_a_report():
    threat = ThreatModel(norm="l1", eps="12.5", box=(-1, 1), goal="targeted")
    assert ThreatModel.parse(json.loads(threat.model_dump_json())) == threat
    assert ThreatModel.parse(threat.model_dump()) == threat
    assert hash(ThreatModel.parse(threat.model_dump())) == hash(threat)
    assert str(threat) == "l1 eps 12.5 in [-1, 1]"


def test_at_changes_eps_alone():
    threat = ThreatModel(norm="l2", eps=1, box=(-1, 1), goal="targeted")
    assert threat.at(0.5) == ThreatModel(norm="l2", eps=0.5, box=(-1, 1), goal="targeted")
    with pytest.raises(ConfigError):
        threat.at(0.0)


def test_every_norm_has_a_ball():
    assert set(BALLS) == {"linf", "l2", "l1", "l0"}
    for norm, ball in BALLS.items():
        assert ThreatModel(norm=norm, eps=1).ball is ball


def test_the_methods_are_the_balls():
    x = torch.full((2, 5), 0.5)
    for norm, ball in BALLS.items():
        threat = ThreatModel(norm=norm, eps=1, box=(-1, 2))
        point = x + torch.linspace(-2, 2, 5)
        assert torch.equal(threat.project(point, x), ball.project(point, x, 1.0, (-1.0, 2.0)))
        eps = torch.tensor([1.0, 2.0])
        assert torch.equal(threat.project(point, x, eps), ball.project(point, x, eps, (-1.0, 2.0)))
        started = threat.random_start(x, streams(0, "s", 2))
        assert torch.equal(started, ball.random_start(x, 1.0, (-1.0, 2.0), streams(0, "s", 2)))
