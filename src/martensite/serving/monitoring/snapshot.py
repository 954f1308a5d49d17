"""What a server's monitors know at a moment: one plain record, for a page, a terminal or a file.

Moments are seconds since 1970; rates are per second over the last minute; shares lie in [0, 1]. None: not known (yet).
"""

import sys
from math import isnan
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from martensite.core.config import Config

State = Literal["serving", "refused", "out", "retired"]
Tone = Literal["pass", "fail", "inconclusive", ""]


def _finite(value: Any) -> Any:
    # JSON has neither: what is no number is not known, and what is beyond all numbers is the largest of them.
    if not isinstance(value, float):
        return value
    return None if isnan(value) else min(max(value, -sys.float_info.max), sys.float_info.max)


Number = Annotated[float | None, BeforeValidator(_finite)]


class Traffic(Config):
    """Requests since the server started, and lately.

    Attributes:
        requests: That came to an end, by HTTP status.
        samples: Answered.
        requests_per_second: Over the last minute.
        samples_per_second: Likewise.
        errors_per_second: Requests with a status of 400 or more, likewise.
        p50: Seconds from the head of a request to its answer, over the last minute: median.
        p99: Likewise.
        batch: Mean samples a batch, over the last minute.
        queued: Samples that waited when the last batch began.
        history: Requests in each of the last 60 seconds, oldest first.
        errors_history: Those of them with a status of 400 or more.
        hour: Requests in each of the last 60 minutes, oldest first, the present one included.
        errors_hour: Those of them with a status of 400 or more.
        p99_hour: Seconds from head to answer in each of these minutes; None: nothing was answered.
    """

    requests: dict[str, int] = Field(default_factory=dict)
    samples: int = 0
    requests_per_second: float = 0.0
    samples_per_second: float = 0.0
    errors_per_second: float = 0.0
    p50: float | None = None
    p99: float | None = None
    batch: float | None = None
    queued: int = 0
    history: tuple[int, ...] = ()
    errors_history: tuple[int, ...] = ()
    hour: tuple[int, ...] = ()
    errors_hour: tuple[int, ...] = ()
    p99_hour: tuple[float | None, ...] = ()


class Alarms(Config):
    """What detectors said.

    Attributes:
        detects: Detectors look at the inputs.
        flagged: Samples that rang an alarm, since the version came.
        decisions: Samples by what became of them, likewise.
        share: Of the samples of the last minute that rang one.
        flagged_history: Samples flagged in each of the last 60 seconds, oldest first.
        flagged_hour: In each of the last 60 minutes, likewise.
        suspicious: Requests whose near duplicates looked like an attack, since the server started.
    """

    detects: bool = False
    flagged: int = 0
    decisions: dict[str, int] = Field(default_factory=dict)
    share: float | None = None
    flagged_history: tuple[int, ...] = ()
    flagged_hour: tuple[int, ...] = ()
    suspicious: int = 0


class DriftTest(Config):
    """One drift test.

    Attributes:
        name: E.g. ``"ks"``, ``"mmd"``, ``"classes"``, ``"sequential"``, ``"cusum"``, ``"accuracy"``.
        about: What it looks at: features, embeddings, predictions, confidence, detectors, labels.
        statistic: Its latest value.
        threshold: From which it rings.
        p_value: Where the test has one.
        alarm: It has rung; it stays so until the version is loaded anew.
        since: When it rang.
        detail: Which feature or class, in a few words.
        history: Statistic over threshold of the last 60 windows, oldest first: 1 is where it rings.
    """

    name: str
    about: str
    statistic: Number = None
    threshold: Number = None
    p_value: Number = None
    alarm: bool = False
    since: float | None = None
    detail: str = ""
    history: tuple[Number, ...] = ()


class Drift(Config):
    """Drift from the reference statistics.

    Attributes:
        watched: The bundle holds reference statistics; else nothing can be said.
        reason: Why nothing is watched.
        samples: That were looked at.
        alarm: Some test has rung.
        tests: All of them.
        labelled: Samples whose label came later.
        accuracy: On the latest of these.
        accuracy_low: 95 % interval.
        accuracy_high: Likewise.
        expected: Accuracy on the reference data.
    """

    watched: bool = False
    reason: str = ""
    samples: int = 0
    alarm: bool = False
    tests: tuple[DriftTest, ...] = ()
    labelled: int = 0
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    expected: float | None = None


class Flagged(Config):
    """An input that rang an alarm.

    Attributes:
        time: When.
        id: Of the request.
        row: In the request.
        key: Name of the API key.
        prediction: Class.
        confidence: Of it.
        p_value: Of the detectors.
        score: Of the loudest.
        decision: What became of it.
        picture: PNG as a data URI; ``""``: it is no picture, or inputs are not kept.
    """

    time: float
    id: str
    row: int
    key: str
    prediction: int
    confidence: Number
    p_value: Number
    score: Number
    decision: str
    picture: str = ""


class Evidence(Config):
    """By what a version may serve.

    Attributes:
        verdict: The gate's, or ``"NONE"``: none was asked for.
        reason: Why it isn't serving.
        policy: Name.
        judged: When.
        oldest: When the oldest claim that counted was made; what gives the evidence its age.
        checks: Rule, verdict and reason of each.
        suspended: Some claim suspends it.
    """

    verdict: str = "NONE"
    reason: str = ""
    policy: str = ""
    judged: float | None = None
    oldest: float | None = None
    checks: tuple[tuple[str, str, str], ...] = ()
    suspended: bool = False


class Version(Config):
    """A version of a model.

    Attributes:
        version: Of the bundle.
        digest: Of the model.
        route: ``primary``, ``canary`` or ``shadow``.
        state: Of the last change.
        since: When it came to that.
        classes: Names, or numbers.
        predictions: Samples per class, since it came.
        confidence: Mean of the last minute.
    """

    version: str
    digest: str
    route: str
    state: State
    since: float
    evidence: Evidence = Field(default_factory=Evidence)
    alarms: Alarms = Field(default_factory=Alarms)
    drift: Drift = Field(default_factory=Drift)
    classes: tuple[str, ...] = ()
    predictions: tuple[int, ...] = ()
    confidence: Number = None
    flagged: tuple[Flagged, ...] = ()


class Reason(Config):
    """A line of how a model stands.

    Attributes:
        mark: In a word, in capitals.
        tone: Good, bad, doubtful, or none of them.
        title: What it is about.
        text: In a sentence.
    """

    mark: str
    tone: Tone
    title: str
    text: str


class Standing(Config):
    """How a model stands.

    Attributes:
        word: ``Serving``, ``Alarm``, ``Taken out``, ``Refused`` or ``Loading``.
        tone: Good, bad or doubtful.
        lead: In a sentence.
        reasons: Evidence, alerts that fire, drift, detectors and so on.
    """

    word: str
    tone: Tone
    lead: str
    reasons: tuple[Reason, ...] = ()


class Model(Config):
    """A model by its name.

    Attributes:
        name: In URLs.
        ready: It may be asked.
        reason: Why not.
        standing: How it stands, in words.
        traffic: Of all its versions.
        versions: Primary first; those retired are left out.
    """

    name: str
    ready: bool
    reason: str = ""
    standing: Standing
    traffic: Traffic = Field(default_factory=Traffic)
    versions: tuple[Version, ...] = ()


class Alert(Config):
    """An alert that reached the server's webhook.

    Attributes:
        time: When.
        name: Of the alert.
        status: ``firing`` or ``resolved``.
        model: That it is about; ``""``: none.
        severity: Its label.
        summary: In a line.
        outcome: What followed from it.
    """

    time: float
    name: str
    status: str
    model: str = ""
    severity: str = ""
    summary: str = ""
    outcome: str = ""


class Snapshot(Config):
    """All of it.

    Attributes:
        time: Of the snapshot.
        started: When the server started.
        traffic: Of all models, and of requests to none.
        models: In order of their names.
        alerts: The latest that came, the newest first.
        audit_lost: Records that the audit log lost; None: there is no audit log.
    """

    time: float
    started: float
    traffic: Traffic
    models: tuple[Model, ...]
    alerts: tuple[Alert, ...] = ()
    audit_lost: int | None = None
