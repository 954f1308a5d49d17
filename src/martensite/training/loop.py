"""The training loop: one loop for every objective."""

import copy
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from martensite.attacks import Oracle, attack, undisturbed
from martensite.attacks.engine import BATCH
from martensite.core.config import canonical_json
from martensite.core.errors import DataError, ModelError, ThreatError
from martensite.core.events import Event, Listener, silent
from martensite.core.files import sha256
from martensite.core.rng import derive, generator, streams
from martensite.data.checks import check_inputs
from martensite.data.dataset import Dataset
from martensite.models import Classifier, probe
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel
from martensite.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from martensite.training.context import Context
from martensite.training.objective import Objective
from martensite.training.settings import TrainingSettings


@dataclass(frozen=True)
class Epoch:
    """Figures of one epoch; accuracies are on the validation data, None where the epoch had no validation."""

    number: int
    loss: float
    clean: float | None
    robust: float | None


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What training leaves behind.

    Attributes:
        model: The best epoch's model, in evaluation mode.
        history: One `Epoch` an epoch.
        best: The epoch that the model is from: best robust validation accuracy (clean, without a threat model).
        forwards: Forward passes times samples, those of attacks and validation included.
        backwards: Backward passes times samples.
        seconds: Wall time of this process.
    """

    model: Classifier
    history: tuple[Epoch, ...]
    best: Epoch
    forwards: int
    backwards: int
    seconds: float


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
    listener: Listener = silent,
) -> TrainingResult:
    """Train a copy of a model; the model given stays as it is.

    Args:
        model: Where to start from.
        data: Training data.
        validation: Held-out data, on which the best epoch is chosen; never test data.
        objective: What to minimise.
        settings: Optimiser, schedule, batches.
        threat: The adversary; None: no robust validation, and objectives that attack refuse.
        seed: Of all randomness.
        checkpoint: File to continue from if it exists, and to write after every epoch; None: no checkpoint.
        stage: Name in events and random streams.
        listener: Gets an event an epoch.

    Raises:
        DataError: inputs outside the model's box, classes that it doesn't have, or validation data that is the training data.
        ThreatError: a threat model that doesn't fit the data, the model or an attack.
        ModelError: no trainable parameter, a wrong output, or a loss or logits that became NaN.
        ArtifactError: the checkpoint is truncated or none.
        RunError: the checkpoint is of another configuration.
    """
    _check(model, data, validation, settings, threat)
    started = time.perf_counter()
    model = copy.deepcopy(model)
    optimiser = settings.make_optimiser(model.net)
    context = Context(model, threat, settings, len(data))
    x, y = data.x.to(model.device, model.dtype), data.y.to(model.device)
    updates = -(-len(data) // settings.batch_size)

    history: list[Epoch] = []
    best, best_state, passes, first = Epoch(0, float("inf"), 0.0, None), _copy(model.net), [0, 0], 0
    key = _key(model, data, validation, objective, settings, threat, seed, stage)
    if checkpoint is not None and checkpoint.exists():
        resumed = read_checkpoint(checkpoint, key, model.net, optimiser)
        first, best_state, passes = resumed.epoch, resumed.best, resumed.record["passes"]
        history = [Epoch(**epoch) for epoch in resumed.record["history"]]
        best = Epoch(**resumed.record["best"])
    context.ledger.validation.forwards, context.ledger.validation.backwards = passes

    for epoch in range(first, settings.epochs):
        order = torch.randperm(len(data), generator=generator(seed, stage, "order", epoch))
        model.train()
        total, seen = 0.0, 0
        # Dropout and its like draw from torch's global stream: lend it one that this epoch owns.
        with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
            torch.manual_seed(derive(seed, stage, "layers", epoch))
            for step in range(updates):
                rows = order[step * settings.batch_size : (step + 1) * settings.batch_size]
                if len(rows) == 1 and settings.batch_size > 1 and updates > 1:
                    continue  # a rest of one has no batch statistics; another epoch's order will hold the sample
                for replay in range(objective.replays):
                    # At the middle of the update: at its start, the first update would have a learning rate of zero.
                    done = (epoch * updates + step + (replay + 0.5) / objective.replays) / (settings.epochs * updates)
                    rng = streams(seed, f"{stage}/epoch/{epoch}", rows).to(model.device)
                    context.begin_batch(rng, rows, done, replay)
                    for group in optimiser.param_groups:
                        group["lr"] = settings.lr_at(done)
                    loss = objective.loss(context, x[rows], y[rows]).total
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    context.run_callbacks()
                    optimiser.step()
                    total, seen = total + loss.item() * len(rows), seen + len(rows)
        if total - total != 0:
            raise ModelError(
                f"the loss became {total} in epoch {epoch + 1}",
                "training diverged",
                f"lower lr (it is {settings.lr:g}) or clip",
            )
        last = epoch + 1 == settings.epochs
        measured = last or (epoch + 1) % settings.validate_every == 0
        clean, robust = _validate(model, validation, settings, threat, seed, context) if measured else (None, None)
        history.append(Epoch(epoch + 1, total / seen, clean, robust))
        if measured and _score(history[-1]) >= _score(best):
            best, best_state = history[-1], _copy(model.net)
        if checkpoint is not None:
            record = {
                "history": [vars(item) for item in history],
                "best": vars(best),
                "passes": [context.forwards, context.backwards],
            }
            write_checkpoint(checkpoint, key, model.net, optimiser, Progress(epoch + 1, best_state, record))
        metrics = {"loss": total / seen, "clean": clean, "robust": robust}
        figures = {name: value for name, value in metrics.items() if value is not None}
        listener(Event(stage, epoch + 1, settings.epochs, "epoch", figures))

    model.net.load_state_dict(best_state)
    model.eval()
    return TrainingResult(model, tuple(history), best, context.forwards, context.backwards, time.perf_counter() - started)


def _validate(
    model: Classifier,
    data: Dataset,
    settings: TrainingSettings,
    threat: ThreatModel | None,
    seed: int,
    context: Context,
) -> tuple[float, float | None]:
    """Clean and robust accuracy on the validation data, with the same attack draws every time."""
    if threat is None:
        oracle = Oracle(model)
        with undisturbed(model):
            batches = [oracle.logits(x.to(model.device)) for x in torch.split(data.x, BATCH)]
        context.ledger.validation.forwards += oracle.forwards
        return float((torch.cat(batches).argmax(1).cpu() == data.y).float().mean()), None
    result = attack(settings.validation_attack, model, data.x, data.y, threat, seed=derive(seed, "validation"))
    context.ledger.validation.forwards += result.forwards
    context.ledger.validation.backwards += result.backwards
    return float(result.correct.float().mean()), float(result.robust.float().mean())


def _score(epoch: Epoch) -> tuple[float, float]:
    """Robust accuracy first, clean accuracy to break ties."""
    return (-1.0 if epoch.robust is None else epoch.robust, -1.0 if epoch.clean is None else epoch.clean)


def _copy(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}


def _check(model: Classifier, data: Dataset, validation: Dataset, settings: TrainingSettings, threat: ThreatModel | None) -> None:
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("every parameter of the model is frozen", "training needs some that require a gradient", "unfreeze them")
    if max(data.classes, validation.classes) > model.classes:
        raise DataError(
            f"the data has {max(data.classes, validation.classes)} classes and the model {model.classes}",
            "a model needs an output a class",
            f"build it with classes={data.classes}",
        )
    if data.digest == validation.digest:
        raise DataError(
            "training and validation data are the same", "the best epoch is chosen on held-out data", "split the data"
        )
    if data.shape != validation.shape:
        raise DataError(
            f"training inputs have shape {data.shape} and validation inputs {validation.shape}", "both must mean the same inputs"
        )
    for part in (data, validation):
        check_inputs(part.x, model.box)
    if threat is not None:
        if threat.goal != "untargeted":
            raise ThreatError("the threat model's goal is targeted", "training is about any wrong class", "use goal untargeted")
        threat.check_shape(data.x)
        settings.validation_attack.check(model, threat)
    probe(model, data.x[:2])


def _key(
    model: Classifier,
    data: Dataset,
    validation: Dataset,
    objective: Objective,
    settings: TrainingSettings,
    threat: ThreatModel | None,
    seed: int,
    stage: str,
) -> str:
    """What a checkpoint belongs to."""
    parts = {
        "model": model_digest(model),
        # What the digest leaves out: layers without weights, and what is frozen.
        "layers": str(model.net),
        "trainable": [name for name, parameter in model.net.named_parameters() if parameter.requires_grad],
        "data": data.digest,
        "validation": validation.digest,
        "stage": stage,
        "seed": seed,
        "objective": objective.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "threat": None if threat is None else threat.model_dump(mode="json"),
    }
    return sha256(canonical_json(parts).encode())
