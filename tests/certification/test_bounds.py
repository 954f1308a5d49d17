"""Interval and linear bounds as methods of `certify`."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from martensite.certification import ABSTAIN, CERTIFIERS, IntervalBounds, LinearBounds, certify
from martensite.core.errors import ConfigError, DataError, ModelError, ThreatError
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

METHODS = [IntervalBounds(), *[LinearBounds(variant=name, steps=3) for name in ("crown-ibp", "crown", "alpha-crown")]]
LINF = ThreatModel(norm="linf", eps=0.02)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        return Classifier(net, 3, mean=0.5, std=0.3)


def labelled(model, tools, n=70):
    """More inputs than a batch, every fifth with a wrong label."""
    x = tools.inputs(n)
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    y[::5] = (y[::5] + 1) % 3
    return x, y


@pytest.mark.parametrize("method", METHODS, ids=lambda method: getattr(method, "variant", "ibp"))
def test_certificates(method, model, tools):
    x, y = labelled(model, tools)
    events = []
    certs = certify(model, x, y, method, threat=LINF, listener=events.append)
    assert torch.equal(certs.abstained, certs.margins <= 0)
    assert torch.equal(certs.radius, 0.02 * (~certs.abstained).double())
    assert (certs.prediction[certs.abstained] == ABSTAIN).all()
    assert torch.equal(certs.correct, (certs.prediction == y) & ~certs.abstained)
    assert torch.equal(certs.certified(0.02), certs.correct)
    assert not certs.certified(0.021).any()
    assert not certs.correct[::5].any()
    assert 0 < int(certs.correct.sum()) < len(x)
    assert certs.samples.shape == (70,)
    assert certs.norm == "linf"
    assert certs.record.threat == LINF
    assert certs.record.model_digest == model_digest(model)
    assert (certs.record.dtype, certs.record.spent, certs.record.radii) == ("float64", 0.0, (0.02,))
    assert CERTIFIERS.build(certs.record.method) == method
    assert [(event.done, event.total) for event in events] == [(32, 70), (64, 70), (70, 70)]
    assert events[-1].metrics["certified"] == pytest.approx(float(certs.correct.double().mean()))


def test_each_variant_certifies_what_the_cheaper_ones_do(model, tools):
    x, y = labelled(model, tools)
    found = [certify(model, x, y, method, threat=LINF.at(0.03)) for method in METHODS]
    for weaker, stronger in pairwise(found):
        assert (stronger.correct | ~weaker.correct).all()
        assert (stronger.margins >= weaker.margins).all()
    assert found[0].correct.sum() < found[2].correct.sum()
    assert found[2].samples.tolist() == [3 if cheap <= 0 else 2 if ibp <= 0 else 1
                                         for ibp, cheap in zip(found[0].margins, found[1].margins, strict=True)]  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_largest_eps_of_a_linear_model(norm, tools):
    """The distance to the boundary, in the box; the search ends within its tolerance below it."""
    model = tools.linear()
    x = 0.5 + 0.1 * (tools.inputs(40) - 0.5)
    w = model.net.weight[0].detach().double()
    exact = tools.true_radius(model, x).abs() * w.norm() / torch.linalg.vector_norm(w, {"linf": 1, "l2": 2}.get(norm, torch.inf))
    method = IntervalBounds(tolerance=1e-4) if norm == "linf" else LinearBounds(tolerance=1e-4)
    certs = certify(model, x, torch.zeros(40, dtype=torch.int64), method, threat=ThreatModel(norm=norm, eps=0.01))
    inside = exact < 0.3  # the ball stays inside the box
    assert int(inside.sum()) > 10
    assert (certs.radius[inside] <= exact[inside]).all()
    assert (certs.radius[inside] >= exact[inside] - 1.1e-4).all()
    assert certs.record.radii == ()


def test_a_prediction_that_nothing_can_change_is_certified_everywhere(tools):
    net = nn.Linear(5, 2)
    with torch.no_grad():
        net.weight.zero_()
        net.bias.copy_(torch.tensor([1.0, 0.0]))
    x, y = tools.inputs(3), torch.zeros(3, dtype=torch.int64)
    certs = certify(Classifier(net, 2), x, y, IntervalBounds(tolerance=0.01), threat=LINF)
    assert certs.radius.tolist() == [1.0] * 3


@pytest.mark.parametrize("method", [IntervalBounds(), LinearBounds(variant="alpha-crown", tolerance=0.01)])
def test_a_killed_run_goes_on_where_it_was(method, model, tools, tmp_path):
    x, y = labelled(model, tools)
    whole = certify(model, x, y, method, threat=LINF)

    def killed(event):
        if event.done == 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(model, x, y, method, threat=LINF, store=tmp_path, listener=killed)
    (file,) = tmp_path.iterdir()
    assert len(file.read_text().splitlines()) == 64
    file.write_text(file.read_text()[:-20])  # the last line half-written
    again = certify(model, x, y, method, threat=LINF, store=tmp_path)
    for name in ("radius", "prediction", "margins", "samples"):
        assert torch.equal(getattr(whole, name), getattr(again, name))
    kept = file.read_text()
    certify(model, x, y, method, threat=LINF, store=tmp_path)
    assert file.read_text() == kept
    certify(model, x, y, method, threat=LINF.at(0.01), store=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_model_stays_as_it_is(model, tools):
    x, y = labelled(model, tools, 5)
    model.train()
    before, grads = {name: part.clone() for name, part in model.state_dict().items()}, torch.is_grad_enabled()
    certify(model, x, y, LinearBounds(variant="alpha-crown", steps=2), threat=LINF.at(0.2))
    assert all(torch.equal(before[name], part) for name, part in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled() == grads


def test_neither_batch_nor_company_changes_a_margin_much(model, tools):
    x, y = labelled(model, tools, 40)
    together = certify(model, x, y, LinearBounds(), threat=LINF).margins
    alone = torch.cat([certify(model, x[i : i + 1], y[i : i + 1], LinearBounds(), threat=LINF).margins for i in range(40)])
    assert torch.allclose(together, alone, rtol=0, atol=1e-9)


def test_bad_input(model, tools):
    x, y = labelled(model, tools, 4)
    with pytest.raises(ConfigError, match="no threat model was given"):
        certify(model, x, y, LinearBounds())
    with pytest.raises(ThreatError, match="certify l0 by ablation"):
        certify(model, x, y, LinearBounds(), threat=ThreatModel(norm="l0", eps=1))
    with pytest.raises(ConfigError, match="leave radius out"):
        certify(model, x, y, LinearBounds(), threat=LINF, radius=0.5)
    with pytest.raises(DataError):
        certify(model, x, y, LinearBounds(), threat=ThreatModel(norm="linf", eps=0.1, box=(0.4, 0.6)))
    unknown = Classifier(nn.Sequential(nn.Linear(5, 3), nn.GELU()), 3)
    with pytest.raises(ModelError, match=r"bounds don't know the layer GELU \(1\)"):
        certify(unknown, x, y, IntervalBounds(), threat=LINF)
