"""How a search passes points through a model: in which precision and layout, and how many at once."""

from typing import Literal

import torch
from torch import Tensor, nn

from martensite.attacks.memory import out_of_memory
from martensite.models.access import Model
from martensite.models.classifier import check_logits
from martensite.models.passes import by_parts

FEWEST = 4  # of fewer samples a pass in bfloat16 takes longer than in float32: the weights are converted each time


class Passes:
    """Passes of one model.

    Args:
        model: The model; its device and dtype are looked up once, as a search makes thousands of passes.
        precision: ``"bfloat16"`` casts what torch's autocast does, in `cast`.

    Attributes:
        halved: Whether searches run in bfloat16.
        first: (n, K) what the model answered first, unchecked; None: it has not been asked.
        fits: Points that fit in memory at once without a gradient, once some did not; None: all have.
    """

    def __init__(self, model: Model, precision: Literal["float32", "bfloat16"]) -> None:
        self.model, self.dtype = model, model.dtype
        self._device_type, self.halved = model.device.type, precision == "bfloat16"
        self._channels_last = self.halved
        self.fits: int | None = None
        self.first: Tensor | None = None

    def cast(self, n: int) -> torch.autocast:
        """The context in which a pass of n samples runs."""
        return torch.autocast(self._device_type, torch.bfloat16, enabled=self.halved and n >= FEWEST)

    def show(self, x: Tensor) -> Tensor:
        """The model's answer to a copy: a module that works in place (x -= mean, an in-place ReLU) must not reach x.

        Convolutions in bfloat16 are faster by up to a tenth with the channels last, which a module that takes views may refuse.
        """
        answer = self._answer(x)
        if self.first is None and isinstance(answer, Tensor):
            self.first = answer.detach()
        return answer

    def _answer(self, x: Tensor) -> Tensor:
        if self._channels_last and x.dim() == 4:
            try:
                return self.model(x.to(self.dtype, copy=True, memory_format=torch.channels_last))
            except RuntimeError as failure:
                if out_of_memory(failure):
                    raise
                self._channels_last = False
        return self.model(x.to(self.dtype, copy=True))

    @torch.no_grad()
    def answers(self, x: Tensor) -> Tensor:
        """(n, K) checked logits, without a gradient; a black box gets its questions at once: it computes in other caches.

        Points that don't fit in memory at once are halved, down to one: an attack that asks many about each sample could not do
        with a smaller batch.
        """
        while True:
            most = len(x) if self.fits is None else self.fits
            try:
                answers = torch.cat([self._part(part) for part in torch.split(x, most)]) if len(x) > most else self._part(x)
                break
            except Exception as failure:
                if min(len(x), most) <= 1 or not out_of_memory(failure):
                    raise
            self.fits = min(len(x), most) // 2  # outside the handler, which holds on to the memory of what failed
        return check_logits(answers, len(x), self.model.classes)

    def _part(self, x: Tensor) -> Tensor:
        return by_parts(self.show, x, _size(x)) if isinstance(self.model, nn.Module) else self.show(x)


def widened(logits: Tensor) -> Tensor:
    """In float32 at least."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _size(x: Tensor) -> int:
    """How many samples without a gradient to pass at once on a CPU, so that their activations stay in the caches.

    From 24 to 125 MNIST images a pass takes the same time an image (one core), at 4 it takes 1.8 times as long, at 250 up to 2.
    """
    return torch.get_num_threads() * max(64, 50_000 // max(x[0].numel(), 1)) if len(x) else 1
