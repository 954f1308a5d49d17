"""Runs an attack on any number of samples: checks first, attacks only what is still correct, judges everything at the end."""

import time
from collections.abc import Generator
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.budget import Budget
from martensite.attacks.oracle import Oracle, undisturbed
from martensite.attacks.record import Record
from martensite.attacks.result import AttackResult
from martensite.attacks.store import Store
from martensite.attacks.survivors import succeeded
from martensite.attacks.tuning import Precision, tune
from martensite.attacks.verify import judge
from martensite.core.errors import AccessError, BudgetError, ConfigError, DataError, ModelError, StorageError, ThreatError
from martensite.core.events import Event, Listener, silent
from martensite.core.rng import Streams, streams
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
    surrogate: Model | None = None,
    seed: int = 0,
    batch_size: int | Literal["auto"] = BATCH,
    precision: Precision | Literal["auto"] = "float32",
    budget: Budget | None = None,
    indices: Tensor | None = None,
    store: Path | None = None,
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
        surrogate: It answers the search, which runs its full course, and ``model`` only judges; see `transfer`.
        seed: Of all randomness.
        batch_size: Samples a batch; the random draws don't depend on it. ``"auto"``: by a short measurement.
        precision: Of the search; every success and distance is decided in the model's own precision. ``"auto"``: bfloat16 where a
            short measurement shows a gain. What is fixed here is repeated bit by bit, what is measured may not be.
        budget: Limits of queries and seconds.
        indices: (n,) index of each sample in its dataset, which names its random stream; None: 0..n-1.
        store: Folder for finished batches, from which a run that was killed goes on; None: nothing is kept.
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
    searched = model if surrogate is None else surrogate
    method.check(searched, threat)
    threat.check_shape(x)
    aim = _aim(y, target, threat, model.classes)
    if batch_size != "auto" and batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}", "a batch has at least one sample", f"e.g. {BATCH}")
    if indices is not None and tuple(indices.shape) != (len(x),):
        raise DataError(f"indices has shape {tuple(indices.shape)}", f"({len(x)},) is needed: one index a sample")
    started = time.perf_counter()
    clean = x.detach().to(model.device)
    clean = clean if clean.dtype == torch.float64 else clean.float()
    y, aim = y.to(model.device, torch.int64), aim.to(model.device, torch.int64)
    places = torch.arange(len(x)) if indices is None else indices

    # Gradients are needed, wherever the caller stands.
    with undisturbed(model), undisturbed(searched), torch.inference_mode(False):
        clean = clean.clone() if clean.is_inference() else clean
        size, kind = _settle(searched, clean, batch_size, precision)
        arbiter = Oracle(model)
        parts = [clean[i : i + size] for i in range(0, len(x), size)]
        ballots = [torch.cat([arbiter.ballot(part) for part in parts]) for _ in range(method.jury.draws)]
        correct = ~method.jury.agree(torch.stack([logits.argmax(1) != y for logits in ballots]))
        success = method.jury.agree(torch.stack([succeeded(logits, aim, threat.goal) for logits in ballots]))
        success |= ~correct & (threat.goal == "untargeted")
        title = {"threat": threat.model_dump(mode="json"), "seed": seed, "precision": kind}
        kept = None if store is None or budget is not None else Store(store, searched, title)
        run = _Run(clean, aim, threat, Record(clean, success), arbiter, size, kept)
        oracles = [Oracle(searched, surrogate is None, kind, budget, started)]
        members = method.members(threat, model.classes)
        member: Attack | None = next(members)
        while member is not None and len(todo := run.record.todo()):
            rng = streams(seed, f"attack/{member.kind}", places).to(model.device)
            exact = kind == "float32" or not member.bounded
            if kind == "bfloat16" and exact:  # a least distance ends on the decision boundary: bfloat16 draws another one
                oracles.append(Oracle(searched, surrogate is None, "float32", budget, started))
            run.attack(member, oracles[-1 if exact else 0], rng, todo, listener)
            if not exact and surrogate is None and bool(run.doubtful.any()):
                # What the search took for broken, and float32 denies, is searched again in float32.
                oracles.append(Oracle(model, budget=budget, started=started))
                run.attack(member, oracles[-1], rng, run.doubtful.nonzero().squeeze(1), listener)
            member = _following(members, float(run.record.success[todo].float().mean()))

    record = run.record
    return AttackResult(
        record.adversarial.cpu(),
        record.success.cpu(),
        record.distance.to(torch.float32).cpu(),
        correct.cpu(),
        record.error.cpu(),
        tuple(dict.fromkeys(record.messages)),
        record.cost.cpu(),
        arbiter.forwards + sum(oracle.forwards for oracle in oracles),
        sum(oracle.backwards for oracle in oracles),
        time.perf_counter() - started,
    )


def _following(members: Generator[Attack, float, None], share: float) -> Attack | None:
    """The next attack of an ensemble, which is told how the last one fared; None after the last."""
    try:
        return members.send(share)
    except StopIteration:
        return None


class _Run:
    """One run of the engine: takes samples through an attack, batch by batch."""

    def __init__(
        self, clean: Tensor, aim: Tensor, threat: ThreatModel, record: Record, arbiter: Oracle, batch: int, store: Store | None
    ) -> None:
        self.clean, self.aim, self.threat = clean, aim, threat
        self.record, self.arbiter, self.batch, self.store = record, arbiter, batch, store
        self.doubtful = torch.zeros_like(record.success)

    def attack(self, method: Attack, oracle: Oracle, rng: Streams, todo: Tensor, listener: Listener) -> None:
        """Attack the samples at these positions and record what comes of it."""
        self.doubtful = torch.zeros_like(self.record.success)
        batches = [todo[start : start + self.batch] for start in range(0, len(todo), self.batch)][::-1]
        done = 0
        while batches:
            rows = batches.pop()
            oracle.begin(self.clean[rows])
            try:
                cut = self._candidates(method, oracle, rows, rng[rows])
            except (AccessError, ConfigError, StorageError, ThreatError):
                raise
            except Exception as failure:
                # Out of memory, or a sample that the attack can't take: halve the batch, down to the sample itself, which then is
                # an error row and never "robust".
                if len(rows) > 1:
                    batches += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
                else:
                    self.record.fail(method.kind, rows, f"{type(failure).__name__}: {failure}")
                continue
            if cut and (unfinished := rows[~self.record.success[rows]]).numel() and oracle.out_of_time:
                self.record.fail(method.kind, unfinished, cut)
            done += len(rows)
            broken = float(self.record.success.sum())
            listener(Event(method.kind, done, len(todo), "sample", {"broken": broken}))

    def _search(self, method: Attack, oracle: Oracle, rows: Tensor, rng: Streams) -> Tensor:
        """The attack's candidates for these samples, from the store if an earlier run left them there."""
        x, aim, before = self.clean[rows], self.aim[rows], (oracle.forwards, oracle.backwards)
        file = None if self.store is None else self.store.name(method, x, aim, rng.keys)
        if self.store is not None and file is not None and (kept := self.store.read(file, oracle)) is not None:
            return kept
        candidate = method.perturb(oracle, x, aim, self.threat, rng).detach().to(self.clean.dtype)
        if self.store is not None and file is not None:
            self.store.write(file, candidate, oracle, before)
        return candidate

    def _candidates(self, method: Attack, oracle: Oracle, rows: Tensor, rng: Streams) -> str:
        """Search, judge and record; returns what cut the search short, if anything."""
        cut = ""
        try:
            candidate = self._search(method, oracle, rows, rng)
        except BudgetError as error:
            candidate, cut = oracle.found, error.value
        if candidate.shape != self.clean[rows].shape:
            raise ModelError(f"{method.kind} returned shape {tuple(candidate.shape)}", "a candidate a sample is needed")
        ballots = torch.stack([self.arbiter.ballot(candidate) for _ in range(method.jury.draws)])
        verdict = judge(self.clean[rows], candidate, ballots, self.aim[rows], self.threat, method.jury)
        self.record.take(method, rows, candidate, verdict)
        self.record.cost[rows] += oracle.spent
        self.doubtful[rows] = oracle.claimed & ~self.record.success[rows]
        return cut


def _settle(
    model: Model, clean: Tensor, batch_size: int | Literal["auto"], precision: Precision | Literal["auto"]
) -> tuple[int, Precision]:
    """Batch size and precision, measured where they are left open."""
    if batch_size != "auto" and precision != "auto":
        return batch_size, precision
    size, fastest = tune(model, clean)
    return size if batch_size == "auto" else batch_size, fastest if precision == "auto" else precision


def _aim(y: Tensor, target: Tensor | None, threat: ThreatModel, classes: int) -> Tensor:
    """The class that the attack works with: to leave, or to reach."""
    if threat.goal == "untargeted":
        if target is not None:
            raise ThreatError("target= was given", "this threat model's goal is untargeted", 'use ThreatModel(goal="targeted")')
        return y
    if target is None:
        raise ThreatError("no target= was given", "this threat model's goal is targeted", "give target=, (n,) classes to reach")
    check_labels(target, len(y), classes)
    if bool((same := target == y).any()):
        raise DataError(
            f"{int(same.sum())} targets equal the label", "a target is another class than the true one", "change those targets"
        )
    return target
