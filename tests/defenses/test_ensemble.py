"""Ensembles: how members answer together, and how different they are."""

import pytest
import torch
from torch import nn

from martensite.artifacts import load_bundle, save_bundle
from martensite.core.errors import ConfigError, ModelError
from martensite.data import Dataset
from martensite.defenses import JPEG, Defence, Defended, join, members_of
from martensite.evaluation.diversity import diversity
from martensite.models import Classifier, build
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel


@pytest.fixture(scope="module")
def members():
    return [
        build("mlp", (1, 8, 8), 4, mean=0.3, std=0.5, seed=1).eval(),
        build("small_cnn", (1, 8, 8), 4, seed=2).eval(),
        build("mlp", (1, 8, 8), 4, seed=3).eval(),
    ]


@pytest.fixture(scope="module")
def x():
    return torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_members_answer_together(members, x):
    with torch.no_grad():
        each = torch.stack([one(x) for one in members])
        torch.testing.assert_close(join(members, "logits")(x), each.mean(0))
        torch.testing.assert_close(join(members, "probabilities")(x).softmax(1), each.softmax(2).mean(0))
        votes = nn.functional.one_hot(each.argmax(2), 4).sum(0)
        winner = join(members, "vote")(x).argmax(1)
    assert torch.equal(votes.gather(1, winner[:, None]).squeeze(1), votes.amax(1))
    tied = (votes == votes.amax(1, keepdim=True)).sum(1) > 1
    assert tied.any()
    mean = each.softmax(2).mean(0).masked_fill(votes < votes.amax(1, keepdim=True), 0.0)
    assert torch.equal(winner, mean.argmax(1))


def test_a_votes_gradient_is_that_of_the_mean_probability(members, x):
    slopes = []
    for how in ("vote", "probabilities"):
        leaf = x.clone().requires_grad_(True)
        slopes.append(torch.autograd.grad(join(members, how)(leaf)[:, 1].sum(), leaf)[0])
    torch.testing.assert_close(*slopes)
    assert (slopes[0] != 0).any()


@pytest.mark.parametrize("how", ["logits", "probabilities", "vote"])
def test_an_ensemble_comes_back_from_a_bundle(members, x, how, tmp_path):
    model = join(members, how)
    save_bundle(model, tmp_path / "one")
    back = load_bundle(tmp_path / "one")
    with torch.no_grad():
        assert torch.equal(back(x), model(x))
    assert model_digest(back) == model_digest(model)
    save_bundle(Defended(back, Defence(transforms=(JPEG(),))), tmp_path / "two")
    assert model_digest(load_bundle(tmp_path / "two")) != model_digest(model)


def test_the_digest_says_how_members_answer(members):
    digests = {model_digest(join(members, how)) for how in ("logits", "probabilities", "vote")}
    digests |= {model_digest(Defended(join(members, how), Defence(transforms=(JPEG(),)))) for how in ("logits", "vote")}
    assert len(digests) == 5
    other = build("mlp", (1, 8, 8), 4, mean=0.4, std=0.5, seed=1).eval()  # the same weights behind another normalisation
    assert model_digest(join([other, *members[1:]])) != model_digest(join(members))


def test_members_come_apart_again(members, x):
    apart = members_of(join(members))
    with torch.no_grad():
        assert all(torch.equal(one(x), other(x)) for one, other in zip(members, apart, strict=True))
    assert members_of(members[0]) == ()


def test_members_must_mean_the_same(members):
    with pytest.raises(ConfigError, match="at least two"):
        join(members[:1])
    with pytest.raises(ModelError, match="all must mean the same"):
        join([members[0], build("mlp", (1, 8, 8), 5)])

    class Own(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :4]

    with pytest.raises(ModelError, match="no description"):
        join([members[0], Classifier(Own(), 4, shape=(1, 8, 8))])


def test_a_model_is_as_diverse_from_itself_as_nothing(model, digits):
    twin = {"one": model, "twin": model}
    found = diversity(twin, digits.test.subset(slice(0, 40)), ThreatModel(eps=0.1))
    assert found.cosine[0][1] == pytest.approx(1.0, abs=1e-6)
    assert found.mean_cosine == found.cosine[0][1]
    assert found.disagreement == 0.0
    rates = found.transfer.rates
    assert rates[0][1] == rates[0][0]


def test_linear_members_have_the_cosine_of_their_weights():
    """Cross-entropy of two classes: the gradient lies along w_1 - w_0, so the cosine is known."""
    a, b = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    models = {}
    for name, weight in (("a", a), ("b", b)):
        net = nn.Linear(2, 2)
        with torch.no_grad():
            net.weight.copy_(weight)
        models[name] = Classifier(net, 2)
    data = Dataset(torch.rand(10, 2, generator=torch.Generator().manual_seed(0)), torch.arange(10) % 2, 2)
    assert diversity(models, data, ThreatModel(eps=0.1)).cosine[0][1] == pytest.approx(0.5**0.5, abs=1e-6)
