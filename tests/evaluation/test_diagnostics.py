"""Every self-check is made to fire, and stays silent on an honest model."""

from typing import Literal

import pytest
import torch
from torch import nn

from martensite.attacks import EOT, FGSM, FMN, PGD, HopSkipJump, Square
from martensite.attacks.canaries import Noisy, Saturated
from martensite.data import Dataset
from martensite.defenses import Defence, defend
from martensite.evaluation import Suite, evaluate
from martensite.evaluation.canaries import linear_canary
from martensite.evaluation.evaluate import try_suite
from martensite.evaluation.suite import load_suite
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

STRONG = PGD(steps=10, loss="margin")


class Lazy(PGD):
    """Claims to search, and stays where it is."""

    kind: Literal["lazy"] = "lazy"

    def perturb(self, oracle, x, y, threat, rng):
        return x


class Nowhere(FMN):
    """A search for the nearest that finds nothing."""

    kind: Literal["nowhere"] = "nowhere"

    def perturb(self, oracle, x, y, threat, rng):
        return x


def findings(report):
    """By name; that a suite of two attacks has no canary is beside the point."""
    return {one.name: one.severity for one in report.diagnostics if one.name != "no_canary"}


def suite(*attacks, **more):
    return Suite(name="d", attacks=attacks, **more)


def test_an_honest_model_and_suite_give_no_findings(linear, data, threat):
    report = evaluate(linear, data, threat, suite(FGSM(), STRONG, cascade=(Square(queries=50), PGD(steps=20, loss="margin"))))
    assert findings(report) == {}
    assert report.invalid == ()


def test_flat_gradients_and_an_attack_stuck_in_the_whole_box(linear, data, threat):
    naive = evaluate(Classifier(Saturated(linear.net), 2), data, threat, suite(PGD(steps=10)))
    found = findings(naive)
    assert found["flat_gradients"] == found["whole_box_unbroken"] == found["noise_breaks"] == "invalid"
    assert found["loss_saturates"] == "warning"
    ours = evaluate(Classifier(Saturated(linear.net), 2), data, threat, suite(PGD(steps=10), STRONG))
    assert ours.robust_accuracy == evaluate(linear, data, threat, suite(STRONG)).robust_accuracy
    assert naive.robust_accuracy.low > ours.robust_accuracy.high  # what PGD alone would have us believe
    assert ours.invalid == ()
    assert findings(ours)["loss_saturates"] == "note"


def test_queries_that_find_what_gradients_missed(linear, data, threat):
    report = evaluate(Classifier(Saturated(linear.net), 2), data, threat, suite(PGD(steps=5), cascade=(Square(queries=200),)))
    assert findings(report)["black_box_beats_white_box"] == "invalid"


def test_one_step_that_beats_many(linear, data, threat):
    report = evaluate(linear, data, threat, suite(FGSM(), Lazy()))
    assert findings(report)["fgsm_beats_pgd"] == "invalid"
    assert "fgsm_beats_pgd" not in findings(evaluate(linear, data, threat, suite(FGSM(), STRONG)))


def test_more_steps_that_still_gain(linear, data, threat):
    short = PGD(steps=1, step_size=1e-3, random_start=False)
    report = evaluate(linear, data, threat, suite(short, cascade=(PGD(steps=10),)))
    assert findings(report)["more_steps_gain"] == "invalid"
    assert "more_steps_gain" not in findings(evaluate(linear, data, threat, suite(STRONG, cascade=(PGD(steps=30),))))


def test_noise_that_does_as_well(linear, data, attacks):
    report = evaluate(linear, data, ThreatModel(eps=0.25), suite(attacks.Nothing()))
    assert findings(report)["noise_breaks"] == "invalid"
    assert "noise_breaks" not in findings(evaluate(linear, data, ThreatModel(eps=0.25), suite(STRONG)))


def test_a_model_that_answers_at_random(linear, data, threat):
    def noisy():
        return Classifier(Noisy(linear.net, 0.3), 2)

    assert findings(evaluate(noisy(), data, threat, suite(STRONG)))["predictions_change"] == "invalid"
    many = EOT(attack=PGD(steps=5, loss="margin"), samples=5, judge_samples=5)
    assert findings(evaluate(noisy(), data, threat, suite(many)))["predictions_change"] == "note"


def test_distances_that_miss_what_the_ball_holds(linear, data, threat):
    report = evaluate(linear, data, threat, suite(STRONG, distances=Nowhere(), curve=(0.5,), curve_attack=STRONG))
    assert findings(report) == {"distances_disagree": "warning"}


def test_probabilities(linear, data, threat):
    model = Classifier(nn.Sequential(linear.net, nn.Softmax(1)), 2)
    assert findings(evaluate(model, data, threat, suite(STRONG)))["outputs_are_probabilities"] == "warning"


def test_inputs_that_look_normalised(linear, data):
    box = (-4.0, 4.0)
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)).clamp(-4, 4)
    model = Classifier(linear.net, 2, box=box)
    looks = Dataset(x, model(x).argmax(1).detach(), 2, box=box)
    assert findings(evaluate(model, looks, ThreatModel(eps=0.1, box=box), suite(STRONG)))["normalised_inputs"] == "warning"


def test_a_model_in_training_mode(linear, data, threat):
    model = Classifier(nn.Sequential(linear.net, nn.Dropout(0.5)), 2)
    assert findings(evaluate(model.train(), data, threat, suite(STRONG))) == {"training_mode": "note"}
    assert model.net[1].training
    assert findings(evaluate(model.eval(), data, threat, suite(STRONG))) == {}


def test_a_certificate_that_an_attack_contradicts(linear, data, margin, threat):
    true = evaluate(linear, data, threat, suite(STRONG, distances=FMN()), certified=margin.clamp(min=0) * 0.999)
    assert "contradiction" not in findings(true)
    false = evaluate(linear, data, threat, suite(STRONG, distances=FMN()), certified=margin.clamp(min=0) * 1.5)
    assert findings(false)["contradiction"] == "invalid"
    assert false.diagnostics[0].name == "contradiction"


# canaries


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_canary_is_what_it_says(norm):
    net, data, threat = linear_canary(norm)
    w = (net.weight[1] - net.weight[0]).detach().double()
    dual = {"linf": w.abs().sum(), "l2": w.norm(), "l1": w.abs().max()}[norm]
    b = float((net.bias[1] - net.bias[0]).detach())
    lead = (data.x.double() @ w + b) * torch.where(data.y == 1, 1.0, -1.0) / dual
    assert sorted(lead.tolist()) == pytest.approx([0.8 * threat.eps] * 10 + [1.2 * threat.eps] * 10, rel=1e-4)
    # No wall of the box is within reach, so the closed form is exact.
    assert float(data.x.min()) > threat.eps
    assert float(data.x.max()) < 1 - threat.eps


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_quick_passes_its_canaries(norm):
    canaries = try_suite(load_suite("quick"), norm, Access.GRADIENTS)
    assert [(canary.name, canary.passed) for canary in canaries] == [("linear", True), ("masked", True), ("stochastic", True)]
    assert [canary.found for canary in canaries[:2]] == [10, 10]


@pytest.mark.parametrize(("norm", "access"), [("linf", Access.SCORES), ("l2", Access.DECISIONS)])
def test_a_suite_by_queries_passes_them(norm, access):
    canaries = try_suite(load_suite("quick"), norm, access)
    assert all(canary.passed for canary in canaries)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adaptive", "standard", "tabular"])
def test_the_shipped_suites_pass_them(name):
    assert all(canary.passed for canary in try_suite(load_suite(name), "linf", Access.GRADIENTS))


def test_a_suite_that_sees_nothing_fails_them(linear, data, threat):
    report = evaluate(linear, data, threat, suite(PGD(steps=10), canaries=("linear", "masked")))
    assert [(canary.name, canary.found, canary.passed) for canary in report.canaries] == [
        ("linear", 10, True),
        ("masked", 20, False),
    ]
    assert [one.name for one in report.invalid] == ["canary_masked"]
    assert report.robust_accuracy.count == int(evaluate(linear, data, threat, suite(STRONG)).robust_accuracy.count)


def test_a_defended_model_that_nobody_attacked_adaptively_is_no_evidence(linear, data, threat):
    """The rule alone; what adaptive attacks are is tested with the defences."""
    queried = BlackBox(lambda x: linear(torch.from_numpy(x)).detach().numpy(), 2, defended=("jpeg",))
    few = data.subset(slice(0, 10))
    report = evaluate(queried, few, threat, suite(Square(queries=20)))
    (found,) = [one for one in report.diagnostics if one.name == "not_adaptive"]
    assert found.severity == "invalid"
    assert "jpeg" in found.evidence
    bare = BlackBox(queried.predict, 2)
    assert "not_adaptive" not in findings(evaluate(bare, few, threat, suite(Square(queries=20))))


def test_a_defended_network_is_judged_by_the_same_rule(linear, data, threat):
    bits = defend(linear, Defence(transforms=({"kind": "bit_depth", "bits": 6},)))
    few = data.subset(slice(0, 10))
    through = evaluate(bits, few, threat, suite(PGD(steps=2)))
    assert "not_adaptive" not in findings(through)
    around = evaluate(bits, few, threat, suite(PGD(steps=2)), adaptive=False)
    assert findings(around)["not_adaptive"] == "invalid"


def test_a_suite_without_canaries_says_so(linear, data, threat):
    silent = evaluate(linear, data, threat, suite(STRONG))
    assert [one.severity for one in silent.diagnostics if one.name == "no_canary"] == ["warning"]
    for sung in (evaluate(linear, data, threat, suite(STRONG, canaries=("linear",))), evaluate(linear, data, threat, "quick")):
        assert "no_canary" not in {one.name for one in sung.diagnostics}


class Vanishing(nn.Module):
    """The same decisions, with a gradient that is there but leads nowhere."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).detach() + 1e-20 * x.flatten(1)[:, :1]


def test_a_gradient_too_small_to_follow_is_flat(linear, data, threat):
    hidden = evaluate(Classifier(Vanishing(linear.net), 2), data, threat, suite(STRONG))
    assert findings(hidden)["flat_gradients"] == "invalid"
    sure = Classifier(nn.Sequential(linear.net, Scale(40.0)), 2)  # its loss is next to nothing, and so is the slope: no matter
    assert "flat_gradients" not in findings(evaluate(sure, data, threat, suite(PGD(steps=10))))


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_a_search_cut_short_gains_by_more_steps_whatever_the_suite(linear, data, threat):
    short = evaluate(linear, data, threat, suite(PGD(steps=2, step_size=0.002, random_start=False, loss="margin")))
    assert findings(short)["more_steps_gain"] == "invalid"
    assert "with 8 steps breaks" in next(one.evidence for one in short.diagnostics if one.name == "more_steps_gain")


def test_labels_that_waver_between_two_classes_are_noticed(linear, data, threat):
    """Noise of half the smallest margin: no clean input changes its label, and no search by labels can be believed."""
    with torch.no_grad():
        logits = linear(data.x)
    noisy = Classifier(Noisy(linear.net, 0.2 * float((logits[:, 0] - logits[:, 1]).abs().min())), 2)
    only_labels = [BlackBox(lambda x, net=net: net(torch.as_tensor(x)).argmax(1).numpy(), 2, access=Access.DECISIONS)
                   for net in (noisy, linear)]  # fmt: skip
    asked = suite(HopSkipJump(queries=100))
    assert findings(evaluate(only_labels[0], data, threat, asked))["predictions_change"] == "invalid"
    assert "predictions_change" not in findings(evaluate(only_labels[1], data, threat, asked))
