"""PGD adversarial training: how clean and adversarial loss mix, and who is attacked."""

import pytest
import torch

from martensite.attacks import PGD
from martensite.core.errors import ConfigError
from martensite.training.objectives import PGDAT, Standard


def test_the_mix_is_a_mean_of_clean_and_adversarial_loss(tools, data, threat):
    model = tools.make_model()
    clean = Standard().loss(*tools.batch(model, data, threat)).total
    hard = PGDAT(mix=0.0).loss(*tools.batch(model, data, threat)).total
    for mix in (0.25, 0.5, 0.75):
        both = PGDAT(mix=mix).loss(*tools.batch(model, data, threat))
        assert torch.isclose(both.total, mix * clean + (1 - mix) * hard)
        assert torch.isclose(both.parts["clean"], clean)
        assert torch.isclose(both.parts["adversarial"], hard)
    assert hard > clean


def test_adversarial_training_runs_its_attack_to_the_end(tools, data, threat):
    model = tools.make_model("counted")
    context, x, y = tools.batch(model, data, threat)
    with torch.no_grad():
        wrong = model(x).argmax(1) != y
    assert wrong.any()
    before = model.net.count.backwards
    context.attack(PGD(steps=7), x, y)
    assert model.net.count.backwards - before == 7 * len(x)


@pytest.mark.parametrize("mix", [-0.1, 1.0, 1.5])
def test_a_mix_out_of_range_is_refused(mix):
    with pytest.raises(ConfigError, match="mix"):
        PGDAT(mix=mix)


@pytest.mark.parametrize(("attacked", "count"), [(1.0, 16), (0.5, 8), (0.3, 5), (0.001, 1)])
def test_a_share_of_the_batch_is_attacked_and_the_rest_stands_unharmed(attacked, count, tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    objective = PGDAT(attacked=attacked, attack=PGD(steps=3))
    adversarial = objective.adversarials(context, x, y)
    assert (threat.distance(x, adversarial)[:count] > 0).all()
    assert torch.equal(adversarial[count:], x[count:])
    assert (context.forwards, context.backwards) == (3 * count, 3 * count) == objective.search_passes(16)
    context.begin_batch(context.rng, context.rows)
    assert torch.allclose(adversarial[:count], context.attack(PGD(steps=3), x, y)[:count], atol=1e-6)


@pytest.mark.parametrize("attacked", [0.0, -0.5, 1.5])
def test_a_share_out_of_range_is_refused(attacked):
    with pytest.raises(ConfigError, match="attacked"):
        PGDAT(attacked=attacked)
