"""FGSM-MEP: what is stored, what the next epoch starts from, and that only the right samples have it."""

import torch
from torch import nn

from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.training.context import Context
from martensite.training.objectives import MEP

WEIGHT = torch.tensor([[1.0, -2.0, 0.5, 1.0, -1.0, 3.0], [-1.0, 1.0, 1.0, -0.5, 2.0, 1.0]])


def visit(context, objective, data, rows, epoch):
    context.begin_batch(streams(0, f"test/{epoch}", rows), rows)
    return objective.adversarials(context, data.x[rows], data.y[rows]).chunk(2)


def test_each_epoch_starts_where_the_momentum_of_the_last_ones_led(tools, data, threat):
    """Compared, over three epochs in changing orders, with the recursion of eq. 7 to 10 on an MLP."""
    model, objective = tools.make_model(), MEP(step=0.5, decay=0.7)
    context = Context(model, threat, samples=len(data))
    n, step = 20, 0.5 * threat.eps
    delta, momentum = {}, {row: torch.zeros(6) for row in range(n)}
    for epoch in range(3):
        rows = torch.randperm(n, generator=torch.Generator().manual_seed(epoch))
        found, starts = visit(context, objective, data, rows, epoch)
        for place, row in enumerate(rows.tolist()):
            x = data.x[row]
            if epoch == 0:
                assert threat.distance(x[None], starts[place][None]) <= threat.eps + 1e-6
                assert not torch.equal(starts[place], x)
                delta[row] = starts[place] - x
            start = (x + delta[row]).requires_grad_(True)
            assert torch.allclose(starts[place], start, atol=1e-6)
            loss = nn.functional.cross_entropy(model(start[None]), data.y[row : row + 1])
            sign = torch.autograd.grad(loss, start)[0].sign()
            momentum[row] = 0.7 * momentum[row] + sign
            low, high = (x - threat.eps).clamp(0, 1), (x + threat.eps).clamp(0, 1)
            assert torch.allclose(found[place], (start + step * sign).clamp(low, high), atol=1e-6)
            delta[row] = ((start + step * momentum[row].sign()).clamp(low, high) - x).detach()
    stored = context.memory.tensors
    assert all(torch.allclose(stored["mep.delta"][row], delta[row], atol=1e-6) for row in range(n))
    assert not stored["mep.seen"][n:].any()


def test_the_loss_pulls_the_logits_towards_those_at_the_start():
    model = Classifier(nn.Identity(), 3)
    rng = torch.Generator().manual_seed(0)
    both, y = torch.randn(8, 3, generator=rng), torch.tensor([0, 1, 2, 0])
    total = MEP(weight=2.0).measure(Context(model, None), both[:4], both, y).total
    expected = nn.functional.cross_entropy(both[:4], y) + 2.0 * ((both[:4] - both[4:]) ** 2).mean()
    assert torch.isclose(total, expected)


def test_a_guard_makes_it_take_more_and_shorter_steps(tools, data, threat):
    context, x, y = tools.batch(tools.make_model(), data, threat)
    context.level = 1
    MEP().adversarials(context, x, y)
    assert context.backwards == 2 * len(x)
    assert context.heeded
