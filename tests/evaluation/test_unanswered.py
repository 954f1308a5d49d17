"""A query that fails is an error of its sample: in the denominator, never robust, and no matter of the others."""

import numpy as np
import pytest
import torch

from martensite.attacks import HopSkipJump, Square, attack
from martensite.core.errors import ModelError, QueryError, UnreachableError
from martensite.evaluation import RobustnessReport, Suite, evaluate
from martensite.models import Access, BlackBox
from martensite.threat import ThreatModel

SUITE = Suite(name="q", attacks=(Square(queries=60),), cascade=(HopSkipJump(queries=60),))


class Moody:
    """A linear model that leaves whatever ``refuses`` says of a batch (n, d) unanswered."""

    def __init__(self, linear, refuses, error=None, access=Access.SCORES):
        self.linear, self.refuses, self.error, self.asked = linear, refuses, error or RuntimeError("no answer"), 0
        self.model = BlackBox(self.predict, 2, access=access, digest="sha256:moody")

    def predict(self, x):
        self.asked += len(x)
        if self.refuses(x).any():
            raise self.error
        scores = self.linear(torch.from_numpy(x)).detach().numpy()
        return scores if self.model.access == Access.SCORES else scores.argmax(1)


@pytest.fixture
def few(data):
    return data.subset(slice(0, 30))


def near(data, rows, reach):
    """Refuses what is no further than ``reach`` from one of the rows."""
    centres = data.x[rows].numpy()

    def refuses(x):
        return (np.abs(x[:, None] - centres).max(2) <= reach).any(1)

    return refuses


@pytest.mark.parametrize("access", [Access.SCORES, Access.DECISIONS])
def test_clean_inputs_without_an_answer_are_errors_and_the_others_are_measured(access, linear, few, threat):
    lost = [0, 1, 7, 29]
    moody = Moody(linear, near(few, lost, 0.0), access=access)
    whole = evaluate(Moody(linear, lambda x: np.zeros(len(x), bool), access=access).model, few, threat, SUITE)
    report = evaluate(moody.model, few, threat, SUITE)
    assert [place for place, outcome in enumerate(report.outcomes) if outcome == "error"] == lost
    others = [place for place in range(30) if place not in lost]
    assert [report.outcomes[place] for place in others] == [whole.outcomes[place] for place in others]
    assert [report.distances[place] for place in lost] == [None] * 4
    assert report.clean_accuracy.n == report.robust_accuracy.n == 30
    assert report.clean_accuracy.count == sum(whole.outcomes[place] != "misclassified" for place in others)
    assert report.robust_accuracy.count == report.outcomes.count("robust")
    (finding,) = [one for one in report.diagnostics if one.name == "unanswered"]
    assert finding.evidence == "of 30 samples, 4 clean inputs got no answer: the model's callable raised RuntimeError: no answer"
    assert RobustnessReport.model_validate_json(report.model_dump_json()) == report


def test_a_clean_input_that_is_answered_once_and_never_again_is_an_error(linear, few, threat):
    """The first look sees all; when attacks begin, one sample is gone."""
    state = {"looks": 0}
    gone = near(few, [5], 0.0)

    def refuses(x):
        state["looks"] += bool(gone(x).any())
        return gone(x) & (state["looks"] > 1)

    report = evaluate(Moody(linear, refuses).model, few, threat, SUITE)
    assert report.outcomes[5] == "error"
    assert report.outcomes.count("error") == 1
    assert any("1 clean inputs got no answer" in warning for warning in report.warnings)


def test_an_attack_says_the_same(linear, few, threat):
    result = attack(Square(queries=20), Moody(linear, near(few, [3], 0.0)).model, few.x, few.y, threat)
    assert result.error.tolist() == [place == 3 for place in range(30)]
    assert not result.correct[3]
    assert not result.success[3]
    assert not result.robust[3]


def test_a_model_that_answers_nothing_is_refused(linear, few, threat):
    moody = Moody(linear, lambda x: np.ones(len(x), bool))
    with pytest.raises(QueryError, match="RuntimeError: no answer"):
        evaluate(moody.model, few, threat, SUITE)
    with pytest.raises(QueryError, match="RuntimeError: no answer"):
        attack(Square(queries=20), moody.model, few.x, few.y, threat)


def test_an_answer_that_is_no_answer_is_an_error_as_well(linear, few, threat):
    def predict(x):
        scores = linear(torch.from_numpy(x)).detach().numpy()
        scores[(x == few.x[2].numpy()).all(1)] = np.nan
        return scores

    report = evaluate(BlackBox(predict, 2), few, threat, SUITE)
    assert [place for place, outcome in enumerate(report.outcomes) if outcome == "error"] == [2]


@pytest.mark.parametrize("after", [0, 40, 400])
def test_nobody_there_stops_the_run_and_it_goes_on_later(after, linear, few, threat, tmp_path):
    whole = evaluate(Moody(linear, lambda x: np.zeros(len(x), bool)).model, few, threat, SUITE)
    moody = Moody(linear, lambda x: np.zeros(len(x), bool), UnreachableError("gone"))
    moody.refuses = lambda x: np.full(len(x), moody.asked > after)
    with pytest.raises(UnreachableError, match="gone"):
        evaluate(moody.model, few, threat, SUITE, store=tmp_path)
    moody.refuses = lambda x: np.zeros(len(x), bool)
    again = evaluate(moody.model, few, threat, SUITE, store=tmp_path)
    assert again.model_dump(exclude={"timing"}) == whole.model_dump(exclude={"timing"})


def test_what_had_no_answer_is_asked_again_by_a_run_that_goes_on(linear, few, threat, tmp_path):
    moody = Moody(linear, near(few, [4], 0.2))
    assert evaluate(moody.model, few, threat, SUITE, store=tmp_path).outcomes[4] == "error"
    moody.refuses = lambda x: np.zeros(len(x), bool)
    assert evaluate(moody.model, few, threat, SUITE, store=tmp_path).outcomes[4] != "error"


def test_a_run_that_stops_early_counts_them(linear, data):
    moody = Moody(linear, near(data, list(range(0, 120, 2)), 0.0))
    report = evaluate(moody.model, data, ThreatModel(eps=0.001), SUITE, at_least=0.9)
    assert report.decision.verdict == "FAIL"
    assert report.outcomes.count("error") > 20


def test_a_torch_model_that_fails_is_refused_as_ever(linear, few, threat):
    linear.net.weight.data[0, 0] = torch.nan
    with pytest.raises(ModelError, match="NaN"):
        evaluate(linear, few, threat, "quick")
