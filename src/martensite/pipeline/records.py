"""What stages leave for later ones, beside the reports: a class a file."""

from martensite.core.config import Config
from martensite.evaluation.report import DataRecord


class Parts(Config):
    """data.json: the parts of the data."""

    train: DataRecord
    validation: DataRecord
    test: DataRecord


class Bundled(Config):
    """bundle.json: digest of the model in the bundle."""

    digest: str


class Timing(Config):
    """timing.json: wall time of a stage."""

    seconds: float
