"""Certified, empirical and clean accuracy of the same samples, and what happens when they contradict each other."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import PGD
from martensite.certification import CERTIFIERS, IntervalBounds, LinearBounds, Smoothing
from martensite.core.errors import ConfigError, ContradictionError
from martensite.data import Dataset
from martensite.evaluation import SandwichReport, sandwich
from martensite.models import Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(norm="linf", eps=0.06)
ATTACK = PGD(steps=10)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
        with torch.no_grad():
            net[-1].bias.sub_(net(torch.rand(500, 6)).mean(0))  # every class wins somewhere
        return Classifier(net, 3).eval()


@pytest.fixture
def data(model):
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[::6] = (y[::6] + 1) % 3
    return Dataset(x, y, 3)


@pytest.mark.parametrize(("method", "eps"), [(IntervalBounds(), 0.015), (LinearBounds(), 0.06)])
def test_the_layers_of_a_sandwich(method, eps, model, data, tmp_path):
    report = sandwich(model, data, THREAT.at(eps), method, ATTACK, evidence=tmp_path)
    assert report.clean.count == 50
    assert 0 < report.certified.count < report.robust.count < report.clean.count
    assert report.certified.count == report.certification.accuracy.count
    assert report.outcomes[::6] == ("misclassified",) * 10
    assert [report.outcomes.count(kind) for kind in ("certified", "robust")] == [
        report.certified.count,
        report.robust.count - report.certified.count,
    ]
    assert CERTIFIERS.build(report.certification.method) == method
    assert not list(tmp_path.iterdir())
    report.save(tmp_path / "s.json")
    assert SandwichReport.load(tmp_path / "s.json") == report


def test_a_contradiction_stops_the_run_with_both_sides_saved(model, data, tmp_path):
    class Liar(IntervalBounds):
        """Certifies whatever it is asked."""

        def margins(self, graph, region, labels):
            return torch.ones(len(labels), dtype=torch.float64), torch.ones_like(labels)

    with pytest.raises(ContradictionError, match="pgd breaks") as caught:
        sandwich(model, data, THREAT, Liar(), ATTACK, evidence=tmp_path / "evidence")
    assert caught.value.exit_code == 1
    saved, document = np.load(tmp_path / "evidence/contradiction.npz"), json.loads(
        (tmp_path / "evidence/contradiction.json").read_text()
    )  # fmt: skip
    rows = torch.from_numpy(saved["index"])
    assert [sample["index"] for sample in document["samples"]] == rows.tolist()
    assert document["record"]["threat"]["eps"] == 0.06
    assert document["data"] == data.digest
    adversarial = torch.from_numpy(saved["adversarial"])
    assert float((adversarial - data.x[rows]).abs().max()) <= 0.06 + 1e-6
    assert (torch.from_numpy(saved["logits"]).argmax(1) != data.y[rows]).all()
    assert all(sample["prediction"] == int(data.y[sample["index"]]) and sample["margin"] == 1.0 for sample in document["samples"])


def test_smoothing_is_no_side_of_it(model, data, tmp_path):
    with pytest.raises(ConfigError, match="smoothed classifier"):
        sandwich(model, data, THREAT, Smoothing(sigma=0.25), ATTACK, evidence=tmp_path)
