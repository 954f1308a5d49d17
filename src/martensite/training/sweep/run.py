"""The sweep: all points train for a while, the better ones go on, and one is chosen."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from martensite.core.acts import Act, recorded
from martensite.core.errors import ConfigError, ModelError
from martensite.core.events import Event, Listener, silent
from martensite.data.dataset import Dataset
from martensite.data.split import hold_out
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel
from martensite.training.checks import check_run
from martensite.training.ledger import Ledger
from martensite.training.loop import fit
from martensite.training.sweep.directory import SweepDirectory, opened
from martensite.training.sweep.outcome import Outcome, better, choose, front, ranking
from martensite.training.sweep.plan import SweepPlan
from martensite.training.validation import measure

VALIDATION_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class SweepResult:
    """What a sweep found.

    Attributes:
        outcomes: One a point, in the order of the plan.
        front: Places of the Pareto-optimal outcomes in clean accuracy, robust accuracy and cost.
        chosen: Place of the chosen outcome; None: no point keeps the floor.
        reason: Why.
        model: The chosen outcome's model, in evaluation mode; None with ``chosen``.
        start: Clean and robust accuracy of the model that the sweep began with.
        samples: Of the validation data, on which all accuracies are measured.
    """

    outcomes: tuple[Outcome, ...]
    front: tuple[int, ...]
    chosen: int | None
    reason: str
    model: Classifier | None
    start: tuple[float, float]
    samples: int

    def record(self) -> dict[str, Any]:
        """As JSON, without the model."""
        return {
            "start": {"clean": self.start[0], "robust": self.start[1]},
            "samples": self.samples,
            "points": [{"label": str(one.point), **one.model_dump(mode="json")} for one in self.outcomes],
            "front": list(self.front),
            "chosen": self.chosen,
            "reason": self.reason,
        }


def _swept(given: Mapping[str, Any], result: SweepResult | None) -> Act:
    details = {"from": model_digest(given["model"]), "data": given["data"].digest, "seed": given["seed"]}
    details |= {"threat": str(given["threat"]), "points": len(given["plan"].points)}
    if result is None or result.model is None:
        return Act(outcome="done" if result is None else result.reason, details=details)
    return Act("model", model_digest(result.model), details={**details, "reason": result.reason})


@recorded("sweep", _swept, announced=True)
def sweep(
    plan: SweepPlan,
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    directory: Path,
    validation: Dataset | None = None,
    *,
    seed: int = 0,
    listener: Listener = silent,
) -> SweepResult:
    """Harden a model in many ways and choose one.

    Each rung goes on from the best weights of those before, with a schedule of its own, so that points are compared with their
    learning rate run down. A point is what its best rung made of it, whatever comes later. All points see the same order of the
    data.

    Args:
        plan: The grid and the budget.
        model: Where every point starts from.
        data: Training data.
        threat: What all points are judged by, on the validation data.
        directory: Where finished rungs are kept; a sweep that was killed goes on from it, and ends the same.
        validation: Held-out data; None: a stratified tenth of ``data``, which then isn't trained on.
        seed: Of all randomness.
        listener: Gets an event a rung of a point, and those of the training.

    Raises:
        ConfigError: a floor above the clean accuracy that the model starts with.
        ThreatError: an eps that doesn't fit.
        DataError: see `fit`.
        RunError: the directory holds something else.
        ArtifactError: a file in it is damaged.
    """
    data, validation = (data, validation) if validation is not None else hold_out(data, VALIDATION_SHARE, seed)
    for point in plan.points:
        check_run(model, data, validation, plan.settings, threat.at(point.eps), point.objective)
    check_run(model, data, validation, plan.settings, threat)
    return _Sweep(plan, model, data, validation, threat, seed, listener).run(directory)


class _Sweep:
    """One sweep: what it was given."""

    def __init__(
        self,
        plan: SweepPlan,
        model: Classifier,
        data: Dataset,
        validation: Dataset,
        threat: ThreatModel,
        seed: int,
        listener: Listener,
    ) -> None:
        self.plan, self.model, self.data, self.validation = plan, model, data, validation
        self.threat, self.seed, self.listener = threat, seed, listener
        self.done = 0

    def run(self, place: Path) -> SweepResult:
        plan = self.plan
        start = self._measured(self.model, Ledger())
        if plan.min_clean is not None and start[0] < plan.min_clean:
            raise ConfigError(
                f"the floor of clean accuracy is {plan.min_clean:g} and the model starts at {start[0]:.4g} on validation data",
                "hardening keeps clean accuracy, it doesn't raise it",
                "give a lower floor, or train the model further first",
            )
        with opened(place, self._title()) as directory:
            outcomes: dict[int, Outcome] = {}
            running = list(range(len(plan.points)))
            for rung in range(len(plan.budgets)):
                able = []
                for point in running:
                    now = self._rung(directory, point, rung, outcomes.get(point))
                    outcomes[point] = better(outcomes.get(point), now, plan.min_clean)
                    able += [] if now.failure else [point]
                if rung + 1 < len(plan.budgets):
                    order = ranking([outcomes[point] for point in able], plan.min_clean)
                    going = sorted(able[k] for k in order[: plan.survivors(len(running))])
                    for point in {*able} - {*going}:
                        outcomes[point] = outcomes[point].model_copy(update={"stopped": True})
                    running = going
            found = tuple(outcomes[point] for point in range(len(plan.points)))
            chosen, reason = choose(found, plan.min_clean)
            model = None if chosen is None else self._loaded(directory, chosen, found[chosen].kept)
        return SweepResult(found, front(found), chosen, reason, model, start, len(self.validation))

    def _rung(self, directory: SweepDirectory, point: int, rung: int, before: Outcome | None) -> Outcome:
        """What this rung alone made of the point."""
        outcome = directory.read(point, rung)
        if outcome is None:
            outcome = self._trained(directory, point, rung, before)
        self.done += 1
        message = f"{outcome.point}: {outcome.failure or f'{outcome.clean:.3f} clean, {outcome.robust:.3f} robust'}"
        self.listener(Event("sweep", self.done, sum(self.plan.running), "run", {}, message))
        return outcome

    def _trained(self, directory: SweepDirectory, point: int, rung: int, before: Outcome | None) -> Outcome:
        plan, what = self.plan, self.plan.points[point]
        budget, spent = plan.budgets[rung], 0 if before is None else before.epochs
        settings = plan.settings.model_copy(update={"epochs": max(1, budget - spent)})
        start = self.model if before is None else self._loaded(directory, point, before.kept)
        cost, seconds = (0.0, 0.0) if before is None else (before.cost, before.seconds)
        started = perf_counter()
        try:
            result = fit(
                start,
                self.data,
                self.validation,
                what.objective,
                settings,
                threat=self.threat.at(what.eps),
                seed=self.seed,
                checkpoint=directory.checkpoint(point, rung),
                stage=f"sweep/{rung}",
                listener=self.listener,
            )
        except ModelError as error:
            failed = Outcome(
                point=what,
                rung=rung,
                kept=rung,
                epochs=spent,
                clean=0.0,
                robust=0.0,
                cost=cost,
                seconds=seconds + perf_counter() - started,
                failure=str(error),
            )
            directory.finish(point, rung, failed, {})
            return failed
        clean, robust = self._measured(result.model, ledger := Ledger())
        outcome = Outcome(
            point=what,
            rung=rung,
            kept=rung,
            epochs=spent + len(result.history),
            clean=clean,
            robust=robust,
            cost=cost + result.cost.epochs_by_passes + (ledger.forwards + ledger.backwards) / (2 * len(self.data)),
            seconds=seconds + result.seconds,
            verdict=result.verdict,
        )
        directory.finish(point, rung, outcome, result.model.net.state_dict())
        return outcome

    def _measured(self, model: Classifier, ledger: Ledger) -> tuple[float, float]:
        clean, robust = measure(model, self.validation, self.plan.settings, self.threat, self.seed, ledger)
        return clean, robust or 0.0

    def _loaded(self, directory: SweepDirectory, point: int, rung: int) -> Classifier:
        model = copy.deepcopy(self.model)
        model.net.load_state_dict(directory.weights(point, rung))
        return model.eval()

    def _title(self) -> dict[str, Any]:
        """What this sweep is, for its directory."""
        return {
            "model": model_digest(self.model),
            "data": self.data.digest,
            "validation": self.validation.digest,
            "threat": self.threat.model_dump(mode="json"),
            "plan": self.plan.model_dump(mode="json"),
            "seed": self.seed,
        }
