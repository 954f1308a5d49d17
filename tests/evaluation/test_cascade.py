"""The cascade, distances, several threat models, and a run that is cut off: nothing changes what is true of a sample."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from martensite.attacks import DDN, FGM, FGSM, FMN, PGD, AutoAttack, HopSkipJump, Square
from martensite.attacks.canaries import Staircase
from martensite.core.errors import AccessError, ConfigError, ModelError
from martensite.data import Dataset
from martensite.evaluation import Suite, evaluate, evaluate_union
from martensite.evaluation import work as work_module
from martensite.evaluation.adaptive import assault
from martensite.models import Access, BlackBox, Classifier, with_bpda
from martensite.models.digest import identity
from martensite.threat import ThreatModel


def untimed(report):
    return report.model_dump(exclude={"timing"})


CASCADE = Suite(name="c", attacks=(FGSM(),), cascade=(PGD(steps=5), AutoAttack(steps=5, queries=20)))


# the cascade


def test_each_attack_of_a_cascade_sees_only_what_is_left(linear, data, margin, threat):
    suite = Suite(name="c", attacks=(PGD(steps=1, random_start=False, step_size=0.05),), cascade=(FGSM(), PGD(steps=5)))
    report = evaluate(linear, data, threat, suite)
    first, second, third = report.attacks
    clean, half = int((margin > 0).sum()), int((margin > 0.05).sum())
    assert (first.scope, first.attacked, first.robust_accuracy.count) == ("all", clean, half)
    robust = int((margin > threat.eps).sum())
    assert (second.scope, second.attacked, second.broken, second.robust_accuracy.count) == (
        "survivors",
        half,
        half - robust,
        robust,
    )
    assert (third.attacked, third.broken, third.robust_accuracy.count) == (robust, 0, robust)
    assert second.success_rate.value == (half - robust) / half
    assert third.success_rate.count == 0


def test_a_cascade_finds_what_its_attacks_find_on_all_samples(linear, data, threat):
    together = Suite(name="t", attacks=(*CASCADE.attacks, *CASCADE.cascade))
    one, other = evaluate(linear, data, threat, CASCADE), evaluate(linear, data, threat, together)
    assert one.outcomes == other.outcomes
    assert one.broken_by == other.broken_by
    assert sum(row.forwards for row in one.attacks) < sum(row.forwards for row in other.attacks)


def test_nothing_is_left_to_a_cascade_after_all_is_broken(linear, data):
    report = evaluate(linear, data, ThreatModel(eps=1.0), CASCADE)
    assert report.robust_accuracy.count == 0
    assert [(row.attacked, row.forwards) for row in report.attacks[1:]] == [(0, 0), (0, 0)]
    assert report.attacks[1].success_rate is None


def test_shards_change_nothing(linear, data, threat, monkeypatch):
    whole = evaluate(linear, data, threat, CASCADE, seed=5)
    monkeypatch.setattr(sys.modules["martensite.evaluation.measure"], "SHARD", 17)
    assert untimed(evaluate(linear, data, threat, CASCADE, seed=5)) == untimed(whole)


# distances


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.2)])
def test_distances_are_the_closed_form_and_draw_the_curve(norm, eps, linear, data):
    threat = ThreatModel(norm=norm, eps=eps)
    w, b = linear.net.weight.detach().double(), linear.net.bias.detach().double()
    ahead = data.x.double() @ (w[0] - w[1]) + (b[0] - b[1])
    dual = (w[0] - w[1]).abs().sum() if norm == "linf" else (w[0] - w[1]).norm()
    exact = torch.where(data.y == 0, ahead, -ahead) / dual
    suite = Suite(name="d", attacks=(PGD(steps=20, loss="margin"),), distances=FMN(), curve=(0.5, 2.0), curve_attack=PGD(steps=5))
    report = evaluate(linear, data, threat, suite)
    for found, wanted in zip(report.distances, exact.clamp(min=0).tolist(), strict=True):
        # The box is 2.5 eps of Linf away, so the nearest point of the plane is inside it.
        assert found == pytest.approx(wanted, rel=0.02, abs=1e-3)
        assert found >= wanted - 1e-6
    for point in report.curve:
        sure = int((exact > point.eps * 1.02 + 1e-3).sum()), int((exact > point.eps - 1e-6).sum())
        assert sure[0] <= point.accuracy.count <= max(sure[1], sure[0] + 2)
    counts = [point.accuracy.count for point in report.curve]
    assert counts == sorted(counts, reverse=True)
    assert len(counts) > 20
    shown = [f"{point.eps:.6g}" for point in report.curve]
    assert len({*shown}) == len(shown)  # what was measured and the grid are one point where they meet


def test_what_only_the_search_for_the_nearest_breaks_is_broken(linear, data, margin, threat, attacks):
    report = evaluate(linear, data, threat, Suite(name="d", attacks=(attacks.Nothing(),), distances=FMN()))
    assert set(report.broken_by) == {None, "fmn"}
    assert report.robust_accuracy.count == pytest.approx(int((margin > threat.eps).sum()), abs=2)


def test_distances_need_a_minimum_norm_attack():
    with pytest.raises(ConfigError, match="only a minimum-norm attack"):
        Suite(name="d", attacks=(FGSM(),), distances=PGD())


def test_adversarials_are_kept_on_request(linear, data, threat, tmp_path):
    suite = Suite(name="k", attacks=(FGSM(),), cascade=(PGD(steps=5),), distances=FMN())
    report = evaluate(linear, data, threat, suite, adversarials=tmp_path / "a.safetensors")
    kept = load_file(tmp_path / "a.safetensors")
    assert kept["index"].tolist() == [place for place, outcome in enumerate(report.outcomes) if outcome == "broken"]
    x = data.x[kept["index"]]
    assert bool(((kept["adversarial"] - x).abs().flatten(1).amax(1) <= threat.eps + 1e-6).all())
    assert bool((linear(kept["adversarial"]).argmax(1) != data.y[kept["index"]]).all())
    assert [report.distances[place] for place in kept["index"].tolist()] == pytest.approx(kept["distance"].tolist(), abs=1e-7)


def test_adversarials_of_the_curve_are_kept_where_they_lie_within_eps(linear, data, threat, tmp_path):
    """What only a point of the curve below eps breaks is broken; what one beyond eps breaks is not."""
    weak = PGD(steps=1, step_size=1e-6, random_start=False)
    curve = Suite(name="k", attacks=(weak,), curve=(0.75, 1.5), curve_attack=PGD(steps=20, loss="margin"))
    report = evaluate(linear, data, threat, curve, adversarials=tmp_path / "a.safetensors")
    kept = load_file(tmp_path / "a.safetensors")
    broken = [place for place, outcome in enumerate(report.outcomes) if outcome == "broken"]
    assert broken
    assert kept["index"].tolist() == broken
    assert [report.distances[place] for place in broken] == pytest.approx(kept["distance"].tolist(), abs=1e-6)
    assert bool((linear(kept["adversarial"]).argmax(1) != data.y[kept["index"]]).all())


def test_what_no_ball_holds_stands_beside_the_threat_model(threat):
    from martensite.attacks import RotationTranslation
    from martensite.models import build

    x = torch.rand(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    net = build("mlp", (1, 16, 16), 3, seed=1)
    data = Dataset(x, net(x).argmax(1).detach(), 3)
    suite = Suite(name="b", attacks=(FGSM(), RotationTranslation()))
    report = evaluate(net, data, ThreatModel(eps=1e-6), suite)
    assert report.attacks[1].in_threat is False
    assert report.robust_accuracy.count == 6
    flat = Dataset(x.flatten(1), data.y, 3)
    flat_net = build("mlp", (256,), 3, seed=1)
    left = evaluate(flat_net, flat, ThreatModel(eps=0.01), suite).left_out
    assert len(left) == 1
    assert "for images" in left[0]


# several threat models


def test_union_is_the_worst_of_all_sample_by_sample(linear, data, margin):
    threats = ThreatModel(eps=0.05), ThreatModel(norm="l2", eps=0.2)
    suite = Suite(name="u", attacks=(FGSM(), FGM(), PGD(steps=5, loss="margin")))
    report = evaluate_union(linear, data, threats, suite)
    w = (linear.net.weight[0] - linear.net.weight[1]).detach().double()
    lead = margin * w.abs().sum()
    expected = (lead > 0.05 * w.abs().sum()) & (lead > 0.2 * w.norm())
    assert [outcome == "robust" for outcome in report.outcomes] == expected.tolist()
    assert report.union_accuracy.count == int(expected.sum())
    assert report.union_accuracy.count <= min(one.robust_accuracy.count for one in report.reports)
    assert report.reports[0].left_out == ("fgm does not support linf",)
    with pytest.raises(ConfigError, match="each once"):
        evaluate_union(linear, data, (threats[0], threats[0]), suite)


# models that only answer


def black_box(linear, access):
    def predict(x):
        logits = linear(torch.from_numpy(x)).detach().numpy()
        return logits if access == Access.SCORES else np.argmax(logits, 1)

    return BlackBox(predict, 2, access=access)


def test_a_model_that_gives_scores_is_attacked_by_scores(linear, data, margin, threat):
    suite = Suite(name="q", attacks=(PGD(),), cascade=(AutoAttack(),), queries=(Square(queries=300), HopSkipJump(queries=300)))
    few = data.subset(slice(0, 40))
    report = evaluate(black_box(linear, Access.SCORES), few, threat, suite)
    assert [row.name for row in report.attacks] == ["square", "hopskipjump"]
    assert report.access == "scores"
    assert report.left_out == (
        "pgd needs gradients and this model grants scores",
        "autoattack needs gradients and this model grants scores",
    )
    robust = int((margin[:40] > threat.eps).sum())
    assert robust <= report.robust_accuracy.count <= robust + 2


def test_a_model_that_gives_labels_is_attacked_by_labels(linear, data, margin, threat):
    suite = Suite(name="q", attacks=(PGD(),), queries=(Square(queries=300), HopSkipJump(queries=1000)))
    few = data.subset(slice(0, 20))
    report = evaluate(black_box(linear, Access.DECISIONS), few, threat, suite)
    assert [row.name for row in report.attacks] == ["hopskipjump"]
    assert report.access == "decisions"
    robust = int((margin[:20] > threat.eps).sum())
    assert robust <= report.robust_accuracy.count <= robust + 2


def test_a_model_for_which_no_attack_is_left_is_refused(linear, data, threat):
    with pytest.raises(AccessError, match="pgd needs gradients"):
        evaluate(black_box(linear, Access.SCORES), data, threat, Suite(name="q", attacks=(PGD(),)))


# resuming


def test_a_finished_run_is_read_back_without_asking_the_model(linear, data, threat, tmp_path, monkeypatch):
    suite = Suite(name="s", attacks=(FGSM(),), cascade=(PGD(steps=3),), distances=DDN(), curve=(0.5,), curve_attack=PGD(steps=2))
    first = evaluate(linear, data, threat, suite, store=tmp_path)
    assert untimed(first) == untimed(evaluate(linear, data, threat, suite))

    def refuse(*arguments, **options):
        raise AssertionError("an attack was run again")

    monkeypatch.setattr(work_module, "assault", refuse)
    assert untimed(evaluate(linear, data, threat, suite, store=tmp_path)) == untimed(first)
    monkeypatch.setattr(work_module, "assault", assault)
    other = evaluate(linear, data.subset(slice(0, 50)), threat, suite, store=tmp_path)
    assert len(other.outcomes) == 50


def test_the_same_weights_that_compute_otherwise_share_nothing_in_a_store(linear, data, threat, tmp_path):
    """A model behind a staircase and the same through BPDA have one digest; what is kept of one must not answer for the other."""
    hidden = Classifier(nn.Sequential(Staircase(), linear.net), 2)
    seen = with_bpda(hidden, "net.0")
    assert identity(hidden) == identity(seen)
    suite = Suite(name="s", attacks=(PGD(steps=5, random_start=False),))
    left, fewer = (evaluate(one, data, threat, suite, store=tmp_path).robust_accuracy.count for one in (hidden, seen))
    assert fewer < left
    assert fewer == evaluate(seen, data, threat, suite).robust_accuracy.count
    odd = Classifier(linear.net, 2)
    with open(os.devnull) as odd.file, pytest.raises(ModelError, match="leave store= out"):
        evaluate(odd, data, threat, suite, store=tmp_path)


def test_a_model_that_nothing_names_has_no_store(linear, data, threat, tmp_path):
    with pytest.raises(ModelError, match="recognised by a digest"):
        evaluate(black_box(linear, Access.SCORES), data, threat, "quick", store=tmp_path)


SCRIPT = """
import sys, torch
from pathlib import Path
import martensite as mt
from martensite.attacks import FGSM, PGD, AutoAttack, FMN
from martensite.data import Dataset
from martensite.evaluation import Suite
from martensite.models import build
torch.set_num_threads(1)
x = torch.rand(300, 12, generator=torch.Generator().manual_seed(1))
model = mt.Classifier(build("mlp", (12,), 4, seed=3).net, 4)
data = Dataset(x, model(x).argmax(1).detach(), 4)
suite = Suite(name="k", attacks=(FGSM(), PGD(steps=20)), cascade=(AutoAttack(steps=20, queries=200),), distances=FMN(),
              curve=(0.5,), curve_attack=PGD(steps=10))
report = mt.evaluate(model, data, mt.ThreatModel(eps=0.02), suite, store=Path(sys.argv[1]))
report.save(Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_kill_9_at_ten_moments_and_the_same_report(tmp_path):
    def run(store, name, after=None):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / store), str(tmp_path / name)], env=os.environ)
        if after is None:
            assert process.wait() == 0
            return None
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        return process.wait()

    started = time.monotonic()
    run("whole", "whole.json")
    seconds = time.monotonic() - started
    moments = torch.rand(10, generator=torch.Generator().manual_seed(7)) * seconds
    for moment in moments.tolist():
        run("cut", "cut.json", moment)
    run("cut", "cut.json")
    from martensite.evaluation import RobustnessReport

    whole, cut = (RobustnessReport.load(tmp_path / f"{name}.json") for name in ("whole", "cut"))
    assert untimed(cut) == untimed(whole)
