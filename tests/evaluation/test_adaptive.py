"""Defended models under evaluation: adapted by default, the naive figure beside the honest one, and invalid without."""

import pytest
import torch
from torch import nn

from martensite.attacks import APGD, DDN, EOT, FGSM, PGD, AutoAttack, HopSkipJump, Square
from martensite.attacks import attack as plain_attack
from martensite.core.rng import generator
from martensite.data import Dataset
from martensite.defenses import (
    BitDepth,
    Defence,
    Defended,
    Detector,
    Fitted,
    ResizePad,
    Voting,
)
from martensite.defenses.detector import State
from martensite.defenses.look import Look
from martensite.evaluation import RobustnessReport, Suite, evaluate
from martensite.evaluation.adaptive import BARE, adapted, assault, misjudged
from martensite.models import Classifier
from martensite.threat import ThreatModel

EPS = 0.1
THREAT = ThreatModel(eps=EPS)
SUITE = Suite(name="s", attacks=(FGSM(), PGD(steps=20, loss="margin")))


class First(Detector):
    """Rings where the first feature is large: an alarm whose every decision is known."""

    kind: str = "first"

    def score(self, state: State, look: Look) -> torch.Tensor:
        return look.x[:, 0]


def line():
    """Class 1 where the second feature is above a half; the first says nothing."""
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 8.0]]))
        net.bias.copy_(torch.tensor([4.0, 0.0]))
    return Classifier(net, 2)


def points(first, second):
    x = torch.tensor([[a, b] for a in first for b in second])
    return Dataset(x, (x[:, 1] > 0.5).long(), 2)


def guarded(model, threshold=0.5, alarms=0.25):
    """`First` calibrated so that it rings above ``threshold``."""
    clean = torch.linspace(threshold - 0.2, threshold, 3, dtype=torch.float64)
    made = Defended.__new__(Defended)
    nn.Module.__init__(made)
    plan = Defence.model_construct(
        transforms=(), voting=None, detectors=(First(),), false_alarms=alarms, rules=None, hardened=False
    )
    Defended.__init__(made, model, plan, (Fitted(First(), model, {}, clean, alarms),))
    return made.eval()


def test_an_attack_must_be_wrong_and_unnoticed():
    """Each sample's fate is known: it is broken if the wall is within eps, unless the alarm can't be silenced."""
    model = guarded(line())
    #        unnoticed     noticed on the clean input
    data = points((0.1, 0.45, 0.56), (0.42, 0.35, 0.3, 0.58, 0.8))
    result = assault(PGD(steps=20, loss="margin"), model, data.x, data.y, THREAT, seed=0)
    near = (data.x[:, 1] - 0.5).abs() < EPS
    noticed = data.x[:, 0] > 0.5
    assert torch.equal(result.correct, ~noticed)
    assert torch.equal(result.success & result.correct, near & ~noticed)
    assert torch.equal(result.robust, ~near & ~noticed)
    assert torch.equal(misjudged(model, result.adversarial, data.y) & ~noticed, near & ~noticed)


class Loud(First):
    """Rings wherever the class changes: no attack gets through."""

    def score(self, state: State, look: Look) -> torch.Tensor:
        return (look.x[:, 1] - 0.5).abs().neg() + look.x[:, 0]


def test_an_alarm_that_is_in_the_way_of_every_attack_holds():
    model = line()
    clean = torch.tensor(
        [-0.05, -0.05, -0.05], dtype=torch.float64
    )  # rings within 0.05 of the wall, and beyond it by the first feature
    plan = Defence.model_construct(transforms=(), voting=None, detectors=(Loud(),), false_alarms=0.25, rules=None, hardened=False)
    defended = Defended(model, plan, (Fitted(Loud(), model, {}, clean, 0.25),)).eval()
    data = points((0.0,), (0.42, 0.58))
    result = assault(PGD(steps=30, loss="margin"), defended, data.x, data.y, THREAT, seed=0)
    assert result.robust.all()  # the other side is reached at most 0.02 beyond the wall, where it rings
    wide = assault(PGD(steps=60, loss="margin", restarts=5), defended, data.x, data.y, ThreatModel(eps=0.3), seed=0)
    assert wide.success.all()


def linear_model(d=6):
    net = nn.Linear(d, 2)
    with torch.no_grad():
        net.weight.copy_(torch.randn(2, d, generator=generator(3, "test/linear")))
        net.bias.copy_(-net.weight.sum(1) / 2)
    return Classifier(net, 2)


@pytest.fixture(scope="module")
def rows():
    x = torch.rand(60, 6, generator=generator(4, "test/inputs"))
    with torch.no_grad():
        return Dataset(x, linear_model()(x).argmax(1), 2)


def test_a_quantiser_is_seen_through(rows):
    """The naive attack ends inside a step of the grid; the honest figure is what BPDA finds, and never above the naive one."""
    model = Defended(linear_model(), Defence(transforms=(BitDepth(bits=2),), hardened=True))
    report = evaluate(model, rows, THREAT, SUITE)
    found = report.defence
    assert found.names == ("bit_depth",)
    assert found.naive_attack == f"pgd from {BARE}"
    assert found.naive.value >= report.robust_accuracy.value
    assert "BPDA" in found.adaptive[0]
    assert found.refused is None
    assert [row.name for row in report.attacks] == ["fgsm", "pgd", f"pgd from {BARE}"]
    assert [row.surrogate for row in report.attacks] == [None, None, BARE]
    assert "not_adaptive" not in {one.name for one in report.diagnostics}
    masked = next(one for one in report.diagnostics if one.name == "masked_gradients")
    assert masked.severity == "warning"
    assert f"{found.naive.count} of 60" in masked.evidence
    assert RobustnessReport.model_validate_json(report.model_dump_json()) == report


def test_a_report_without_an_adaptive_attack_is_invalid(rows):
    model = Defended(linear_model(), Defence(transforms=(BitDepth(bits=2),)))
    naive = evaluate(model, rows, THREAT, SUITE, adaptive=False)
    assert "not_adaptive" in {one.name for one in naive.invalid}
    assert naive.defence.adaptive == ()
    assert all(row.surrogate == BARE for row in naive.attacks)
    queries = evaluate(model, rows, THREAT, Suite(name="q", attacks=(Square(queries=50),)))
    assert "not_adaptive" in {one.name for one in queries.invalid}
    assert queries.defence.naive is None


def test_an_undefended_model_has_no_such_record(rows):
    report = evaluate(linear_model(), rows, THREAT, SUITE, adaptive=False)
    assert report.defence is None
    assert all(row.surrogate is None for row in report.attacks)


def test_a_random_model_is_judged_over_draws(rows):
    model = Defended(linear_model(), Defence(voting=Voting(sigma=0.1, votes=12)))
    suite = Suite(
        name="s", attacks=(PGD(steps=3), HopSkipJump()), cascade=(AutoAttack(), EOT(samples=2)), distances=DDN(), curve=(0.5,)
    )
    fitted, left = adapted(suite, model)
    assert fitted.attacks == (EOT(attack=PGD(steps=3), samples=3, judge_samples=3),)
    assert fitted.cascade == (AutoAttack(version="rand", draws=3), EOT(samples=2))
    assert (fitted.distances, fitted.curve) == (None, ())
    assert len(left) == 1
    assert "hopskipjump" in left[0]
    same, none = adapted(suite, linear_model())
    assert same is suite
    assert none == ()


def test_a_random_defence_gives_the_same_report_twice(tmp_path):
    chance = torch.Generator().manual_seed(0)
    images = Dataset(torch.rand(12, 1, 6, 6, generator=chance), torch.arange(12) % 2, 2)
    torch.manual_seed(0)
    net = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), 2, shape=(1, 6, 6))
    images = Dataset(images.x, net(images.x).argmax(1).detach(), 2)
    reports = []
    for store in (None, tmp_path, tmp_path):
        model = Defended(net, Defence(transforms=(ResizePad(least=0.7),)))
        report = evaluate(model, images, ThreatModel(eps=0.05), Suite(name="s", attacks=(PGD(steps=3),)), store=store)
        reports.append(report.model_copy(update={"timing": {}}))
    assert reports[0] == reports[1] == reports[2]
    assert "predictions_change" not in {one.name for one in reports[0].invalid}
    assert "EOT" in " ".join(reports[0].defence.adaptive)


def test_a_model_that_refuses_nothing_is_attacked_as_ever(rows):
    model = Defended(linear_model(), Defence(transforms=(BitDepth(bits=3),)))
    mine = assault(APGD(steps=5), model, rows.x, rows.y, THREAT, seed=2)
    plain = plain_attack(APGD(steps=5), model, rows.x, rows.y, THREAT, seed=2)
    assert torch.equal(mine.adversarial, plain.adversarial)
    assert (mine.forwards, mine.backwards) == (plain.forwards, plain.backwards)


def test_going_class_by_class_changes_no_draw():
    """A detector that never rings: the same adversarials as without it, in the same places."""
    model = line()
    silent = guarded(model, threshold=5.0)
    data = points((0.1, 0.2, 0.3), (0.42, 0.35, 0.3, 0.58, 0.8))
    method = PGD(steps=5, loss="margin")
    mine = assault(method, silent, data.x, data.y, THREAT, seed=1)
    plain = plain_attack(method, model, data.x, data.y, THREAT, seed=1)
    assert torch.equal(mine.success, plain.success)
    torch.testing.assert_close(mine.adversarial, plain.adversarial)
    assert mine.forwards == plain.forwards
