"""The gradient alignment penalty: a case that is known, and that descending on it aligns gradients."""

import pytest
import torch

from martensite.core.rng import streams
from martensite.models import Classifier
from martensite.training.context import Context
from martensite.training.gradalign import misalignment


def test_the_gradients_of_a_linear_model_are_aligned(data, threat):
    """Two classes and a linear model: every gradient has the direction of the difference of the weights."""
    context = Context(Classifier(torch.nn.Linear(6, 2), 2).train(), threat)
    context.begin_batch(streams(0, "test", 16))
    assert misalignment(context, data.x[:16], data.y[:16]).item() == pytest.approx(0.0, abs=1e-5)


def test_the_penalty_aligns_the_gradients(tools, data, threat):
    model = tools.make_model("counted").train()
    context = Context(model, threat.at(0.4))
    optimiser, values = torch.optim.SGD(model.parameters(), lr=0.2), []
    for step in range(30):
        context.begin_batch(streams(step, "test", 96))
        value = misalignment(context, data.x, data.y)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert 0 < values[-1] < 0.5 * values[0]
    assert context.forwards == model.net.count.forwards
