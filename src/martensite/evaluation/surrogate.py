"""A surrogate trained on the fly: a torch network that learns a model's answers, so that adversarials made on it may transfer.

Papernot et al. 2017, "Practical black-box attacks against machine learning", arXiv:1602.02697, algorithm 1: train on what the
model answers, step from each point along the surrogate's gradient to where its answer changes most, ask the model there, repeat.
Where the model gives scores the network learns their softmax (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, sec. 2).
"""

from pathlib import Path

import torch
from pydantic import PositiveFloat, PositiveInt
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from martensite.attacks.trust import probabilities
from martensite.core.config import Config, canonical_json
from martensite.core.files import sha256, write_bytes
from martensite.core.rng import generator
from martensite.data.dataset import Dataset
from martensite.evaluation.answers import BATCH, Answered, answered
from martensite.evaluation.rate import Rate
from martensite.models import Access, Classifier, Model, build
from martensite.models.digest import identity
from martensite.threat import ThreatModel

DISTILLED = "distilled"  # what such a surrogate is called


class Distillation(Config):
    """How a surrogate is trained.

    Args:
        architecture: A registered architecture, as a mapping; None: ``small_cnn`` for images, ``mlp`` for anything else.
        samples: Most of the clean inputs to start from.
        rounds: Of asking; each doubles the points, so that the model is asked 2**rounds times a sample.
        epochs: Passes over the points in each round.
        batch_size: Points an update.
        lr: Of Adam.
    """

    architecture: dict[str, object] | None = None
    samples: PositiveInt = 1000
    rounds: PositiveInt = 3
    epochs: PositiveInt = 10
    batch_size: PositiveInt = 64
    lr: PositiveFloat = 1e-3


class SurrogateRecord(Config):
    """A model that adversarials were made on, to be judged on the model under evaluation.

    Attributes:
        name: What rows of the report call it.
        digest: Of it.
        agreement: Share of the clean inputs on which it predicts what the model predicts; of a distilled one these, or some of
            them, are what it was trained on.
        queries: That its training cost; 0 for one that was given.
    """

    name: str
    digest: str
    agreement: Rate
    queries: int = 0


def distil(
    model: Model,
    data: Dataset,
    threat: ThreatModel,
    plan: Distillation | None = None,
    *,
    seed: int = 0,
    store: Path | None = None,
    clean: Answered | None = None,
) -> tuple[Classifier, int]:
    """A surrogate, and how many queries it took.

    Args:
        model: What it imitates; scores or labels are all that is asked.
        data: Its inputs are what the adversary has; its labels are not looked at.
        threat: The ball that later points stay in.
        plan: How; None: the defaults.
        seed: Of its weights and of the order of the points.
        store: Folder where the finished weights are kept; None: nowhere.
        clean: The model's answers to the data's inputs, where they are known; they are then not asked again.

    Raises:
        ModelError, UnreachableError: see `answered`.
    """
    plan = Distillation() if plan is None else plan
    kind = "small_cnn" if len(data.shape) == 3 and min(data.shape[1:]) >= 4 else "mlp"
    student = build(plan.architecture or kind, data.shape, model.classes, box=data.box, seed=seed)
    file = None if store is None else store / f"surrogate-{_name(model, data, threat, plan, seed)}.safetensors"
    if file is not None and (queries := _read(file, student)) is not None:
        return student.eval(), queries
    first = answered(model, data.x) if clean is None else clean
    rows = first.known.nonzero().flatten()[: plan.samples]
    x, origin, targets, queries = data.x[rows], data.x[rows], _targets(first.logits[rows], model.access), len(rows)
    order = generator(seed, "distil/order")
    _train(student, x, targets, plan, order)
    for _ in range(plan.rounds):
        told = answered(model, points := _augmented(student, x, origin, threat))
        queries += len(points)
        targets = torch.cat([targets, _targets(told.logits[told.known], model.access)])
        x, origin = torch.cat([x, points[told.known]]), torch.cat([origin, origin[told.known]])
        _train(student, x, targets, plan, order)
    if file is not None:
        write_bytes(file, save({**student.net.state_dict(), "queries": torch.tensor(queries)}))
    return student.eval(), queries


def agreement(surrogate: Model, clean: Answered, data: Dataset) -> Rate:
    """How often a surrogate predicts what the model answered, of the inputs that were answered."""
    rows = clean.known.nonzero().flatten()
    theirs = answered(surrogate, data.x[rows]).logits.argmax(1)
    return Rate.of(int((theirs == clean.logits[rows].argmax(1)).sum()), len(rows))


def _targets(logits: Tensor, access: Access) -> Tensor:
    """(n, K) what the network learns: probabilities, or labels one-hot."""
    if access is Access.DECISIONS or probabilities(logits):
        return logits.float()
    return logits.double().softmax(1).float()


def _train(student: Classifier, x: Tensor, targets: Tensor, plan: Distillation, order: torch.Generator) -> None:
    student.train()
    optimiser = torch.optim.Adam(student.parameters(), lr=plan.lr)
    with torch.enable_grad():
        for _ in range(plan.epochs):
            for rows in torch.split(torch.randperm(len(x), generator=order), plan.batch_size):
                loss = F.cross_entropy(student(x[rows]), targets[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    student.eval()


def _augmented(student: Classifier, x: Tensor, origin: Tensor, threat: ThreatModel) -> Tensor:
    """A point beside each: a step of eps along the gradient of its present class, towards where the surrogate would change."""
    made = []
    length = threat.box[1] - threat.box[0] if threat.norm == "l0" else threat.eps  # an L0 eps counts features
    for points, start in zip(torch.split(x, BATCH), torch.split(origin, BATCH), strict=True):
        leaf = points.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = student(leaf)
            loss = F.cross_entropy(logits, logits.argmax(1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, leaf)
        moved = threat.project(points + length * threat.steepest_step(gradient, points, length), start)
        repair = threat.repair(start, threat.eps)
        made.append(moved if repair is None else repair(moved, start))
    return torch.cat(made)


def _name(model: Model, data: Dataset, threat: ThreatModel, plan: Distillation, seed: int) -> str:
    title = [identity(model), data.digest, threat.model_dump(mode="json"), plan.model_dump(mode="json"), seed]
    return sha256(canonical_json(title).encode()).removeprefix("sha256:")[:32]


def _read(file: Path, student: Classifier) -> int | None:
    try:
        kept = load(file.read_bytes())
        queries = int(kept.pop("queries"))
        student.net.load_state_dict(kept)
    except (OSError, SafetensorError, RuntimeError, KeyError):
        return None
    return queries
