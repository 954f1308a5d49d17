"""From the live figures to Prometheus, when it asks: nothing is counted twice, and a batch pays for nothing."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from martensite.serving.monitoring.catalogue import FAMILIES, Family
from martensite.serving.monitoring.figures import STAGES, ModelFigures, VersionFigures
from martensite.serving.monitoring.show import evidence_of
from martensite.serving.monitoring.tally import Tally

if TYPE_CHECKING:
    from martensite.serving.monitoring.live import Live

Value = float | Tally
Row = tuple[str, tuple[str, ...], Value]  # name of the family, labels, value
OTHERS = "others"  # classes beyond those that have a series of their own
NOBODY = "none"  # the model of a request to none that is known
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE", "NONE")


class LiveCollector(Collector):
    """Reads the figures off.

    Args:
        live: The figures.
    """

    def __init__(self, live: "Live") -> None:
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """All families, whether or not there is anything in them."""
        with self._live.lock:
            rows = list(self._rows())
        values: dict[str, list[tuple[tuple[str, ...], Value]]] = {one.name: [] for one in FAMILIES}
        for name, labels, value in rows:
            values[name].append((labels, value))
        for family in FAMILIES:
            yield _metric(family, values[family.name])

    def _rows(self) -> Iterator[Row]:
        live, moment = self._live, self._live.now()
        yield "martensite_start_time_seconds", (), live.started
        if (lost := live.audit_lost()) is not None:
            yield "martensite_audit_lost", (), lost
        yield "martensite_event_loop_lag_seconds", (), live.lag()
        if live.desk is not None:
            yield "martensite_drift_seconds", (), live.desk.spent
        for model in live.models.values():
            yield from _of_model(model)
            for version in model.versions.values():
                place = (model.name, version.route)
                yield from _of_version(place, version, live.settings.classes)
                yield from _of_evidence(place, version, moment)
                yield from _of_drift(place, version)


def _of_model(model: ModelFigures) -> Iterator[Row]:
    name = model.name or NOBODY
    for status, n in model.requests.items():
        yield "martensite_requests", (name, status), n
    if not model.name:
        return
    primary = model.versions.get("primary")
    yield "martensite_ready", (name,), float(primary is not None and primary.state == "serving")
    yield "martensite_request_seconds", (name,), model.latency
    yield "martensite_samples", (name,), model.samples
    yield "martensite_suspicious_requests", (name,), model.suspicious
    for state, n in model.loads.items():
        yield "martensite_loads", (name, state), n


def _of_version(place: tuple[str, str], version: VersionFigures, most: int) -> Iterator[Row]:
    yield "martensite_model", (*place, version.version, version.digest), 1.0
    for stage in STAGES:
        yield "martensite_stage_seconds", (*place, stage), version.stages[stage]
    yield "martensite_batch_size", place, version.sizes
    yield "martensite_queued_samples", place, version.queued
    yield "martensite_confidence", place, version.confidence
    names = version.loaded.manifest.class_names if version.loaded is not None else ()
    if len({*names, OTHERS}) <= len(names):  # two series of one name would make all of them unreadable
        names = ()
    for one, n in enumerate(version.predictions[:most]):
        yield "martensite_predictions", (*place, names[one] if names else str(one)), int(n)
    if len(version.predictions) > most:
        yield "martensite_predictions", (*place, OTHERS), int(version.predictions[most:].sum())
    for decision, n in version.decisions.items():
        yield "martensite_decisions", (*place, decision), n
    yield "martensite_labelled", place, version.accuracy.n
    yield "martensite_labelled_right", place, version.accuracy.right
    if (latest := version.accuracy.latest) is not None:
        yield "martensite_accuracy", place, latest[0]
    if version.detects:
        yield "martensite_detector_alarms", place, version.flagged
        yield "martensite_detector_samples", place, sum(version.decisions.values())
        yield "martensite_detector_p_value", place, version.p_value
        yield "martensite_detector_false_alarms", place, version.false_alarms


def _of_evidence(place: tuple[str, str], version: VersionFigures, moment: float) -> Iterator[Row]:
    evidence = evidence_of(version)
    for verdict in VERDICTS:
        yield "martensite_verdict", (*place, verdict), float(verdict == evidence.verdict)
    yield "martensite_suspended", place, float(evidence.suspended)
    for claim, made in (version.loaded.dates if version.loaded is not None else {}).items():
        yield "martensite_evidence_age_seconds", (*place, claim), max(moment - made, 0.0)


def _of_drift(place: tuple[str, str], version: VersionFigures) -> Iterator[Row]:
    if version.watch is None:
        return
    drift = version.watch.show()
    yield "martensite_drift_samples", place, drift.samples
    yield "martensite_drift_passed_over", place, version.passed_over
    if drift.expected is not None:
        yield "martensite_expected_accuracy", place, drift.expected
    for test in drift.tests:
        labels = (*place, test.name, test.about)
        yield "martensite_drift_alarm", labels, float(test.alarm)
        if test.statistic is not None:
            yield "martensite_drift_evidence", labels, test.statistic
        if test.threshold is not None:
            yield "martensite_drift_threshold", labels, test.threshold


def _metric(family: Family, values: Iterable[tuple[tuple[str, ...], Value]]) -> Metric:
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, tally in values:
            if isinstance(tally, Tally):
                histogram.add_metric(labels, _buckets(tally), tally.sum)
        return histogram
    cls = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = cls(family.name, family.help, labels=family.labels)
    for labels, value in values:
        metric.add_metric(labels, float(value))  # type: ignore[arg-type]
    return metric


def _buckets(tally: Tally) -> list[tuple[str, float]]:
    ends: list[str] = [*(format(bound, "g") for bound in tally.bounds), "+Inf"]
    return list(zip(ends, tally.counts.cumsum().astype(float).tolist(), strict=True))


def registry_of(live: "Live") -> CollectorRegistry:
    """A registry with these metrics and no others; nothing is registered anywhere else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LiveCollector(live))
    return registry
