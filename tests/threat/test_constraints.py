"""Constraints as they are stated: what they accept, what they refuse, and that they come back from YAML and reports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from martensite.core.config import load_yaml
from martensite.core.errors import ConfigError, DataError, ThreatError
from martensite.core.rng import streams
from martensite.threat import Constraints, ThreatModel, check_clean, violations

EXAMPLE = """
norm: l2
eps: 0.5
constraints:
  names: [age, income, rent, total, red, green]
  units: {age: [0, 100], income: [0, 5000], rent: [0, 5000], total: [0, 10000]}
  fixed: [age]
  ranges: {income: [100, 4500]}
  integer: [age]
  one_hot: [[red, green]]
  relations: [total == income + rent, rent <= income]
"""
BOX = (0.0, 1.0)


def test_yaml_python_and_reports_say_the_same():
    threat = ThreatModel.from_yaml(EXAMPLE)
    rules = threat.constraints
    assert rules.names[3] == "total"
    assert ThreatModel.parse(json.loads(json.dumps(threat.model_dump(mode="json")))) == threat
    assert ThreatModel.model_validate_json(threat.model_dump_json()) == threat
    assert threat.at(0.25).constraints == rules
    assert threat.at(0.25).eps == 0.25
    threat.check_shape(torch.zeros(1, 6))
    assert threat == ThreatModel.from_yaml(EXAMPLE)  # also once it is compiled
    assert "under constraints" in str(threat)


def test_the_example_of_the_documentation_is_one():
    page = (Path(__file__).parents[2] / "docs/rooms/threat.md").read_text(encoding="utf-8")
    example = page.split("```yaml")[1].split("```")[0]
    threat = ThreatModel.parse(load_yaml(example)["threat"])
    threat.check_shape(torch.zeros(1, 8))
    assert hash(threat) == hash(ThreatModel.parse(threat.model_dump(mode="json")))


def test_features_by_name_index_slice_and_mask():
    named = Constraints(names=("a", "b", "c", "d"), fixed=("b", 3))
    assert named.immutable == (1, 3)
    assert Constraints(fixed=["1:4", 6, "x8"]).immutable == (1, 2, 3, 6, 8)
    mask = torch.tensor([[True, True, False], [False, True, True]])
    assert Constraints(fixed=mask).fixed == ("0:2", "4:6")
    assert Constraints(fixed=mask.numpy()) == Constraints(fixed=mask)
    assert Constraints(fixed=np.zeros(5, bool)).fixed == ()
    assert Constraints(ranges={3: (0.0, "1/2")}).ranges == {"3": (0.0, 0.5)}


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"names": ("age", "pay"), "fixed": ("agee",)}, "did you mean 'age'"),
        ({"names": ("age", "pay"), "fixed": (2,)}, "there is no feature '2'"),
        ({"fixed": ("age",)}, "there are no names"),
        ({"fixed": ("5:5",)}, "there is no feature '5:5'"),
        ({"fixed": torch.ones(3)}, "a mask is boolean"),
        ({"names": ("a", "a")}, "is there twice"),
        ({"names": ("1", "2")}, "reads as an index"),
        ({"ranges": {"0": (1.0, 0.0)}}, "from low to high"),
        ({"units": {"0": (1.0, 1.0)}}, "from low to high"),
        ({"one_hot": ((0, 1), (1, 2))}, "'x1' is in the one-hot groups 0 and 1"),
        ({"one_hot": ((0,),)}, "among two at least"),
        ({"relations": ("x0 < x1",)}, "write <="),
        ({"names": ("age", "pay"), "relations": ("agge <= pay",)}, "did you mean 'age'"),
        ({"levels": 1}, "levels is 1"),
        ({"levels": 256, "integer": (0,)}, "leave levels out"),
        ({"mask": (0,)}, "has no key 'mask'"),
    ],
)
def test_what_makes_no_sense_is_refused(stated, said):
    with pytest.raises(ConfigError) as caught:
        Constraints(**stated)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"ranges": {"0": (2.0, 3.0)}}, "the range of 'x0' is [2, 3] and the box holds [0, 1]"),
        ({"one_hot": ((0, 1),), "units": {"1": (0.0, 0.5)}}, "it has to hold 0 and 1"),
        ({"integer": (0,), "units": {"0": (0.0, 1e7)}}, "can't tell its values apart"),
    ],
)
def test_what_the_box_cannot_hold_is_refused(stated, said):
    with pytest.raises(ThreatError) as caught:
        ThreatModel(eps=0.1, constraints=Constraints(**stated))
    assert said in str(caught.value)


def test_inputs_of_another_size_are_refused():
    x = torch.zeros(2, 3)
    for rules in (Constraints(names=("a", "b")), Constraints(fixed=(3,)), Constraints(relations=("x0 <= x7",))):
        with pytest.raises(ThreatError, match="features"):
            ThreatModel(eps=0.1, constraints=rules).check_shape(x)


def test_equations_that_contradict_each_other_are_refused():
    rules = Constraints(relations=("x0 + x1 == 1", "x1 + x0 == 2"))
    with pytest.raises(ConfigError, match="'x1 \\+ x0 == 2' contradicts"):
        ThreatModel(eps=0.1, constraints=rules).check_shape(torch.zeros(1, 2))
    ThreatModel(eps=0.1, constraints=Constraints(relations=("x0 + x1 == 1", "2*x1 + 2*x0 == 2"))).check_shape(torch.zeros(1, 2))


GOOD = torch.tensor([0.3, 0.5, 0.2, 0.35, 0.0, 1.0])  # 30 years, 2500, 1000, 3500, green


@pytest.mark.parametrize(
    ("place", "value", "rule", "shown"),
    [
        (0, 0.305, "age is a whole number", 30.5),
        (1, 0.01, "100 <= income <= 4500", 50.0),
        (3, 0.36, "total == income + rent", 100.0),
        (2, 0.6, "total == income + rent", -2000.0),
        (4, 1.0, "one of red, green is 1 and the others are 0", 2.0),
        (5, 0.0, "one of red, green is 1 and the others are 0", 0.0),
    ],
)
def test_clean_inputs_that_break_a_rule_are_refused_by_number_rule_and_value(place, value, rule, shown):
    rules = ThreatModel.from_yaml(EXAMPLE).constraints
    x = GOOD.repeat(5, 1)
    check_clean(x, rules, BOX)
    x[2:4, place] = value
    with pytest.raises(DataError) as caught:
        check_clean(x, rules, BOX)
    assert f"2 of 5 clean inputs break the constraints; sample 2 breaks {rule!r}" in str(caught.value)
    assert f"is {shown:.6g}." in str(caught.value)


def test_the_check_sees_what_was_moved():
    rules = ThreatModel.from_yaml(EXAMPLE).constraints
    x = GOOD[None]
    z = x.clone()
    z[0, 0] = 0.31
    assert [violation.rule for violation in violations(z, x, rules, BOX)] == ["fixed features stay"]
    levels = Constraints(levels=256)
    image = torch.arange(256).view(1, 16, 16) / 255
    assert not violations(image, image, levels, BOX)
    image[0, 3, 3] += 1e-5
    assert [violation.rule for violation in violations(image, image, levels, BOX)] == ["values lie on 256 levels"]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_projection_start_and_step_leave_immutable_features_and_ranges_alone(norm):
    eps = {"linf": 0.2, "l2": 0.6, "l1": 1.5, "l0": 3.0}[norm]
    rules = Constraints(fixed=("0:4",), ranges={"4:7": (0.3, 0.6)})
    threat, generator = ThreatModel(norm=norm, eps=eps, constraints=rules), torch.Generator().manual_seed(0)
    x = torch.rand(50, 12, generator=generator)
    x[:, 4:7] = 0.3 + 0.3 * x[:, 4:7]
    point = x + torch.randn(50, 12, generator=generator)
    for z in (threat.project(point, x), threat.random_start(x, streams(0, "start", 50))):
        assert torch.equal(z[:, :4], x[:, :4])
        assert (z[:, 4:7] >= 0.3 - 1e-7).all()
        assert (z[:, 4:7] <= 0.6 + 1e-7).all()
        assert (threat.distance(x, z) <= eps * (1 + 1e-6)).all()
    assert not threat.steepest_step(torch.ones_like(x), x, eps)[:, :4].any()


def test_the_l1_projection_is_exact_in_ranges():
    """Against a search by bisection for the threshold in float64, feature by feature bounds included."""
    rules = Constraints(ranges={"0:5": (0.4, 0.6)})
    threat, generator = ThreatModel(norm="l1", eps=1.0, constraints=rules), torch.Generator().manual_seed(1)
    x = 0.4 + 0.2 * torch.rand(40, 10, generator=generator, dtype=torch.float64)
    point = x + torch.randn(40, 10, generator=generator, dtype=torch.float64)
    low, high = torch.zeros(10, dtype=torch.float64), torch.ones(10, dtype=torch.float64)
    low[:5], high[:5] = 0.4, 0.6
    delta = point - x
    room = torch.where(delta > 0, high - x, x - low)
    least, most = torch.zeros(40, 1, dtype=torch.float64), torch.full((40, 1), 10.0, dtype=torch.float64)
    for _ in range(200):
        t = (least + most) / 2
        over = torch.minimum((delta.abs() - t).clamp_min(0), room).sum(1, keepdim=True) > 1.0
        least, most = torch.where(over, t, least), torch.where(over, most, t)
    expected = x + delta.sign() * torch.minimum((delta.abs() - most).clamp_min(0), room)
    assert (threat.project(point, x) - expected).abs().max() < 1e-9
