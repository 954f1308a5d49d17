"""What `certify` leaves alone, and which models it refuses, whatever the method."""

import pytest
import torch
from torch import nn

from martensite.certification import Certifier, Smoothing, certify
from martensite.core.errors import ModelError
from martensite.models import Classifier

METHOD = Smoothing(sigma=0.25, n=50, test="fixed", selection=100)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        for _ in range(5):
            net(torch.rand(32, 5))
        return Classifier(net, 3)


@pytest.mark.parametrize("flags", ["train", "eval", "mixed"])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_stays_as_it_is(flags, fails, model, tools):
    model.train(flags != "eval")
    if flags == "mixed":
        model.net[1].eval()
    model.net[0].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes, frozen = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]

    def listener(event):
        if fails:
            raise KeyboardInterrupt

    try:
        certify(model, tools.inputs(4), torch.zeros(4, dtype=torch.int64), METHOD, listener=listener)
    except KeyboardInterrupt:
        assert fails
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == frozen
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_certificates_are_of_the_model_in_evaluation_mode(model, tools):
    x, y = tools.inputs(6), torch.zeros(6, dtype=torch.int64)
    evaluated, trained = certify(model.eval(), x, y, METHOD), certify(model.train(), x, y, METHOD)
    assert torch.equal(evaluated.radius, trained.radius)
    assert torch.equal(evaluated.prediction, trained.prediction)


def test_a_float64_model_and_float64_inputs(tools):
    model = tools.linear().double()
    x = tools.at_distance(model, torch.tensor([0.3]))
    assert certify(model, x.double(), torch.tensor([0]), METHOD).prediction.tolist() == [0]


def test_shapes_types_and_inputs_untouched(tools):
    x, y = tools.inputs(4), torch.zeros(4, dtype=torch.int64)
    given = x.clone()
    certs = certify(tools.linear(), x, y, METHOD)
    assert torch.equal(x, given)
    assert certs.radius.dtype == torch.float64
    assert certs.abstained.dtype == certs.correct.dtype == torch.bool
    for figure in (certs.radius, certs.prediction, certs.abstained, certs.samples, certs.correct):
        assert figure.shape == (4,)
    assert certs.samples.tolist() == [METHOD.n + METHOD.selection] * 4
    assert certs.norm == "l2"


def test_an_event_a_sample(tools):
    events = []
    certs = certify(tools.linear(), tools.inputs(5), torch.zeros(5, dtype=torch.int64), METHOD, listener=events.append)
    assert [(event.done, event.total) for event in events] == [(done, 5) for done in range(1, 6)]
    assert events[-1].metrics["certified"] == pytest.approx(float(certs.correct.float().mean()))


class Random(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x[:, :2] + 1, 0.5, training=True)


class Mixing(nn.Module):
    def forward(self, x):
        return x[:, :2] - x.mean(0)[:2]


BATCH_STATISTICS = nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2))


@pytest.mark.parametrize("net", [Random(), Mixing(), BATCH_STATISTICS], ids=["random", "mixing", "batch statistics"])
def test_a_model_that_is_no_function_of_its_input_is_refused(net, tools):
    with pytest.raises(ModelError, match="two ways"):
        certify(Classifier(net, 2), tools.inputs(3), torch.zeros(3, dtype=torch.int64), METHOD)


def test_a_model_of_constant_or_large_logits_is_not_refused(tools):
    constant = nn.Linear(5, 2)
    for parameter in constant.parameters():
        nn.init.zeros_(parameter)
    large = tools.linear()
    with torch.no_grad():
        for parameter in large.parameters():
            parameter.mul_(1e6)
    for model in (Classifier(constant, 2), large):
        certify(model, tools.inputs(3), torch.zeros(3, dtype=torch.int64), METHOD)


@pytest.mark.parametrize(("net", "match"), [(nn.Linear(4, 2), "can't take"), (nn.Linear(5, 3), "shape")])
def test_a_model_that_does_not_fit_is_refused(net, match, tools):
    with pytest.raises(ModelError, match=match):
        certify(Classifier(net, 2), tools.inputs(3), torch.zeros(3, dtype=torch.int64), METHOD)


def test_a_certifier_without_a_method_says_so(tools):
    class Nothing(Certifier):
        kind: str = "nothing"

    with pytest.raises(NotImplementedError, match="Nothing"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), Nothing())
