"""UAP: one delta for all, as strong as theory says it can be."""

import pytest
import torch
from torch import nn

from martensite.attacks import PGD, UAP, Oracle, attack
from martensite.core.rng import streams
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel

EPS = {"linf": 0.05, "l2": 0.2, "l1": 0.4}


def linear(weights, bias=0.0):
    """Logits whose difference, wrong minus right, is w . (x - 1/2) - bias."""
    layer = nn.Linear(len(weights), 2)
    layer.weight.data = torch.stack([torch.zeros(len(weights)), weights])
    layer.bias.data = torch.tensor([0.0, -float(weights.sum()) / 2 - bias])
    return Classifier(layer, 2)


def middle(n=50, size=8):
    """Far enough from the box's faces that nothing is clipped."""
    return 0.5 + 0.1 * (torch.rand(n, size, generator=torch.Generator().manual_seed(1)) - 0.5)


@pytest.mark.parametrize("norm", EPS)
def test_all_samples_get_the_same_delta_of_full_size(norm):
    w = torch.tensor([4.0, -3, 2, 1, -1, 0.5, 0.25, -0.1])
    x = middle()
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    delta = UAP().perturb(Oracle(linear(w, 1.0)), x, torch.zeros(50).long(), threat, streams(0, "s", 50)) - x
    torch.testing.assert_close(delta, delta[:1].expand_as(delta), rtol=0, atol=1e-6)
    best = {"linf": w.sign() * 0.05, "l2": 0.2 * w / w.norm(), "l1": torch.tensor([0.4, 0, 0, 0, 0, 0, 0, 0])}[norm]
    assert float(delta[0] @ w) == pytest.approx(float(best @ w), rel=0.02)


def test_what_one_delta_can_break_is_half_of_what_each_own_can():
    # Half of the samples are lost along +w and half along -w (a hidden sign), so no delta breaks more than one half.
    class TwoSided(nn.Module):
        def forward(self, x):
            gap = 0.1 - (x[:, 0] - 0.5) * torch.where(x[:, 1] > 0.5, 1.0, -1.0)
            return torch.stack([gap, 0 * gap], 1)

    model = Classifier(TwoSided(), 2)
    x = torch.full((40, 2), 0.5)
    x[:, 1] = torch.tensor([0.0, 1.0]).repeat(20)
    x[::4, 1] = 1.0  # 30 of 40
    y, threat = torch.zeros(40).long(), ThreatModel(eps=0.2)
    assert attack(PGD(steps=5, random_start=False), model, x, y, threat).success.all()
    universal = attack(UAP(), model, x, y, threat)
    assert int(universal.success.sum()) == 30


def test_the_cap_keeps_lost_samples_from_outweighing_the_rest():
    # Ten samples are lost wherever delta goes, with a loss of at least 10 and a slope that outweighs that of the other thirty.
    class Unequal(nn.Module):
        def forward(self, x):
            moved = x[:, 0] - 0.5
            gap = torch.where(x[:, 1] > 0.5, 100 * moved + 30, -moved - 0.05)
            return torch.stack([0 * gap, gap], 1)

    model, threat, y = Classifier(Unequal(), 2), ThreatModel(eps=0.2), torch.zeros(40).long()
    x = torch.full((40, 2), 0.5)
    x[:, 1] = (torch.arange(40) < 10).float()
    capped, free = (UAP(cap=cap).perturb(Oracle(model), x, y, threat, streams(0, "s", 40)) for cap in (9.0, 1e6))
    assert (int(model(capped).argmax(1).sum()), int(model(free).argmax(1).sum())) == (40, 10)


def test_on_a_dataset_it_breaks_many_and_never_more_than_attacks_of_each_one():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 3))
    model, x = Classifier(net, 3), torch.rand(200, 20)
    with torch.no_grad():
        net[2].bias -= net(torch.full((1, 20), 0.5))[0]
        y = model(x).argmax(1)
    threat = ThreatModel(eps=0.1)
    universal = attack(UAP(), model, x, y, threat, batch_size=200)
    noise = (x + 0.1 * torch.randn(20).sign()).clamp(0, 1)
    with torch.no_grad():
        chance = (model(noise).argmax(1) != y).float().mean()
    assert 1.3 * chance < universal.success.float().mean()
    assert universal.success.sum() <= attack(PGD(restarts=3), model, x, y, threat).success.sum()


def test_targets_are_climbed_without_a_cap():
    w = torch.tensor([4.0, -3, 2, 1, -1, 0.5, 0.25, -0.1])
    x, threat = middle(), ThreatModel(eps=0.1, goal="targeted")
    result = attack(UAP(), linear(w, 0.5), x, torch.zeros(50).long(), threat, target=torch.ones(50).long())
    assert result.success.all()


def test_each_epoch_shows_every_sample_once():
    x, model = middle(), linear(torch.ones(8), 1.0)
    oracle = Oracle(model)
    oracle.begin(x)
    with undisturbed(model):
        UAP(epochs=3, minibatch=7).perturb(oracle, x, torch.zeros(50).long(), ThreatModel(eps=0.05), streams(0, "s", 50))
    assert (oracle.account.spent == 3).all()
    assert (oracle.forwards, oracle.backwards) == (150, 150)
