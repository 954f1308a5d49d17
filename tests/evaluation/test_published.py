"""Published figures and real tables, where their files are at hand: an outside answer for the whole of an evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from martensite.attacks import PGD, Square
from martensite.data import Dataset, load_data
from martensite.evaluation import Suite, evaluate
from martensite.models import Classifier, from_estimator
from martensite.threat import Constraints, ThreatModel

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "models" / "convex_mnist.pth").is_file(), reason="no published network at hand")
def test_a_certified_network_has_its_published_figures():
    """Wong and Kolter's network, MNIST, Linf 0.1: error 1.8 %, PGD error 4.1 %, certified accuracy 94.2 %."""
    net = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    net.load_state_dict(torch.load(SHARED / "models" / "convex_mnist.pth", weights_only=True, map_location="cpu"))
    data = load_data(f"mnist:{SHARED / 'mnist'}", "test")
    suite = Suite(name="published", attacks=(PGD(steps=40),), canaries=("linear",))
    report = evaluate(Classifier(net, 10).eval(), data, ThreatModel(eps=0.1), suite)
    assert report.clean_accuracy.n == 10_000
    assert 1 - report.clean_accuracy.value == pytest.approx(0.018, abs=0.0005)
    assert 1 - report.robust_accuracy.value == pytest.approx(0.041, abs=0.005)
    assert report.robust_accuracy.value >= 0.942
    assert report.invalid == ()


@pytest.mark.skipif(not (SHARED / "spambase" / "spambase.data").is_file(), reason="no spambase at hand")
def test_a_spam_filter_keeps_its_table(tmp_path):
    """Word frequencies that only grow from zero, run lengths that are whole: an evaluation by queries keeps every rule."""
    rows = np.loadtxt(SHARED / "spambase" / "spambase.data", delimiter=",", skiprows=1)
    width = rows[:, :57].max(0)
    x = torch.tensor(rows[:, :57] / width, dtype=torch.float32)
    y = torch.tensor(rows[:, 57].astype(int))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    fitted = LogisticRegression(max_iter=500, C=100).fit(x[order[40:]].numpy(), y[order[40:]].numpy())
    names = tuple(f"f{k}" for k in range(57))
    rules = Constraints(
        names=names,
        units={"f56": (0.0, float(width[56]))},
        integer=("f56",),
        fixed=("f54",),
        ranges={"f0": (0.0, float(x.max()))},
    )
    data = Dataset(x[order[:40]], y[order[:40]], 2)
    threat = ThreatModel(eps=0.1, constraints=rules)
    suite = Suite(name="spam", attacks=(Square(queries=200),))
    report = evaluate(from_estimator(fitted, 2), data, threat, suite, adversarials=tmp_path / "a.safetensors")
    assert report.access == "scores"
    assert report.errors == ()
    assert report.robust_accuracy.count < report.clean_accuracy.count
    kept = load_file(tmp_path / "a.safetensors")
    clean = data.x[kept["index"]]
    assert float(kept["adversarial"].min()) >= 0
    assert torch.equal(kept["adversarial"][:, 54], clean[:, 54])
    counts = kept["adversarial"][:, 56].double() * width[56]
    assert float((counts - counts.round()).abs().max()) < 1e-2
