"""Every metric that a server exports: the collector fills them in, the dashboard has a panel for each."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Family:
    """A metric.

    Attributes:
        name: Without ``_total``.
        kind: Of Prometheus.
        help: What it is.
        labels: Each of few values: models and routes are configured, the others are words of this program, or classes, whose
            number is bounded.
        unit: Of Grafana.
        group: Row of the dashboard.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    unit: str = "short"
    group: str = "Traffic"


VERSION = ("model", "route")
TEST = (*VERSION, "test", "about")

FAMILIES = (
    Family("martensite_requests", "counter", "Requests that came to an end.", ("model", "status"), "reqps"),
    Family("martensite_request_seconds", "histogram", "From the head of a request to its answer.", ("model",), "s"),
    Family("martensite_samples", "counter", "Samples answered.", ("model",), "short"),
    Family("martensite_suspicious_requests", "counter", "Requests among near duplicates of one another.", ("model",)),
    Family("martensite_stage_seconds", "histogram", "Waiting for a batch, and computing it.", (*VERSION, "stage"), "s"),
    Family("martensite_batch_size", "histogram", "Samples computed together.", VERSION),
    Family("martensite_queued_samples", "gauge", "Samples that waited when the last batch began.", VERSION),
    Family("martensite_event_loop_lag_seconds", "gauge", "How long what has come waits to be read.", (), "s"),
    Family("martensite_predictions", "counter", "Samples by predicted class.", (*VERSION, "class"), group="Model"),
    Family("martensite_confidence", "histogram", "Softmax probability of the predicted class.", VERSION, "percentunit", "Model"),
    Family("martensite_decisions", "counter", "Samples by what became of them.", (*VERSION, "decision"), group="Model"),
    Family("martensite_labelled", "counter", "Samples whose label came later.", VERSION, group="Model"),
    Family("martensite_labelled_right", "counter", "Those of them that were answered rightly.", VERSION, group="Model"),
    Family("martensite_accuracy", "gauge", "On the latest labelled samples.", VERSION, "percentunit", "Model"),
    Family("martensite_expected_accuracy", "gauge", "On the reference data.", VERSION, "percentunit", "Model"),
    Family("martensite_detector_alarms", "counter", "Samples on which a detector rang.", VERSION, group="Detectors"),
    Family("martensite_detector_samples", "counter", "Samples that detectors looked at.", VERSION, group="Detectors"),
    Family("martensite_detector_false_alarms", "gauge", "The rate of false alarms that the detectors are calibrated to.", VERSION,
           "percentunit", "Detectors"),
    Family("martensite_detector_p_value", "histogram", "p-value of all detectors together.", VERSION, group="Detectors"),
    Family("martensite_drift_evidence", "gauge", "Decades of evidence for a drift: -log10 p, or log10 of a capital.", TEST,
           group="Drift"),
    Family("martensite_drift_threshold", "gauge", "Decades from which the test rings.", TEST, group="Drift"),
    Family("martensite_drift_alarm", "gauge", "1 once the test has rung, until the version is loaded anew.", TEST, group="Drift"),
    Family("martensite_drift_samples", "counter", "Samples that the drift tests looked at.", VERSION, group="Drift"),
    Family("martensite_drift_passed_over", "counter", "Samples that they had no time for.", VERSION, group="Drift"),
    Family("martensite_drift_seconds", "counter", "Processor time that they took.", (), "s", "Drift"),
    Family("martensite_ready", "gauge", "1 if the model may be asked.", ("model",), group="Evidence"),
    Family("martensite_verdict", "gauge", "1 for what the gate says of the version.", (*VERSION, "verdict"), group="Evidence"),
    Family("martensite_suspended", "gauge", "1 if a claim suspends the version.", VERSION, group="Evidence"),
    Family("martensite_evidence_age_seconds", "gauge", "Age of the newest claim of a kind that counts.", (*VERSION, "claim"), "s",
           "Evidence"),
    Family("martensite_model", "gauge", "1; the labels say what serves.", (*VERSION, "version", "digest"), group="Evidence"),
    Family("martensite_loads", "counter", "Changes of versions by what came of them.", ("model", "state"), group="Evidence"),
    Family("martensite_audit_lost", "counter", "Records that the audit log lost.", (), group="Evidence"),
    Family("martensite_start_time_seconds", "gauge", "When the server started, in seconds since 1970.", (), "dateTimeAsIso",
           "Evidence"),
)  # fmt: skip
BY_NAME = {one.name: one for one in FAMILIES}
