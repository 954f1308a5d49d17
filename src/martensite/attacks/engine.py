"""Runs an attack on any number of samples: checks first, attacks only what is still correct, judges everything at the end."""

import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.budget import Budget, Ledger
from martensite.attacks.oracle import Oracle
from martensite.attacks.result import AttackResult
from martensite.attacks.run import Run
from martensite.attacks.store import Store
from martensite.attacks.survivors import succeeded
from martensite.attacks.trace import Recorder, Trace
from martensite.attacks.trust import warnings
from martensite.attacks.tuning import Pace, Precision, settle, within_memory
from martensite.core.acts import Act, recorded
from martensite.core.errors import DataError, ModelError, ThreatError
from martensite.core.events import Listener, silent
from martensite.core.rng import streams
from martensite.data.checks import check_inputs, check_labels
from martensite.models import undisturbed
from martensite.models.access import Access, Model
from martensite.models.digest import identity
from martensite.threat import ThreatModel


def _attacked(given: Mapping[str, Any], result: AttackResult | None) -> Act:
    details: dict[str, Any] = {"attack": given["method"].kind, "threat": str(given["threat"]), "n": len(given["x"])}
    if result is not None:
        details |= {"robust": int(result.robust.sum()), "errors": int(result.error.sum())}
    return Act("model", identity(given["model"]), details={**details, "seed": given["seed"]})


@recorded("attack", _attacked)
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
    batch_size: int | Literal["auto"] | None = None,
    precision: Precision | Literal["auto"] = "float32",
    budget: Budget | None = None,
    indices: Tensor | None = None,
    store: Path | str | None = None,
    trace: bool = False,
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
        batch_size: Samples a batch; the random draws don't depend on it. ``"auto"``: by a short measurement on the device. None:
            125 on a CPU, 1,000 elsewhere. Either within the memory that is free; a batch that doesn't fit after all is halved,
            and the run goes on with the smaller size.
        precision: Of the search; every success and distance is decided in the model's own precision. ``"auto"``: bfloat16 where a
            short measurement shows a gain. Only attacks by gradients gain from it, others search in float32. What was chosen is
            in the result: given again, it repeats the run bit by bit.
        budget: Limits of queries and seconds, and a bound at which to stop.
        indices: (n,) index of each sample in its dataset, which names its random stream; None: 0..n-1.
        store: Folder for finished batches, from which a run that was killed goes on; None: nothing is kept. Where a limit of
            queries or time may cut a search short, or nothing tells whether the model or the attack would compute the same
            again, it stays unused, and ``warnings`` says so.
        trace: Keep the loss at each step of attacks that climb step by step (`AttackResult.traces`); it takes no further pass.
        listener: Gets an event a batch.

    Raises:
        ConfigError: a batch size below 1, an unknown precision.
        DataError: inputs or labels out of range, inputs that break the constraints, a target equal to the label, not one index a
            sample.
        AccessError: the model grants less than the attack needs.
        ThreatError: a norm, an eps or inputs of a shape that don't fit.
        ModelError: a surrogate of other classes or another box; a black box with a store; or the model's output on the clean
            inputs is not (n, K) finite logits. Where a model that only answers queries leaves some of them unanswered, those
            samples are errors, and the rest goes on.
        UnreachableError: nobody answers there.
    """
    check_inputs(x, threat.box)
    if surrogate is not None:
        check_surrogate(surrogate, model, "the surrogate")
    check_labels(y, len(x), model.classes)
    searched = model if surrogate is None else surrogate
    method.check(searched, threat)
    threat.check_shape(x)
    method.check_shape(tuple(x.shape[1:]), threat)
    threat.check_clean(x)
    aim = _aim(y, target, threat, model.classes)
    if indices is not None and (tuple(indices.shape) != (len(x),) or indices.is_floating_point()):
        found = f"indices has shape {tuple(indices.shape)} of {indices.dtype}"
        raise DataError(found, f"({len(x)},) of whole numbers is needed: one index a sample")
    started, ledger = time.perf_counter(), Ledger(budget)
    clean = x.detach().to(model.device).contiguous()  # attacks view inputs as rows of numbers
    clean = clean if clean.dtype == torch.float64 else clean.float()
    y, aim = y.to(model.device, torch.int64), aim.to(model.device, torch.int64)
    places = torch.arange(len(x)) if indices is None else indices

    # Gradients are needed, wherever the caller stands.
    with undisturbed(model), undisturbed(searched), torch.inference_mode(False):
        clean = clean.clone() if clean.is_inference() else clean
        kept: Store | None = None
        pace = settle(searched, clean, batch_size, precision)
        if store is not None:
            title = {"threat": threat.model_dump(mode="json"), "seed": seed, "trace": trace}
            kept = Store(store, searched, surrogate is None, budget, title)
            pace = kept.settle(batch_size, precision, clean, pace)
            if not isinstance(batch_size, int):  # there may be less memory than when the run began
                pace = Pace(within_memory(searched, clean, pace.batch_size), pace.precision)
        arbiter = Oracle(model)
        run = Run(clean, aim, threat, arbiter, ledger, pace.batch_size)
        ballots = run.ballots(method.jury.draws)
        asked = ~run.unanswered
        correct = ~method.jury.agree(torch.stack([logits.argmax(1) != y for logits in ballots])) & asked
        success = method.jury.agree(torch.stack([succeeded(logits, aim, threat.goal) for logits in ballots])) & asked
        success |= ~correct & asked & (threat.goal == "untargeted")
        run.begin(correct, success, kept)
        kind = pace.precision
        halved = False
        oracles = [Oracle(searched, surrogate is None, kind, ledger)]
        members = method.members(threat, model.classes)
        member: Attack | None = next(members)
        traces: list[Trace] = []
        while member is not None and len(todo := run.todo()) and not run.decided:
            rng = streams(seed, f"attack/{member.kind}", places).to(model.device)
            # A least distance, where it is the answer, ends on the decision boundary, of which bfloat16 draws another one; and
            # its rounding hides the small gains that a search by scores lives on.
            exact = kind == "float32" or not method.bounded or member.needs < Access.GRADIENTS
            if kind == "bfloat16" and exact:
                oracles.append(Oracle(searched, surrogate is None, "float32", ledger))
            oracle = oracles[-1 if exact else 0]
            halved |= not exact and searched.dtype == torch.float32
            oracle.recorder = Recorder() if trace and member.stepwise else None
            run.attack(member, oracle, rng, todo, listener, member is method)
            if oracle.recorder is not None:
                traces.append(oracle.recorder.trace(member.kind, str(getattr(member, "loss", ""))))
            doubtful = todo[run.doubtful[todo]]
            if not exact and surrogate is None and len(doubtful):
                # What the search took for broken, and float32 denies, is searched again in float32.
                oracles.append(Oracle(model, ledger=ledger))
                run.attack(member, oracles[-1], rng, doubtful, listener, member is method)
            member = _following(members, float(run.record.success[todo].float().mean()))

    record, unmeasured = run.record, run.unmeasured
    if run.decided:
        record.messages.append(_decision(run))
    return AttackResult(
        adversarial=record.adversarial.cpu(),
        success=record.success.cpu(),
        distance=record.distance.to(torch.float32).cpu(),
        correct=correct.cpu(),
        error=record.error.cpu(),
        messages=tuple(dict.fromkeys(record.messages)),
        cost=record.cost.cpu(),
        forwards=arbiter.forwards + sum(oracle.forwards for oracle in oracles),
        backwards=sum(oracle.backwards for oracle in oracles),
        seconds=time.perf_counter() - started,
        unmeasured=unmeasured.cpu(),
        decided=run.decided,
        rejected=record.rejected,
        discarded=sum(oracle.discarded for oracle in oracles),
        warnings=(
            *warnings(method, ballots[0][asked] if surrogate is None else oracles[0].passes.first, oracles),
            *([] if kept is None else kept.unused),
        ),
        flat=sum(oracle.slopes.flat for oracle in oracles),
        seen=sum(oracle.slopes.seen for oracle in oracles),
        traces=tuple(traces),
        batch_size=pace.batch_size,
        precision="bfloat16" if halved else "float32",
    )


def check_surrogate(surrogate: Model, model: Model, name: str) -> None:
    """Refuse a surrogate, called ``name``, of other classes or another box than the model's that is attacked through it.

    Raises:
        ModelError: see above.
    """
    if surrogate.classes != model.classes or tuple(surrogate.box) != tuple(model.box):
        raise ModelError(
            f"{name} has {surrogate.classes} classes in the box {list(surrogate.box)}",
            f"the target has {model.classes} in {list(model.box)}, and both must mean the same",
            "map its classes and inputs to the target's",
        )


def _following(members: Generator[Attack, float, None], share: float) -> Attack | None:
    """The next attack of an ensemble, which is told how the last one fared; None after the last."""
    try:
        return members.send(share)
    except StopIteration:
        return None


def _decision(run: Run) -> str:
    """What a run says that stopped at its bound."""
    left, bound = int((run.correct & ~run.record.success).sum()), run.ledger.budget.stop_below
    return (
        f"stopped: at most {left} of {len(run.clean)} samples can be robust, less than the share {bound:g} that was asked about; "
        f"{int(run.unmeasured.sum())} samples were not measured"
    )


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
