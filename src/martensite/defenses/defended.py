"""A model with its defences: one differentiable classifier for whoever attacks it, and one answer for whoever asks it."""

import secrets
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from martensite.core.config import canonical_json
from martensite.core.errors import ConfigError
from martensite.core.files import sha256
from martensite.core.rng import Streams, derive, streams
from martensite.defenses.conflict import Conflict
from martensite.defenses.defence import Defence
from martensite.defenses.detector import Fitted
from martensite.defenses.panel import Panel
from martensite.defenses.response import Response
from martensite.defenses.transform import replaced
from martensite.models import Classifier, undisturbed
from martensite.models.passes import by_parts

BATCH = 250
NEVER = torch.zeros(1, dtype=torch.bool)
WEIGHT = 0.25  # of the logits' spread, a unit of the alarm's logarithm


class Defended(Classifier):
    """A classifier behind transforms, a vote and detectors.

    Called as a module it gives the logits that the defended model answers with, whether or not an alarm rings, with a gradient
    through every stage: every attack by gradients is adaptive (BPDA), and averages over draws where `random`. What is answered
    to a user is `respond`.

    Args:
        base: The bare model; its weights are shared.
        defence: What stands around it.
        fitted: One a detector of the defence, in order, calibrated.
        seed: Of the random draws; None: of the system's entropy, which nobody can foresee.

    Raises:
        ConfigError: not one fitted detector a detector, or too little calibration.
        ModelError: a transform that doesn't fit the inputs.

    Attributes:
        draws: Passes over which an answer is judged.
    """

    def __init__(self, base: Classifier, defence: Defence, fitted: Sequence[Fitted] = (), seed: int | None = None) -> None:
        if isinstance(base, Defended):
            raise ConfigError("the model is defended already", "defences are stated once", "defend the bare model: model.base")
        if tuple(one.detector for one in fitted) != defence.detectors:
            given = ", ".join(one.detector.kind for one in fitted) or "none"
            raise ConfigError(
                f"fitted detectors are {given}", "one for each of the defence's, in order", "make them by defend(...)"
            )
        for transform in defence.transforms:
            if base.shape:
                transform.check_shape(base.shape)
        net = Stages(base, defence, secrets.randbits(62) if seed is None else seed)
        super().__init__(net, base.classes, box=base.box, shape=base.shape)
        self.defence, self.fitted = defence, tuple(fitted)
        self.panel = Panel(self.fitted, defence.false_alarms) if fitted else None
        net.conventions = {
            "defence": defence.model_dump(mode="json"),
            "base": {
                "mean": base.mean.tolist(),
                "std": base.std.tolist(),
                "normalises": base.normalises,
                "net": getattr(base.net, "conventions", None),
            },
            "learnt": [_digest(one) for one in self.fitted],
        }

    @property
    def base(self) -> Classifier:
        """The bare model."""
        return self.net.base  # type: ignore[return-value]

    @property
    def random(self) -> bool:
        """Whether two calls may differ."""
        return self.defence.random

    @property
    def draws(self) -> int:
        """Passes over which a single answer is judged: 1 unless random; a vote is over many draws itself."""
        return 1 if not self.random else 3 if self.defence.voting is not None else 10

    def reseed(self, seed: int) -> None:
        """Start the random draws anew, so that a measurement can be repeated bit by bit."""
        self.net.reseed(seed)  # type: ignore[operator]

    def respond(self, x: Tensor) -> Response:
        """Answer inputs (n, *d) in the box: prediction, alarm and abstention, on the CPU.

        Parameters and flags are left as they were. It checks no rules: see `InputRules`.
        """
        parts = []
        one = next(self.parameters(), self.mean)
        device, dtype = (one.device, one.dtype) if one.is_floating_point() else (self.device, self.dtype)
        # To note and restore every flag costs a small batch more than the detectors do; without gradients only the modes count.
        with undisturbed(self) if _trains(self) else nullcontext(), torch.no_grad():
            for part in [x] if len(x) <= BATCH else torch.split(x, BATCH):
                parts.append(self._respond(part.to(device, dtype)))
        columns = parts[0] if len(parts) == 1 else [torch.cat(column) for column in zip(*parts, strict=True)]
        logits, scores, flagged, abstained = columns
        p = torch.ones_like(scores) if self.panel is None else self.panel.p_values(scores)
        return Response(
            logits=logits,
            prediction=logits.argmax(1),
            flagged=flagged,
            abstained=abstained,
            p_value=None if self.panel is None else (p.amin(1) * p.shape[1]).clamp_max(1.0),  # the least of Holm's
            names=() if self.panel is None else self.panel.names,
            each_p=p,
            each_score=scores,
        )

    def _respond(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, scores, alarms and abstentions of one batch, on the CPU."""
        look = None if self.panel is None else self.panel.look(x)
        # Without transforms the detectors' look has the answer already.
        if look is not None and not self.defence.transforms and self.defence.voting is None:
            logits, unsure = look.logits, None
        else:
            logits, unsure = self.net.answer(x)  # type: ignore[operator]
        never = NEVER.expand(len(x))
        abstained = never if unsure is None else (unsure > 0).cpu()
        if self.panel is None or look is None:
            return logits.cpu(), torch.zeros(len(x), 0, dtype=torch.float64), never, abstained
        scores = self.panel.scores(look).cpu()
        return logits.cpu(), scores, self.panel.rings(scores), abstained

    def judged(self, x: Tensor, y: Tensor) -> Tensor:
        """(n, K) logits by which an attack on samples of class y (n,) is judged: to be rejected counts as being right.

        Rejection is one more class, whose logit is joined to that of y by the larger of the two (Carlini and Wagner 2017,
        "Adversarial examples are not easily detected", arXiv:1705.07263, sec. 2.4): the largest is another class than y exactly
        where the model is wrong, no alarm rings and it doesn't abstain. So the alarm is in any loss an attack climbs. An
        abstention has the gradient of the right class's lead: it ends where a wrong class wins clearly. For steps that the answer
        and the detectors want and that undo each other see `Conflict`.
        """
        both = Conflict(x) if self.panel is not None else None
        logits, unsure = self.net.answer(x if both is None else both.answers)  # type: ignore[operator]
        if not self.defence.rejects:
            return logits  # type: ignore[no-any-return]
        right = torch.nn.functional.one_hot(y.to(logits.device), self.classes).bool()
        lead = logits[right] - logits.masked_fill(right, -torch.inf).amax(1)
        margins = []
        if unsure is not None:
            margins.append(replaced(unsure, lead.to(unsure)).double())
        held = torch.zeros_like(lead)
        if self.panel is not None and both is not None:
            margins.append(self.panel.margin(self.panel.scores(self.panel.look(both.alarms))))
            fooled = both.fooled = lead < 0
            # Worth nothing, with the gradient of the lead that is not to be lost while the alarm is climbed.
            held = torch.where(fooled, lead - lead.detach(), held)
        margin = torch.stack(margins).amax(0)
        spread = (logits.amax(1) - logits.amin(1)).detach().clamp_min(1e-3)
        # The logarithm keeps a loud alarm from flattening cross-entropy.
        raised = logits.amax(1) + WEIGHT * spread * (margin.sign() * margin.abs().log1p()).to(logits) + held
        return torch.where(right, torch.maximum(logits, raised[:, None]), logits)


class Stages(nn.Module):
    """Transforms, then the model or its vote."""

    conventions: dict[str, Any]

    def __init__(self, base: Classifier, defence: Defence, seed: int) -> None:
        super().__init__()
        self.base, self.defence = base, defence
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        """See `Defended.reseed`."""
        self._seed, self._calls = seed, 0

    def forward(self, x: Tensor) -> Tensor:
        """(n, K) logits of inputs (n, *d) in the box."""
        return self.answer(x)[0]

    def answer(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (n, K), and what is positive where the vote abstains; None without a vote."""
        call, self._calls = self._calls, self._calls + 1
        rng = streams(self._seed, f"defence/{call}", len(x)).to(x.device) if self.defence.random else Streams(torch.zeros(len(x)))
        for place, transform in enumerate(self.defence.transforms):
            x = transform.through(x, self.base.box, rng.fork(transform.kind, place) if transform.random else rng)
        if self.defence.voting is None:
            return by_parts(self.base, x), None
        return self.defence.voting.answer(self.base, x, derive(self._seed, "vote", call), rng)


def _trains(module: nn.Module) -> bool:
    """Whether any part is in training mode; `Module.modules` also makes names, which takes longer than a detector."""
    return module.training or any(part is not None and _trains(part) for part in module._modules.values())


def _digest(one: Fitted) -> str:
    """Of all that a detector learnt."""
    tensors = {**one.state, "clean": one.calibrated}
    parts = {name: [str(t.dtype), list(t.shape), sha256(t.contiguous().numpy().tobytes())] for name, t in sorted(tensors.items())}
    return sha256(canonical_json(parts).encode())
