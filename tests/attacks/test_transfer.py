"""Transfer: searched on surrogates, judged on the target, of which nothing but answers to the final candidates is asked."""

import pytest
import torch
from torch import nn

from martensite.attacks import DDN, MIFGSM, PGD, attack, transfer
from martensite.attacks.transfer import LogitMean
from martensite.core.errors import AccessError, ModelError, ThreatError
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)


def linear(*weights, bias=0.0, classes=2):
    layer = nn.Linear(len(weights), classes)
    layer.weight.data.zero_()
    layer.weight.data[0] = torch.tensor(weights)
    layer.bias.data.zero_()
    layer.bias.data[0] = bias
    return Classifier(layer, classes)


def mlp(seed, classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, classes)), classes)


@pytest.fixture
def x():
    return torch.rand(60, 6, generator=torch.Generator().manual_seed(1))


def labels(model, x):
    with torch.no_grad():
        return model.eval()(x).argmax(1)


def test_from_a_model_to_itself_it_is_the_direct_attack(x):
    model = mlp(0)
    y = labels(model, x)
    direct = attack(PGD(steps=10), model, x, y, THREAT)
    through = transfer(PGD(steps=10), [model], model, x, y, THREAT)
    assert 0 < direct.success.sum() < 60
    assert torch.equal(through.success, direct.success)
    left = ~direct.success  # the others were let go on their way
    assert torch.equal(through.adversarial[left], direct.adversarial[left])


def test_probabilities_of_a_surrogate_are_noticed(x):
    model = mlp(0)
    sure = Classifier(nn.Sequential(*model.net, nn.Softmax(1)), 3)
    y = labels(model, x)
    for surrogates, due in (([sure], True), ([sure, sure], True), ([model], False)):
        result = transfer(PGD(steps=3), surrogates, model, x, y, THREAT)
        assert any("are probabilities" in warning for warning in result.warnings) is due
    # What the target answers is nobody's loss.
    assert not any("are probabilities" in w for w in transfer(PGD(steps=3), [model], sure, x, y, THREAT).warnings)


def test_what_does_not_transfer_is_no_success(x):
    # Orthogonal weights: the surrogate's optimum doesn't move the target's logits at all.
    surrogate, target = linear(1.0, 0, 0, 0, 0, 0), linear(0, 1.0, 0, 0, 0, 0)
    y = labels(target, x)
    result = transfer(PGD(steps=5), [surrogate], target, x, y, THREAT)
    assert result.correct.all()
    assert result.robust.all()
    assert (result.distance > 0).all()


def test_the_ensemble_climbs_the_mean_of_the_logits(x):
    # Means of (3, -1, ...) and (-1, 3, ...) are (1, 1, ...): the first FGSM step goes down along both features.
    members = [linear(3.0, -1.0, 0, 0, 0, 0), linear(-1.0, 3.0, 0, 0, 0, 0)]
    torch.testing.assert_close(LogitMean(members)(x), linear(1.0, 1.0, 0, 0, 0, 0)(x))
    x[:, 2:] = 0.5
    y, target = torch.zeros(60, dtype=torch.long), linear(1.0, 1.0, 0, 0, 0, 0, bias=5.0)
    result = transfer(MIFGSM(steps=1), members, target, x, y, THREAT)
    torch.testing.assert_close(result.adversarial[:, :2], (x[:, :2] - 0.1).clamp_min(0))


def test_the_target_may_be_a_black_box_and_is_asked_for_labels_only(x):
    hidden, asked = mlp(0), []

    def predict(z):
        asked.append(len(z))
        return labels(hidden, torch.from_numpy(z)).numpy()

    target = BlackBox(predict, 3, access=Access.DECISIONS)
    y = labels(hidden, x)
    result = transfer(PGD(steps=10), [hidden], target, x, y, THREAT)
    assert result.success.any()
    assert sum(asked) == 120  # the clean inputs, and one candidate each
    assert result.backwards == 600
    assert result.forwards == 720


def test_surrogates_are_left_as_they_were(x):
    surrogates, target = [mlp(1).train(), mlp(2).train()], mlp(0).train()
    y = labels(mlp(0), x)
    result = transfer(PGD(steps=3), surrogates, target, x, y, THREAT)
    again = transfer(PGD(steps=3), surrogates, target, x, y, THREAT)
    assert torch.equal(result.adversarial, again.adversarial)  # dropout was off
    for model in (*surrogates, target):
        assert all(module.training for module in model.modules())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_targets_are_the_target_model_s(x):
    model = mlp(0)
    y = labels(model, x)
    threat, aim = ThreatModel(eps=0.3, goal="targeted"), (y + 1) % 3
    result = transfer(PGD(steps=20), [model], model, x, y, threat, aim=aim)
    assert result.success.any()
    assert torch.equal(labels(model, result.adversarial) == aim, result.success)


def test_a_minimum_norm_attack_stops_just_across_the_surrogate_s_boundary(x):
    # The target's boundary lies further out by 0.05: what just crosses the surrogate's does not cross it.
    surrogate, target = linear(1.0, 0, 0, 0, 0, 0, bias=-0.2), linear(1.0, 0, 0, 0, 0, 0, bias=-0.15)
    x[:, 0] = 0.4
    y = torch.zeros(60, dtype=torch.long)
    threat = ThreatModel(norm="l2", eps=1.0)
    assert transfer(DDN(steps=50), [surrogate], target, x, y, threat).robust.all()
    assert attack(DDN(steps=50), surrogate, x, y, threat).success.all()


@pytest.mark.parametrize(
    ("surrogates", "error", "message"),
    [
        ([], ModelError, "no surrogate"),
        ([mlp(0), mlp(1, classes=4)], ModelError, "surrogate 1 has 4 classes"),
        ([Classifier(nn.Linear(6, 3), 3, box=(-1, 1))], ModelError, r"\[-1.0, 1.0\]"),
        ([mlp(0), BlackBox(lambda z: z[:, :3], 3)], AccessError, "this model grants scores"),
    ],
    ids=["none", "classes", "box", "black box"],
)
def test_surrogates_that_do_not_fit_are_refused(x, surrogates, error, message):
    with pytest.raises(error, match=message):
        transfer(PGD(steps=2), surrogates, mlp(0), x, labels(mlp(0), x), THREAT)


def test_a_norm_that_does_not_fit_is_refused(x):
    with pytest.raises(ThreatError, match="does not support l1"):
        transfer(MIFGSM(), [mlp(1)], mlp(0), x, labels(mlp(0), x), ThreatModel(norm="l1", eps=1.0))


@pytest.mark.parametrize("classes", [2, 5])
def test_the_engine_refuses_a_surrogate_of_other_classes(classes):
    model, surrogate = Classifier(nn.Linear(4, 3), 3), Classifier(nn.Linear(4, classes), classes)
    with pytest.raises(ModelError, match=f"the surrogate has {classes} classes"):
        attack(PGD(), model, torch.rand(5, 4), torch.zeros(5).long(), ThreatModel(eps=0.1), surrogate=surrogate)
