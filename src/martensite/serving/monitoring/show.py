"""From figures that grow to a record that stays."""

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from martensite.serving.monitoring.figures import LATENCIES, ModelFigures, VersionFigures
from martensite.serving.monitoring.snapshot import Alarms, Drift, Evidence, Flagged, Model, Snapshot, Traffic, Version
from martensite.serving.monitoring.standing import LOADING, stand
from martensite.serving.monitoring.tally import joined

if TYPE_CHECKING:
    from martensite.serving.monitoring.live import Live

ROUTES = ("primary", "canary", "shadow")
MINUTE = 60.0


def show(live: "Live", moment: float) -> Snapshot:
    """The record of this moment; the caller holds the lock."""
    everything = list(live.models.values())
    return Snapshot(
        time=moment,
        started=live.started,
        traffic=_traffic(everything, moment),
        models=tuple(_model(one, live, moment) for one in everything if one.name),
        alerts=tuple(live.alerts),
        audit_lost=live.audit_lost(),
    )


def _traffic(models: list[ModelFigures], moment: float) -> Traffic:
    requests: dict[str, int] = {}
    for model in models:
        for status, n in model.requests.items():
            requests[status] = requests.get(status, 0) + n
    sums = [sum(column) for column in zip(*(model.lately.sums(moment) for model in models), strict=True)]
    span = models[0].lately.span(moment)
    recent = joined([tally for model in models for began, tally in model.recent if moment - began < MINUTE], LATENCIES)
    each = np.sum([model.lately.seconds(moment)[:, :2] for model in models], axis=0)
    hour = np.sum([model.hour.seconds(moment) for model in models], axis=0)
    minute = int(moment) // 60
    slow = [joined([one for model in models for at, one in model.minutes if at == minute - 59 + i], LATENCIES) for i in range(60)]
    return Traffic(
        requests=dict(sorted(requests.items())),
        samples=sum(model.samples for model in models),
        requests_per_second=sums[0] / span,
        errors_per_second=sums[1] / span,
        samples_per_second=sums[2] / span,
        p50=recent.quantile(0.5),
        p99=recent.quantile(0.99),
        batch=sums[4] / sums[3] if sums[3] else None,
        queued=sum(version.queued for model in models for version in model.versions.values() if version.route != "shadow"),
        history=_whole(each[:, 0]),
        errors_history=_whole(each[:, 1]),
        hour=_whole(hour[:, 0]),
        errors_hour=_whole(hour[:, 1]),
        p99_hour=tuple(one.quantile(0.99) for one in slow),
    )


def _model(model: ModelFigures, live: "Live", moment: float) -> Model:
    primary = model.versions.get("primary")
    ready = primary is not None and primary.state == "serving"
    reason = "" if ready else model.trouble or (primary.reason if primary is not None else LOADING)
    versions = tuple(_version(model.versions[one], model, moment) for one in ROUTES if one in model.versions)
    return Model(
        name=model.name,
        ready=ready,
        reason=reason,
        standing=stand(model.name, reason, versions, tuple(live.alerts), live.audit_lost(), moment, model.refused),
        traffic=_traffic([model], moment),
        versions=versions,
    )


def _version(version: VersionFigures, model: ModelFigures, moment: float) -> Version:
    samples, flagged, confidence = version.lately.sums(moment)
    manifest = version.loaded.manifest if version.loaded is not None else None
    names = () if manifest is None else manifest.class_names or tuple(str(one) for one in range(manifest.classes))
    return Version(
        version=version.version,
        digest=version.digest,
        route=version.route,
        state=version.state,
        since=version.since,
        evidence=evidence_of(version),
        alarms=Alarms(
            detects=version.detects,
            flagged=version.flagged,
            decisions=dict(sorted(version.decisions.items())),
            share=flagged / samples if samples else None,
            flagged_history=_whole(version.lately.seconds(moment)[:, 1]),
            flagged_hour=_whole(version.hour.seconds(moment)[:, 0]),
            suspicious=model.suspicious,
        ),
        drift=_drift(version),
        classes=names,
        predictions=tuple(version.predictions.tolist()),
        confidence=confidence / samples if samples else None,
        flagged=tuple(
            Flagged(
                time=one.time,
                id=one.id,
                row=one.row,
                key=one.key,
                prediction=one.prediction,
                confidence=one.confidence,
                p_value=one.p_value,
                score=one.score,
                decision=one.decision,
                picture=one.picture,
            )
            for one in reversed(version.caught)
        ),
    )


def _whole(sums: npt.NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(int(one) for one in sums)


def _drift(version: VersionFigures) -> Drift:
    known = version.loaded is not None and version.loaded.reference is not None
    reason = "the settings say no" if known else "the bundle holds no reference statistics: martensite reference"
    drift = version.watch.show() if version.watch is not None else Drift(reason=reason)
    accuracy, low, high = version.accuracy.latest or (None, None, None)
    labelled = {"labelled": version.accuracy.n, "accuracy": accuracy, "accuracy_low": low, "accuracy_high": high}
    return drift.model_copy(update=labelled)


def evidence_of(version: VersionFigures) -> Evidence:
    """By what it may serve, as it was judged last."""
    record = version.loaded.record if version.loaded is not None else {}
    if not record:
        return Evidence(reason=version.reason)
    checks = tuple((str(one["rule"]), str(one["verdict"]), str(one["reason"])) for one in record["checks"])
    dates = version.loaded.dates.values() if version.loaded is not None else ()
    return Evidence(
        verdict=record["verdict"],
        reason=version.reason,
        policy=record["policy"]["name"],
        judged=datetime.fromisoformat(record["created"]).timestamp(),
        oldest=min(dates, default=None),
        checks=checks,
        suspended=any(rule == "suspension" and verdict != "PASS" for rule, verdict, _ in checks),
    )
