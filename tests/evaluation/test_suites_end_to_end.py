"""Every shipped suite from end to end, on small models of digits and of a table: whole, without a fault, and in order."""

import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier

from martensite.data import load_data
from martensite.evaluation import RobustnessReport, evaluate
from martensite.models import Access, BlackBox, build, from_estimator
from martensite.threat import ThreatModel


@pytest.fixture(scope="module")
def digits():
    return load_data("digits", "train"), load_data("digits", "test", limit=12)


@pytest.fixture(scope="module")
def network(digits):
    train = digits[0]
    model = build({"kind": "small_cnn", "width": 4}, train.shape, 10, seed=0).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(6):
        for rows in torch.split(torch.randperm(len(train), generator=order), 64):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(train.x[rows]), train.y[rows]).backward()
            optimiser.step()
    return model.eval()


def sound(report, n):
    """What holds of any evaluation."""
    assert report.errors == ()
    assert report.outcomes.count("error") == 0
    assert len(report.outcomes) == report.data.n == n
    assert report.canaries == () or all(one.passed for one in report.canaries)
    values = [point.accuracy.count for point in report.curve]
    assert values == sorted(values, reverse=True)
    for row in report.attacks:
        if row.in_threat:
            assert row.robust_accuracy.count >= report.robust_accuracy.count
    assert RobustnessReport.model_validate_json(report.model_dump_json()) == report


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
@pytest.mark.parametrize("suite", ["quick", "adaptive", "standard", "full", "tabular"])
def test_a_network(suite, norm, network, digits):
    data = digits[1].subset(slice(0, 6)) if suite == "full" else digits[1]
    eps = {"linf": 0.08, "l2": 0.4, "l1": 1.5, "l0": 3.0}[norm]
    report = evaluate(network, data, ThreatModel(norm=norm, eps=eps), suite)
    sound(report, len(data))
    assert [one for one in report.invalid if one.name != "whole_box_unbroken"] == []
    assert (norm == "l0") == (report.canaries == ())
    if suite == "full":
        assert sorted(row.norm for row in report.norms) == sorted({"linf", "l2", "l1", "l0"} - {norm})
        assert len(report.corruption.rows) == 15
        assert report.surrogates[0].queries == 8 * len(data)
        assert (report.transfer is None) == (norm == "l0")
        assert (report.clever is None) == (norm == "l0")


@pytest.mark.slow
@pytest.mark.parametrize("access", [Access.SCORES, Access.DECISIONS])
@pytest.mark.parametrize("suite", ["quick", "standard", "adaptive", "full", "black-box", "tabular"])
def test_a_model_that_only_answers(suite, access, network, digits):
    def predict(x):
        with torch.no_grad():
            scores = network(torch.from_numpy(x)).numpy()
        return scores if access == Access.SCORES else scores.argmax(1)

    data = digits[1].subset(slice(0, 3))
    report = evaluate(BlackBox(predict, 10, access=access), data, ThreatModel(eps=0.15), suite)
    sound(report, 3)
    assert report.access == access.name.lower()
    assert any("needs gradients" in line for line in report.left_out) == (suite != "black-box")
    if suite == "full":
        assert report.transfer.rates[0] == (None, None)


@pytest.mark.slow
def test_trees(digits):
    train, test = digits
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(train.x.flatten(1).numpy(), train.y.numpy())
    report = evaluate(from_estimator(trees, 10), test.subset(slice(0, 4)), ThreatModel(eps=0.3), "tabular")
    sound(report, 4)
