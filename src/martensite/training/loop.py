"""The training loop: one loop for every objective."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch

from martensite.core.errors import ModelError, NonFiniteError
from martensite.core.events import Event, Listener, silent
from martensite.data.dataset import Dataset
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training.best import Best
from martensite.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from martensite.training.checks import check_floor, check_run
from martensite.training.context import Context
from martensite.training.ledger import Ledger, close, forget_peak, peak_memory
from martensite.training.logs import Log, following
from martensite.training.objective import Objective
from martensite.training.plan import Plan
from martensite.training.report import detailed, epoch_event, recovery_event, validation_event
from martensite.training.result import COMPLETED, Epoch, TrainingResult
from martensite.training.settings import TrainingSettings
from martensite.training.state import TrainingState
from martensite.training.update import Updater
from martensite.training.validation import Probe, clean_accuracy
from martensite.training.watch import Watch


def fit(
    model: Classifier,
    data: Dataset,
    validation: Dataset,
    objective: Objective,
    settings: TrainingSettings,
    *,
    threat: ThreatModel | None = None,
    seed: int = 0,
    checkpoint: Path | None = None,
    stage: str = "train",
    surrogates: tuple[Classifier, ...] = (),
    listener: Listener = silent,
    log: Log | None = None,
) -> TrainingResult:
    """Train a copy of a model; the model given stays as it is.

    Args:
        model: Where to start from.
        data: Training data.
        validation: Held-out data, on which the best weights are chosen and guards look; never test data.
        objective: What to minimise.
        settings: Optimiser, schedule, batches, guards.
        threat: The adversary; None: no robust validation, and objectives that attack refuse.
        seed: Of all randomness.
        checkpoint: File to continue from if it exists, and to write after every epoch; None: no checkpoint.
        stage: Name in events and random streams.
        surrogates: Models held beside the one in training, for objectives that make adversarials on others.
        listener: Gets an event an epoch, one a validation within an epoch, and one a recovery.
        log: Where the same events are written to, those before a resumption included.

    Raises:
        DataError: inputs outside the model's box, classes that it doesn't have or that training never shows, validation data that
            is the training data or too small.
        ThreatError: a threat model that doesn't fit the data, the model or an attack.
        AccessError: an attack that needs more than the model grants.
        ModelError: no trainable parameter, a wrong output, batch statistics of single samples, a clean floor above the starting
            accuracy, or training that diverges whatever the guards try.
        ConfigError: parameters of the objective that don't go with the threat model, surrogates missing; the log's package isn't
            installed.
        ArtifactError: the checkpoint is truncated or none.
        RunError: the checkpoint is of another configuration.
    """
    check_run(model, data, validation, settings, threat, objective, surrogates)
    plan = Plan(data, validation, objective, settings, threat, seed, stage, surrogates)
    return _Run(model, plan, checkpoint).train(listener, log)


class _Run:
    """A run: the plan, its state, and what accompanies it."""

    def __init__(self, model: Classifier, plan: Plan, file: Path | None) -> None:
        self.started, self.before = perf_counter(), 0.0
        forget_peak(model.device)
        self.plan, self.file, self.key = plan, file, "" if file is None else plan.key(model)
        self.model = copy.deepcopy(model)
        if plan.settings.channels_last:
            self.model.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.context = Context(self.model, plan.threat, plan.settings, len(plan.data))
        self.context.surrogates = plan.surrogates
        self.state = TrainingState(self.context, plan.settings, plan.batches)
        self.best = Best(plan, self.model.net)
        self.update = Updater(plan, self.state)
        guards = plan.settings.guards
        self.watch = None
        if guards is not None:
            probe = Probe(plan.validation, guards, plan.threat, plan.seed)
            self.watch = Watch(guards, probe, self.state.snapshot())
        if file is not None and file.exists():
            self._resume(file)
        elif guards is not None:
            check_floor(guards.floor, self._starting_accuracy)
        if file is not None and not file.exists():
            self._save()  # a place that can't be written to is known before the first epoch

    def train(self, listener: Listener, log: Log | None) -> TrainingResult:
        """All epochs, and the best weights of them."""
        with following(log, self._past()) as write, _compiled(self.model, self.plan.settings.compile), _own_stream(self.model):
            while self.state.epoch < self.plan.settings.epochs and not (self.watch and self.watch.verdict):
                self._batch(listener, write)
        self.model.net.load_state_dict(self.best.weights)
        if self.plan.settings.channels_last:
            self.model.net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.model.eval()
        return TrainingResult(
            self.model,
            tuple(self.state.history),
            self.best.epoch,
            self.context.forwards,
            self.context.backwards,
            self.seconds,
            tuple(self.state.validations),
            tuple(self.watch.recoveries) if self.watch else (),
            self._verdict(),
            close(self.context.ledger, len(self.plan.data), peak_memory(self.model.device)),
        )

    def _batch(self, listener: Listener, write: Listener) -> None:
        """The updates on one batch, and whatever is due after it."""
        plan, state, watch = self.plan, self.state, self.watch
        finite = self.update(*((len(watch.recoveries), watch.rate, watch.gradalign) if watch else (0, 1.0, 0.0)))
        state.batch += 1
        checked = watch is not None and watch.due(state.update, state.batch == plan.batches)
        event, events = self._objection(finite, checked), []
        ends = state.batch == plan.batches
        within = plan.settings.validate_updates is not None and state.update % plan.settings.validate_updates == 0
        due = ends and (state.epoch + 1 == plan.settings.epochs or (state.epoch + 1) % plan.settings.validate_every == 0)
        if event is None:
            figures = state.figures()
            if due or within:
                try:
                    figures = self.best.validate(state, figures)
                except NonFiniteError:
                    event = self._objection(False, False)
        if event is not None:
            self._save()  # at once: after a kill, the same fault would come a second time
            listener(event)
            write(event)
            return
        if within and not ends:
            events = [validation_event(plan.stage, figures, plan.updates)]
        if ends:
            events = [epoch_event(plan.stage, figures, plan.settings.epochs)]
            state.end_epoch(figures)
        if watch and checked:
            watch.keep(state)
        if ends or (plan.settings.save_updates is not None and state.update % plan.settings.save_updates == 0):
            self._save()
        for event in events:
            listener(event)
            write(detailed(event, figures))

    def _objection(self, finite: bool, due: bool) -> Event | None:
        """What a guard did, if a check is due or the loss no number, and one objected; the state is then an earlier one.

        Raises:
            ModelError: what is no number has no guard that objects to it, or there are no weights to stop with.
        """
        plan, state, watch = self.plan, self.state, self.watch
        update, lr = state.update, plan.settings.lr
        objected = watch is not None and (due or not finite) and watch.objects(state, finite)
        if watch is None or not objected:
            if finite:
                return None
            raise ModelError(
                f"the loss or the logits became NaN or infinite in epoch {state.epoch + 1}",
                "training diverged, and no guard watches for it",
                f"lower lr (it is {lr:g}), clip, or watch with the divergence guard",
            )
        if not watch.verdict:
            return recovery_event(plan.stage, watch.recoveries[-1], plan.updates)
        if self.best.epoch.number == 0:
            rule, remedy = "no weights were measured before it, so there are none to return", f"lower lr (it is {lr:g}), or clip"
            raise ModelError(watch.verdict, rule, remedy)
        return Event(plan.stage, update, plan.updates, "update", {}, watch.verdict)

    @property
    def seconds(self) -> float:
        """Wall time so far, of earlier processes as well."""
        return self.before + perf_counter() - self.started

    def _verdict(self) -> str:
        if self.watch is not None and self.watch.verdict:
            return self.watch.verdict
        if not self.best.above_floor:
            return f"no weights kept the clean floor: the best have a clean accuracy of {self.best.epoch.clean:.3f}"
        return COMPLETED

    def _starting_accuracy(self) -> float:
        validation = self.plan.validation
        with self.context.ledger.timed("validation", self.model.device) as passes:
            return clean_accuracy(self.model, validation.x, validation.y, passes)

    def _past(self) -> list[Event]:
        """The events of what a resumed run has behind it, for the log."""
        plan, state = self.plan, self.state
        events = [(item.update, detailed(epoch_event(plan.stage, item, plan.settings.epochs), item)) for item in state.history]
        for item in state.validations:
            if item.update % plan.batches:
                events.append((item.update, detailed(validation_event(plan.stage, item, plan.updates), item)))
        if self.watch is not None:
            events += [(item.update, recovery_event(plan.stage, item, plan.updates)) for item in self.watch.recoveries]
        return [event for _, event in sorted(events, key=lambda pair: pair[0])]

    def _save(self) -> None:
        if self.file is None:
            return
        now, watch, context = self.state.snapshot(), self.watch, self.context
        good = None if watch is None or watch.good.record["update"] == now.record["update"] else watch.good
        record = {
            "best": vars(self.best.epoch),
            "ledger": context.ledger.record(),
            "seconds": self.seconds,
            "level": context.level,
            "heeded": context.heeded,
            "watch": None if watch is None else watch.record(),
        }
        write_checkpoint(self.file, self.key, Checkpoint(now, good, self.best.weights, context.memory.tensors, record))

    def _resume(self, file: Path) -> None:
        saved = read_checkpoint(file, self.key)
        self.state.restore(saved.now)
        self.best.epoch, self.best.weights = Epoch(**saved.record["best"]), saved.best
        self.before = saved.record["seconds"]
        context, device = self.context, self.model.device
        context.ledger = Ledger.read(saved.record["ledger"])
        context.level, context.heeded = saved.record["level"], saved.record["heeded"]
        context.memory.tensors = {name: tensor.to(device) for name, tensor in saved.memory.items()}
        if self.watch is not None:
            self.watch.read(saved.record["watch"], saved.good or saved.now)


@contextmanager
def _compiled(model: Classifier, wanted: bool) -> Iterator[None]:
    """The network compiled in the block, in place: its state dict keeps its names."""
    if wanted:
        model.net.compile()
    try:
        yield
    finally:
        # Out of the instance, where torch doesn't look for it otherwise: a trace of it would be no standard layer any more.
        vars(model.net).pop("_compiled_call_impl", None)


@contextmanager
def _own_stream(model: Classifier) -> Iterator[None]:
    """Torch's global stream lent to the block, and as it was after it."""
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        yield
