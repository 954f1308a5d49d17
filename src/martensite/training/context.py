"""What an objective may do with the model in training: run it, and attack it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import PrivateAttr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from martensite.attacks import FGSM, PGD, Attack, Oracle
from martensite.attacks.losses import Loss
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.rng import Streams
from martensite.models import Classifier, undisturbed
from martensite.threat import ThreatModel
from martensite.training.ledger import Ledger
from martensite.training.memory import Memory
from martensite.training.settings import TrainingSettings

Mode = Literal["eval", "train"]


class Context:
    """The model, the threat and the randomness of one batch; counts every pass.

    Args:
        model: The model in training.
        threat: The adversary; None: objectives that attack refuse.
        settings: Label smoothing, precisions and ramp are read from it.
        samples: Samples in the training data.

    Attributes:
        model: The model in training.
        done: Fraction (0 to 1) of training that is done.
        rows: (n,) int64 indices of the batch's samples in the training data.
        replay: Which of the objective's `replays` of this batch this is, from 0.
        level: How often a guard has made the attack stronger; see `steps` and `step_size`.
        heeded: Whether an attack has asked for its number of steps, which `level` raises.
        memory: Tensors that belong to training samples.
        state: Named tensors that live from one batch to the next.
        ledger: Passes so far, by purpose.
        surrogates: Models held beside the one in training, for adversarials that are made on others.
    """

    def __init__(
        self, model: Classifier, threat: ThreatModel | None, settings: TrainingSettings | None = None, samples: int = 0
    ) -> None:
        self.model = model
        self.done = 0.0
        self.rows = torch.zeros(0, dtype=torch.int64)
        self.replay = 0
        self.level = 0
        self.heeded = False
        self.memory = Memory(samples)
        self.state: dict[str, Tensor] = {}
        self.ledger = Ledger()
        self.surrogates: tuple[Classifier, ...] = ()
        self._settings = settings or TrainingSettings()
        self._full_threat = self._threat = threat
        self._rng: Streams | None = None
        self._attacks = 0
        self._callbacks: list[Callable[[], None]] = []

    @property
    def forwards(self) -> int:
        """Forward passes so far, times samples."""
        return self.ledger.forwards

    @property
    def backwards(self) -> int:
        """Backward passes so far, times samples; the update's own included."""
        return self.ledger.backwards

    @property
    def threat(self) -> ThreatModel:
        """The threat model in force now; a ramp may have made its eps smaller.

        Raises:
            ConfigError: training has no threat model.
        """
        if self._threat is None:
            raise ConfigError("this objective attacks, and no threat model was given", remedy="give threat=ThreatModel(...)")
        return self._threat

    @property
    def strength(self) -> float:
        """Share of the full eps, in (0, 1], that is in force now: less than 1 early in a ramp."""
        return 1.0 if self._full_threat is None else self.threat.eps / self._full_threat.eps

    @property
    def rng(self) -> Streams:
        """One random stream a sample of this batch; fork it under a name of your own before drawing."""
        if self._rng is None:
            raise ConfigError("no batch was begun", "randomness belongs to a batch", "call begin_batch first")
        return self._rng

    def begin_batch(self, rng: Streams, rows: Tensor | None = None, done: float = 0.0, replay: int = 0) -> None:
        """Take up a new batch.

        Args:
            rng: One random stream a sample.
            rows: (n,) its samples in the training data; None: 0..n-1.
            done: Fraction of training that is done.
            replay: Which replay of the batch this is.
        """
        self._rng = rng if replay == 0 else rng.fork("replay", replay)
        self.rows = torch.arange(len(rng)) if rows is None else rows
        self.done, self.replay, self._attacks = done, replay, 0
        self._callbacks = []
        self.memory.open(self.rows)
        ramp = self._settings.ramp
        if ramp is not None and self._full_threat is not None:
            self._threat = self._full_threat.at(self._full_threat.eps * ramp.eps_at(done))

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, K) in training mode, float32 or wider, with a gradient for the update."""
        self.ledger.update.forwards += len(x)
        self.ledger.update.backwards += len(x)
        precision = self._settings.precision
        if precision == "float32":
            logits: Tensor = self.model(x)
            return logits
        with torch.autocast(self.model.device.type, getattr(torch, precision)):
            logits = self.model(x)
        return logits.float()

    def criterion(self, logits: Tensor, y: Tensor, reduction: Literal["mean", "none"] = "mean") -> Tensor:
        """Cross-entropy with the settings' label smoothing: a scalar, or (n,) for ``"none"``."""
        return cross_entropy(logits, y, reduction=reduction, label_smoothing=self._settings.label_smoothing)

    def steps(self, steps: int) -> int:
        """How many steps an attack with this many takes now: fewer early in a ramp, twice as many for each `level`."""
        self.heeded = True
        share = 1.0 if self._settings.ramp is None else self._settings.ramp.steps_at(self.done)
        return max(1, round(steps * share)) << self.level

    def step_size(self, size: float) -> float:
        """How long a step of this size (input units) is now: half as long for each `level`."""
        return float(size / 2**self.level)

    def attack(
        self,
        method: Attack,
        x: Tensor,
        y: Tensor,
        *,
        mode: Mode = "eval",
        model: Classifier | None = None,
        start: Tensor | None = None,
        threat: ThreatModel | None = None,
        lens: Callable[[Oracle], Oracle] | None = None,
        part: slice | None = None,
    ) -> Tensor:
        """Adversarials (n, *d) for x, in x's precision, with no gradient into the update.

        Parameters are frozen meanwhile, flags and buffers come back as they were, passes are counted. Steps and step size follow
        `steps` and `step_size`; a single-step attack of a fixed step becomes PGD when a guard has raised the level.

        Args:
            method: Any bounded attack.
            x: (n, *d) clean inputs in the box.
            y: (n,) labels; or (n, K) probabilities, from which an attack that climbs ``"ce"`` leads away.
            mode: Of the model's layers while it is attacked.
            model: A surrogate to attack instead of the model in training.
            start: (n, *d) where the search starts, instead of at random; it is brought into ball and box.
            threat: Instead of the threat model in force.
            lens: How the attack sees the model, e.g. smoothed; None: as it is.
            part: Which samples of the batch x holds; None: all.

        Raises:
            ConfigError: training has no threat model, or the attack takes no start.
            ThreatError: the attack doesn't fit the model or the threat model, or doesn't stay in the ball.
        """
        threat = self.threat if threat is None else threat
        if not (method.bounded and method.ball):
            raise ThreatError(
                f"{method.kind} does not search the ball",
                "training needs adversarials inside the ball",
                "choose a bounded attack, e.g. pgd",
            )
        method, attacked = self._tuned(method, threat), self.model if model is None else model
        method.check(attacked, threat)
        path = (method.kind,) if self._attacks == 0 else (method.kind, self._attacks)
        self._attacks += 1
        rng = self.rng if part is None else self.rng[part]
        begun = threat if start is None else _begun_at(threat, start)
        with self._oracle(attacked, mode) as oracle:
            seen = oracle if lens is None else lens(oracle)
            repair = threat.repair(x, threat.eps)
            if repair is not None:
                oracle.begin(x, repair=repair)
            adversarial = method.perturb(seen, x, y, begun, rng.fork(*path)).detach()
            adversarial = adversarial if repair is None else repair(adversarial, x)
        if isinstance(begun, _Begun) and not begun.used:
            raise ConfigError(
                f"{method.kind} takes no start", "it doesn't start at random", "choose an attack with a random start, e.g. pgd"
            )
        return adversarial

    def gradient(self, x: Tensor, loss: Loss, *, mode: Mode = "eval", model: Classifier | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, K) at x and the gradient (n, *d) of ``loss(logits)`` (n,) with respect to x, for an objective's own search.

        Counted as an attack's passes; the model is treated as in `attack`.
        """
        with self._oracle(self.model if model is None else model, mode) as oracle:
            return oracle.gradient(x, loss)

    def scores(self, x: Tensor, *, mode: Mode = "eval", model: Classifier | None = None) -> Tensor:
        """Logits (n, K) at x without a gradient, for an objective's own search; counted and treated as in `gradient`."""
        with self._oracle(self.model if model is None else model, mode) as oracle:
            return oracle.logits(x)

    def after_backward(self, callback: Callable[[], None]) -> None:
        """Have the loop call this once, after this update's backward pass and before clipping and the optimiser's step."""
        self._callbacks.append(callback)

    def run_callbacks(self) -> None:
        """For the loop: the callbacks of this update, last one first, as wrappers are undone from the inside out."""
        while self._callbacks:
            self._callbacks.pop()()

    @contextmanager
    def _oracle(self, model: Classifier, mode: Mode) -> Iterator[Oracle]:
        """Counted access to the frozen model."""
        oracle = Oracle(model, until_broken=False, precision=self._settings.attack_precision)
        with self.ledger.timed("attack", self.model.device) as passes, frozen(model, mode):
            yield oracle
            passes.forwards += oracle.forwards
            passes.backwards += oracle.backwards

    def _tuned(self, method: Attack, threat: ThreatModel) -> Attack:
        steps, size = getattr(method, "steps", None), getattr(method, "step_size", None)
        if isinstance(steps, int):
            change: dict[str, int | float] = {"steps": self.steps(steps)}
            if isinstance(size, float):
                change["step_size"] = self.step_size(size)
            return method.model_copy(update=change)
        if isinstance(method, FGSM):
            self.heeded = True
            if not self.level:
                return method
            return PGD(steps=2**self.level, step_size=self.step_size(1.25 * threat.eps), loss=method.loss)
        return method


@contextmanager
def frozen(model: Classifier, mode: Mode = "eval") -> Iterator[None]:
    """Frozen parameters in the block, and layers in that mode; every flag and buffer as it was found after it."""
    if mode == "eval":
        with undisturbed(model):
            yield
        return
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    flags = [(module, module.training) for module in model.modules()]
    try:
        for module in model.modules():
            _train(module)
        for parameter, _ in required:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in flags:
            module.training = training
        for parameter, needed in required:
            parameter.requires_grad_(needed)
        with torch.no_grad():
            for buffer, content in buffers:  # a forward pass in training mode moves the running statistics
                buffer.copy_(content)


def _train(module: nn.Module) -> None:
    module.training = True


class _Begun(ThreatModel):
    """A threat model whose random start is a given point."""

    _start: Tensor = PrivateAttr()
    _used: list[bool] = PrivateAttr(default_factory=list)

    @property
    def used(self) -> bool:
        return bool(self._used)

    def random_start(self, x: Tensor, rng: Streams) -> Tensor:
        self._used.append(True)
        return self.project(self._start, x)


def _begun_at(threat: ThreatModel, start: Tensor) -> _Begun:
    begun = _Begun(**{name: getattr(threat, name) for name in ThreatModel.model_fields})
    begun._start = start
    return begun
