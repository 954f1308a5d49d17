"""Surrogates and transfer: a student learns its teacher, what is made on it is judged on the model, and the report says so."""

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import FGSM, MIFGSM, PGD, Square, transfer
from martensite.attacks.canaries import Saturated
from martensite.core.errors import ConfigError, ModelError
from martensite.evaluation import Distillation, RobustnessReport, Suite, distil, evaluate
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import Constraints, ThreatModel

PLAN = Distillation(rounds=2, epochs=20)


def queried(linear, access=Access.SCORES, log=None):
    def predict(x):
        if log is not None:
            log.append(x)
        scores = linear(torch.from_numpy(x)).detach().numpy()
        return scores if access == Access.SCORES else scores.argmax(1)

    return BlackBox(predict, 2, access=access, digest="sha256:linear")


@pytest.mark.parametrize("access", [Access.SCORES, Access.DECISIONS])
def test_a_student_learns_what_it_may_ask_and_counts_it(access, linear, data, threat):
    log = []
    student, queries = distil(queried(linear, access, log), data, threat, PLAN)
    assert sum(map(len, log)) == queries == len(data) * 2**PLAN.rounds
    fresh = torch.rand(500, 6, generator=torch.Generator().manual_seed(9)) * 0.5 + 0.25
    same = student(fresh).argmax(1) == linear(fresh).argmax(1)
    assert float(same.float().mean()) > 0.9
    away = np.abs(np.concatenate(log)[:, None] - data.x.numpy()).max(2).min(1)
    assert away.max() <= threat.eps + 1e-6  # it asks about the data and the ball around it, nothing else


def test_it_asks_only_what_the_constraints_allow(linear, data):
    rules = Constraints(fixed=(0,))
    log = []
    distil(queried(linear, log=log), data, ThreatModel(eps=0.1, constraints=rules), Distillation(rounds=2, epochs=1))
    assert set(np.concatenate(log)[:, 0].tolist()) <= set(data.x[:, 0].tolist())


def test_the_same_seed_is_the_same_student_and_a_store_keeps_it(linear, data, threat, tmp_path):
    plan = Distillation(rounds=1, epochs=2)
    one, asked = distil(linear, data, threat, plan, seed=3, store=tmp_path)
    log = []
    again, counted = distil(queried(linear, log=log), data, threat, plan, seed=3)
    kept, _ = distil(linear, data, threat, plan, seed=3, store=tmp_path)
    for a, b, c in zip(one.parameters(), again.parameters(), kept.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    assert asked == counted
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    cut, _ = distil(linear, data, threat, plan, seed=3, store=tmp_path)
    assert torch.equal(next(cut.parameters()), next(one.parameters()))


def test_transfer_breaks_a_model_that_only_answers(linear, data, margin, threat):
    suite = Suite(name="t", attacks=(PGD(),), queries=(Square(queries=10),), surrogate=PLAN)
    report = evaluate(queried(linear), data, threat, suite)
    rows = {row.name: row for row in report.attacks}
    assert set(rows) == {"square", "mi_fgsm from distilled", "pgd from distilled"}
    moved = rows["pgd from distilled"]
    assert (moved.surrogate, moved.scope, moved.in_threat) == ("distilled", "all", True)
    falls = int(((margin > 0) & (margin <= threat.eps)).sum())
    assert 0.8 * falls <= moved.broken <= falls  # the student is nearly the teacher, and no adversarial is beyond the closed form
    (record,) = report.surrogates
    assert record.name == "distilled"
    assert record.queries == 4 * len(data)
    assert record.agreement.value > 0.9
    matrix = report.transfer
    assert matrix.names == ("model", "distilled")
    assert matrix.rates[0] == (None, None)  # the model itself can't be searched by gradients
    assert matrix.rates[1][0].count == rows["mi_fgsm from distilled"].broken
    assert RobustnessReport.model_validate_json(report.model_dump_json()) == report


def test_a_given_surrogate_is_what_transfer_says_alone(linear, data, threat):
    other = Classifier(nn.Linear(6, 2), 2)
    with torch.no_grad():
        other.net.weight.copy_(linear.net.weight + 0.3)
        other.net.bias.copy_(linear.net.bias)
    suite = Suite(name="t", attacks=(FGSM(),), transfer=(MIFGSM(),))
    report = evaluate(linear, data, threat, suite, surrogates={"other": other})
    alone = transfer(MIFGSM(), [other], linear, data.x, data.y, threat)
    (row,) = [row for row in report.attacks if row.surrogate == "other"]
    assert row.broken == int((alone.success & alone.correct).sum())
    assert report.surrogates[0].queries == 0
    without = evaluate(linear, data, threat, suite)
    assert without.surrogates == ()
    assert without.transfer is None
    assert [one.name for one in without.attacks] == ["fgsm"]


def test_transfer_that_beats_gradients_says_that_they_are_masked(linear, data, threat):
    suite = Suite(name="t", attacks=(PGD(steps=5),))
    masked = Classifier(Saturated(linear.net), 2)
    report = evaluate(masked, data, threat, suite, surrogates={"plain": linear})
    found = {one.name: one for one in report.diagnostics}
    assert found["black_box_beats_white_box"].severity == "invalid"
    assert "from plain" in found["black_box_beats_white_box"].evidence


@pytest.mark.parametrize("norm", ["l1", "l0"])
def test_what_does_not_fit_the_norm_is_left_out(norm, linear, data):
    threat = ThreatModel(norm=norm, eps=1.0)
    from martensite.attacks import JSMA

    suite = Suite(name="t", attacks=(JSMA() if norm == "l0" else PGD(steps=2),), surrogate=Distillation(rounds=1, epochs=1))
    report = evaluate(linear, data.subset(slice(0, 20)), threat, suite)
    assert f"mi_fgsm does not support {norm}" in report.left_out
    assert (report.transfer is None) == (norm == "l0")
    assert len(report.surrogates) == 1


def test_a_surrogate_that_does_not_fit_is_refused(linear, data, threat):
    suite = Suite(name="t", attacks=(FGSM(),))
    with pytest.raises(ModelError, match="3 classes"):
        evaluate(linear, data, threat, suite, surrogates={"other": Classifier(nn.Linear(6, 3), 3)})
    with pytest.raises(ConfigError, match="taken"):
        evaluate(linear, data, threat, suite, surrogates={"distilled": linear})


def test_a_run_that_is_read_back_has_the_same_transfer(linear, data, threat, tmp_path):
    suite = Suite(name="t", attacks=(FGSM(),), surrogate=Distillation(rounds=1, epochs=2))
    first = evaluate(linear, data, threat, suite, store=tmp_path)
    again = evaluate(linear, data, threat, suite, store=tmp_path)
    assert first.model_dump(exclude={"timing"}) == again.model_dump(exclude={"timing"})
