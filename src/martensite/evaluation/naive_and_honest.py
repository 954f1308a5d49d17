"""Fills in what a report says of a model's defences, from what the attacks found."""

from martensite.defenses import Defended
from martensite.evaluation.adaptive import BARE
from martensite.evaluation.defence_record import DefenceRecord
from martensite.evaluation.diagnostics.evidence import Evidence, by_gradients
from martensite.evaluation.rate import Rate


def defence_record(evidence: Evidence) -> DefenceRecord | None:
    """Of a model without defences None; asks a model that may refuse once more about the clean inputs."""
    model, tally = evidence.model, evidence.tally
    if not isinstance(model, Defended):
        return None
    plan = model.defence
    naive = min((one for one in tally.own if one.job.surrogate == BARE), key=lambda one: int(one.robust.sum()), default=None)
    followed = [one for one in tally.judging if by_gradients(one)]
    told = []
    if followed:
        flat = [str(one) for one in plan.transforms if not one.differentiable]
        told += [f"gradients through stand-ins of {', '.join(flat)} (BPDA)"] if flat else []
        told += ["gradients through " + ", ".join(str(one) for one in plan.transforms)] if plan.transforms and not flat else []
        told += ["the alarm's score in the loss"] if plan.detectors else []
        told += ["abstentions in the loss"] if plan.voting is not None else []
        most = max(one.method.jury.draws for one in followed)
        told += [f"expectation over {most} draws (EOT)"] if model.random and most > 1 else []
        told = told or ["the whole of it is under attack"]
    refused = None
    if plan.rejects:
        clean = model.respond(evidence.data.x)
        refused = Rate.of(int((clean.flagged | clean.abstained).sum()), len(evidence.data))
    return DefenceRecord(
        names=plan.names,
        naive=None if naive is None else Rate.of(int(naive.robust.sum()), tally.n),
        naive_attack=None if naive is None else naive.job.name,
        adaptive=tuple(told),
        refused=refused,
        false_alarms=plan.false_alarms if plan.detectors else None,
    )
