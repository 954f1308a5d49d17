"""Adversarial weight perturbation: any objective, at the worst weights near the present ones.

Wu, Xia and Wang 2020, "Adversarial weight perturbation helps robust generalization", arXiv:2004.05884, eq. 7 to 11 with one step
(K2 = 1): the weights of each layer move along their gradient by gamma times their own norm, the update's gradient is taken there,
and the weights return before the optimiser steps.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor
from torch.nn import Parameter

from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.context import Context
from martensite.training.objective import OBJECTIVES, LossParts, Objective, Passes, times
from martensite.training.objectives.pgd_at import PGDAT


@OBJECTIVES.register
class AWP(Objective):
    """A wrapper: the inner objective's adversarials are made once, its loss is measured twice.

    Args:
        inner: The objective to wrap.
        gamma: Length of the perturbation, as a share of each weight tensor's norm.
        start: Fraction of training, in [0, 1), before which the inner objective trains alone.

    Raises:
        ConfigError: the inner objective defines its loss in one piece.
    """

    kind: Literal["awp"] = "awp"
    inner: Annotated[Objective, member_of(OBJECTIVES)] = PGDAT()
    gamma: PositiveFloat = 0.005
    start: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _in_two_pieces(self) -> Self:
        if type(self.inner).measure is Objective.measure:
            raise ConfigError(
                f"awp was given {self.inner.kind}", "it measures a loss twice at the same adversarials",
                "give an objective that defines adversarials() and measure()",
            )  # fmt: skip
        return self

    @property
    def replays(self) -> int:
        """The inner objective's."""
        return self.inner.replays

    def check(self, model: Classifier, threat: ThreatModel, x: Tensor, surrogates: Sequence[Classifier] = ()) -> None:
        """The inner objective's."""
        self.inner.check(model, threat, x, surrogates)

    def adversarials(self, context: Context, x: Tensor, y: Tensor) -> Tensor:
        """The inner objective's, at the present weights."""
        return self.inner.adversarials(context, x, y)

    def measure(self, context: Context, x: Tensor, adversarial: Tensor, y: Tensor) -> LossParts:
        """The inner loss at w + v, v = gamma * |w| * g / |g| for each weight tensor w with the gradient g of the inner loss."""
        if context.done < self.start:
            return self.inner.measure(context, x, adversarial, y)
        # Vectors (biases, scales of normalisations) stay, as in the authors' code.
        weights = [parameter for parameter in context.model.parameters() if parameter.requires_grad and parameter.dim() > 1]
        buffers = [buffer.clone() for buffer in context.model.buffers()]
        before = self.inner.measure(context, x, adversarial, y)
        gradients = torch.autograd.grad(before.total, weights, allow_unused=True)
        with torch.no_grad():
            for buffer, content in zip(context.model.buffers(), buffers, strict=True):
                buffer.copy_(content)  # running statistics move once an update
        kept = [weight.detach().clone() for weight in weights]

        def restore() -> None:
            with torch.no_grad():
                for weight, content in zip(weights, kept, strict=True):
                    weight.copy_(content)

        context.after_backward(restore)
        try:
            perturb(weights, gradients, self.gamma)
            parts = self.inner.measure(context, x, adversarial, y)
        except BaseException:
            restore()
            raise
        return LossParts(parts.total, {**parts.parts, "unperturbed": before.total.detach()})

    def search_passes(self, n: int) -> Passes | None:
        """The inner objective's."""
        return self.inner.search_passes(n)

    def update_passes(self, n: int) -> Passes | None:
        """Twice the inner objective's, from `start` on."""
        return times(2, self.inner.update_passes(n))

    def balls(self, threat: ThreatModel) -> tuple[ThreatModel, ...]:
        """The inner objective's."""
        return self.inner.balls(threat)


def perturb(weights: list[Parameter], gradients: tuple[Tensor | None, ...], gamma: float) -> None:
    """Move each weight tensor along its gradient by gamma times its norm, in place; one without a gradient stays."""
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            if gradient is not None and (length := gradient.norm()) > 0:
                weight.add_(gradient * (gamma * weight.norm() / length))
