"""Runs an attack on any number of samples: checks first, attacks only what is still correct, judges everything at the end."""

import time

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.oracle import Oracle, undisturbed
from martensite.attacks.result import AttackResult
from martensite.attacks.survivors import succeeded
from martensite.attacks.verify import judge
from martensite.core.errors import AccessError, BudgetError, ConfigError, DataError, ThreatError
from martensite.core.events import Event, Listener, silent
from martensite.core.rng import streams
from martensite.data.checks import check_inputs, check_labels
from martensite.models.access import Model
from martensite.threat import ThreatModel

BATCH = 250  # on CPUs larger batches leave the caches: 1,000 images a batch ran up to twice as slow


def attack(
    method: Attack,
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    target: Tensor | None = None,
    seed: int = 0,
    batch_size: int = BATCH,
    indices: Tensor | None = None,
    listener: Listener = silent,
) -> AttackResult:
    """Attack samples and judge the outcome.

    Args:
        method: The attack, e.g. ``PGD(steps=40)``.
        model: The model under attack; its parameters, buffers and flags are left as they were.
        x: (n, *d) clean inputs in the box.
        y: (n,) true labels.
        threat: What the adversary may do.
        target: (n,) the class to reach; with ``threat.goal="targeted"`` only.
        seed: Of all randomness.
        batch_size: Samples a batch; the random draws don't depend on it.
        indices: (n,) index of each sample in its dataset, which names its random stream; None: 0..n-1.
        listener: Gets an event a batch.

    Raises:
        ConfigError: a batch size below 1.
        DataError: inputs or labels out of range, a target equal to the label, not one index a sample.
        AccessError: the model grants less than the attack needs.
        ThreatError: a norm or eps that doesn't fit.
        ModelError: the model's output on the clean inputs is not (n, K) finite logits.
    """
    check_inputs(x, threat.box)
    check_labels(y, len(x), model.classes)
    method.check(model, threat)
    threat.check_shape(x)
    aim = _aim(y, target, threat, model.classes)
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}", "a batch has at least one sample", f"e.g. {BATCH}")
    if indices is not None and tuple(indices.shape) != (len(x),):
        raise DataError(f"indices has shape {tuple(indices.shape)}", f"({len(x)},) is needed: one index a sample")
    started = time.perf_counter()
    oracle = Oracle(model)
    clean = x.detach().to(model.device)
    clean = clean if clean.dtype == torch.float64 else clean.float()
    y, aim = y.to(model.device, torch.int64), aim.to(model.device, torch.int64)
    rng = streams(seed, f"attack/{method.kind}", torch.arange(len(x)) if indices is None else indices).to(model.device)

    with undisturbed(model):
        logits = torch.cat([oracle.logits(clean[i : i + batch_size]) for i in range(0, len(x), batch_size)])
        correct = logits.argmax(1) == y
        success = succeeded(logits, aim, threat.goal) | (~correct if threat.goal == "untargeted" else torch.zeros_like(correct))
        adversarial, distance = clean.clone(), torch.zeros(len(x), dtype=torch.float64, device=model.device)
        error, cost = torch.zeros_like(success), torch.ones(len(x), dtype=torch.int64, device=model.device)
        messages: list[str] = []
        todo = (~success).nonzero().squeeze(1)
        for start in range(0, len(todo), batch_size):
            rows = todo[start : start + batch_size]
            try:
                oracle.begin(len(rows))
                candidate = method.perturb(oracle, clean[rows], aim[rows], threat, rng[rows]).detach().to(clean.dtype)
                verdict = judge(clean[rows], candidate, oracle.logits(candidate, torch.arange(len(rows))), aim[rows], threat)
            except (AccessError, BudgetError, ConfigError, ThreatError):
                raise
            except Exception as failure:  # a sample that could not be attacked is an error row, never "robust"
                error[rows] = True
                messages.append(f"{method.kind}: {type(failure).__name__}: {failure}")
                continue
            rejected = ~verdict.allowed | (~verdict.within & method.bounded)
            if bool(rejected.any()):
                messages.append(f"{method.kind}: {int(rejected.sum())} candidates were outside the ball or box and were rejected")
            error[rows] = rejected
            success[rows] = verdict.misclassified & verdict.within & ~rejected
            adversarial[rows[~rejected]], distance[rows] = candidate[~rejected], torch.where(rejected, 0.0, verdict.distance)
            if not method.bounded:  # a distance is that of an adversarial: there is none where none was found
                distance[rows[~verdict.misclassified | rejected]] = torch.inf
            cost[rows] = oracle.spent
            broken = int(success.sum())
            listener(Event(method.kind, start + len(rows), len(todo), "sample", {"broken": float(broken)}))

    return AttackResult(
        adversarial.cpu(),
        success.cpu(),
        distance.to(torch.float32).cpu(),
        correct.cpu(),
        error.cpu(),
        tuple(dict.fromkeys(messages)),
        cost.cpu(),
        oracle.forwards,
        oracle.backwards,
        time.perf_counter() - started,
    )


def _aim(y: Tensor, target: Tensor | None, threat: ThreatModel, classes: int) -> Tensor:
    """The class that the attack works with: to leave, or to reach."""
    if threat.goal == "untargeted":
        if target is not None:
            raise ThreatError("target= was given", "this threat model's goal is untargeted", 'use ThreatModel(goal="targeted")')
        return y
    if target is None:
        raise ThreatError(
            "no target= was given", "this threat model's goal is targeted", "give target=, (n,) the classes to reach"
        )
    check_labels(target, len(y), classes)
    if bool((same := target == y).any()):
        raise DataError(
            f"{int(same.sum())} targets equal the label",
            "a target is another class than the true one",
            "change those targets",
        )
    return target
