"""Windows and thresholds of the drift tests: the part ``monitoring.drift`` of serve.yaml."""

from pydantic import Field, PositiveInt

from martensite.core.config import Config


class DriftSettings(Config):
    """How drift is looked for.

    Args:
        false_alarms: Probability that any of a version's tests but CUSUM ever rings without drift, however long it serves; they
            share it equally.
        window: Samples a window of the tests of features and predictions.
        embedded_window: Samples a window of the test of embeddings.
        embedded_share: Of the samples that are looked at, those that are embedded: each costs a pass through the model.
        cusum_every: Samples that pass on average between two false alarms of CUSUM, at least, each stream by itself.
        budget: Share of the server's processor time that all of this may take; beyond it samples are passed over, whatever they
            are.
        waiting: Most samples that wait to be looked at.
    """

    false_alarms: float = Field(default=0.01, gt=0.0, lt=1.0)
    window: PositiveInt = Field(default=500, ge=50, le=100_000)
    embedded_window: PositiveInt = Field(default=100, ge=20, le=2000)
    embedded_share: float = Field(default=0.02, gt=0.0, le=1.0)
    cusum_every: float = Field(default=1e6, ge=1000.0)
    budget: float = Field(default=0.03, gt=0.0, le=1.0)
    waiting: PositiveInt = Field(default=1024, ge=64, le=1_000_000)
