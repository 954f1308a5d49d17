"""What stages leave for later ones, beside the reports: a class a file."""

from martensite.core.config import Config
from martensite.evaluation.report import DataRecord
from martensite.evaluation.transferability import TransferMatrix


class Parts(Config):
    """data.json: the parts of the data."""

    train: DataRecord
    validation: DataRecord
    test: DataRecord


class Transferred(Config):
    """transfer.json: how far adversarials of each model break the other; None: nothing searches in this norm."""

    matrix: TransferMatrix | None


class Bundled(Config):
    """bundle.json: digest of the model in the bundle."""

    digest: str


class Timing(Config):
    """timing.json: wall time of a stage."""

    seconds: float
