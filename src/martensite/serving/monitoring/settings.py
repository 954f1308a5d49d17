"""What is watched, and what follows from it: the part ``monitoring`` of serve.yaml."""

from pydantic import Field, NonNegativeInt, PositiveInt

from martensite.core.config import Config
from martensite.serving.monitoring.drift.settings import DriftSettings
from martensite.serving.monitoring.suspend import Suspend


class Metrics(Config):
    """Where Prometheus finds the metrics.

    Args:
        port: A port of their own, for which no API key is asked; None: ``/metrics`` of the server, for keys of the scope
            ``monitor``.
        host: Address of that port.
    """

    port: int | None = Field(default=None, ge=0, le=65535)
    host: str = "127.0.0.1"


class Monitoring(Config):
    """What a server watches.

    Args:
        metrics: For Prometheus.
        flagged: Flagged inputs that are remembered, the latest, in memory only.
        pictures: The inputs themselves are among what is remembered of them.
        classes: Most classes that have a metric of their own; the others are counted together.
        drift: How drift is looked for, where the bundle holds reference statistics; None: it isn't.
        suspend: Alerts that suspend a model's approval; None: no alert does.
        remembered: Samples whose predictions are remembered for labels that come later.
    """

    metrics: Metrics = Field(default_factory=Metrics)
    flagged: NonNegativeInt = Field(default=24, le=1000)
    pictures: bool = True
    classes: PositiveInt = Field(default=100, le=10_000)
    drift: DriftSettings | None = Field(default_factory=DriftSettings)
    suspend: Suspend | None = None
    remembered: NonNegativeInt = Field(default=100_000, le=10_000_000)
