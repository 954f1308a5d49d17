"""What a detector is: a frozen configuration that scores how little an input looks like clean data, and what it learnt."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.registry import Registry
from martensite.data.checks import check_inputs
from martensite.defenses.conformal import p_values, sorted_scores, threshold
from martensite.defenses.features import Penultimate
from martensite.defenses.look import Look
from martensite.models import Classifier, undisturbed
from martensite.models.digest import model_digest

BATCH = 250
State = dict[str, Tensor]


class Detector(Config):
    """Base of all detectors: parameters, never state. What one learns is a dictionary of tensors.

    Attributes:
        kind: The registry's name.
        reads: What it looks at: inputs of the last linear layer, logits, or the input itself.
        learns: It needs clean data of its own beside the calibration data; else `learn` returns nothing.
    """

    kind: str

    reads: ClassVar[Literal["logits", "features", "inputs"]] = "logits"
    learns: ClassVar[bool] = False

    def learn(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator) -> State:
        """Tensors that `score` needs, from clean samples (n, *d) with labels (n,)."""
        return {}

    def prepare(self, state: State) -> State:
        """What `score` takes, from what `learn` returned: whatever can be computed once and needn't be kept."""
        return state

    def score(self, state: State, look: Look) -> Tensor:
        """(n,) suspicion, larger is less like clean data; differentiable, so that an adaptive attack can lower it.

        Args:
            state: What `prepare` returned, on the inputs' device.
            look: The inputs, and what the model makes of them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define score()")

    def fit(self, model: Classifier, x: Tensor, y: Tensor, rng: torch.Generator | None = None) -> "Fitted":
        """Learn from clean samples.

        Args:
            model: The bare model; left as it was.
            x: (n, *d) clean inputs, apart from those that calibrate.
            y: (n,) their labels.
            rng: Of all that is random.

        Raises:
            ModelError: a network without features.
            DataError, ConfigError: too little data, or inputs out of range.
        """
        check_inputs(x, model.box)
        shown = x.to(model.device, model.dtype)
        with undisturbed(model):
            if self.reads == "features":
                Penultimate(model).check(shown[:2])
            state = self.learn(model, shown, y.to(model.device), rng or torch.Generator().manual_seed(0))
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        return Fitted(self, model, kept, about=model_digest(model))


DETECTORS: Registry[Detector] = Registry("detector", Detector)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A detector with what it learnt of a model, and how clean data scores.

    Attributes:
        detector: The configuration.
        model: The bare model.
        state: What it learnt.
        clean: (n,) float64, rising: scores of held-out clean samples; None: not calibrated yet.
        false_alarms: The rate that it was calibrated to.
        about: Digest of the model that it was fitted to.
    """

    detector: Detector
    model: Classifier
    state: State = field(default_factory=dict)
    clean: Tensor | None = None
    false_alarms: float = 0.01
    about: str = ""
    _ready: dict[torch.device, State] = field(default_factory=dict, init=False, repr=False)  # as `prepare` made it

    def score(self, x: Tensor) -> Tensor:
        """(n,) float64 suspicion of inputs (n, *d), on the CPU; larger is less like clean data."""
        penultimate = Penultimate(self.model) if self.detector.reads == "features" else None
        with undisturbed(self.model), torch.no_grad():
            parts = [
                self.look(Look(self.model, part.to(self.model.device, self.model.dtype), penultimate))
                for part in torch.split(x, BATCH)
            ]
        return torch.cat(parts).double().cpu()

    def look(self, look: Look) -> Tensor:
        """(n,) suspicion, differentiable, of a batch that was looked at."""
        device = look.x.device
        if device not in self._ready:
            self._ready[device] = {name: one.to(device) for name, one in self.detector.prepare(self.state).items()}
        return self.detector.score(self._ready[device], look)

    def calibrate(self, clean: Tensor, false_alarms: float = 0.01) -> Self:
        """The same detector with an alarm that rings on at most so large a share of clean inputs.

        The bound holds on average over calibration sets, for inputs exchangeable with ``clean``; see `conformal`.

        Args:
            clean: (n, *d) clean inputs that nothing was learnt from: neither the model's weights nor the detector.
            false_alarms: In (0, 1).

        Raises:
            ConfigError: a rate outside (0, 1), or too few samples for it.
            DataError: inputs out of range, or scores that aren't finite.
        """
        if not 0 < false_alarms < 1:
            raise ConfigError(f"false_alarms is {false_alarms}", "it lies strictly between 0 and 1", "e.g. 0.01")
        check_inputs(clean, self.model.box)
        scores = sorted_scores(self.score(clean))
        threshold(scores, false_alarms)
        return replace(self, clean=scores, false_alarms=false_alarms)

    def p_value(self, x: Tensor) -> Tensor:
        """(n,) float64 conformal p-values of inputs (n, *d): small is suspicious.

        Raises:
            ConfigError: not calibrated.
        """
        return p_values(self.calibrated, self.score(x))

    def flags(self, x: Tensor) -> Tensor:
        """(n,) bool: p-value at most the rate of false alarms."""
        return self.p_value(x) <= self.false_alarms * (1 + 1e-12)

    @property
    def calibrated(self) -> Tensor:
        """(n,) scores of clean samples, rising.

        Raises:
            ConfigError: not calibrated.
        """
        if self.clean is None:
            raise ConfigError(
                f"the detector {self.detector.kind} isn't calibrated", "a p-value needs clean scores", "calibrate() it"
            )
        return self.clean

    def threshold(self, alpha: float) -> float:
        """The score above which p <= alpha."""
        return threshold(self.calibrated, alpha)

    def record(self) -> dict[str, Any]:
        """The configuration as in model.json."""
        return self.detector.model_dump(mode="json")
