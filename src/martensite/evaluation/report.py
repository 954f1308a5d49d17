"""The typed reports: what was measured, on what, with what, and how far it can be trusted.

Everything under a key ``timing`` depends on the machine; everything else is the same for the same seed.
"""

from typing import Any, Literal

from pydantic import Field, model_validator

from martensite.certification import CertificateRecord
from martensite.core.config import Config
from martensite.evaluation.anytime import Decision
from martensite.evaluation.attack_row import AttackRow as AttackRow
from martensite.evaluation.calibration import Calibration
from martensite.evaluation.canary import Canary
from martensite.evaluation.classes import ClassRow
from martensite.evaluation.clever import CleverSummary
from martensite.evaluation.corruption import CorruptionError
from martensite.evaluation.defence_record import DefenceRecord
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.distances import DistanceSummary, NormRow
from martensite.evaluation.document import Report as Report
from martensite.evaluation.document import upgraded
from martensite.evaluation.provenance import DataRecord as DataRecord
from martensite.evaluation.provenance import Environment as Environment
from martensite.evaluation.rate import CurvePoint as CurvePoint
from martensite.evaluation.rate import Rate as Rate
from martensite.evaluation.surrogate import SurrogateRecord
from martensite.evaluation.traces import LossTrace
from martensite.evaluation.transferability import TransferMatrix
from martensite.evaluation.variation import Variation
from martensite.threat import ThreatModel

Outcome = Literal["robust", "broken", "misclassified", "error"]


class RobustnessReport(Report):
    """One model, one dataset, one threat model, one suite of attacks.

    Version 2 of the schema added fields, all with defaults; a report of version 1 is read as one of version 2 without them.

    Attributes:
        model_digest: Of weights and input conventions.
        suite_digest: Of the suite as it was run, attacks and their parameters; None in reports of older versions.
        clean_accuracy: Without an attack.
        robust_accuracy: Worst case over the attacks, sample by sample.
        attacks: One row an attack, in the order they ran.
        curve: Security curve: accuracy over eps.
        outcomes: One a sample, in the order of the data.
        broken_by: For each sample the first attack that broke it; None if none did.
        distances: For each sample the distance of the nearest adversarial that any attack found, within eps or beyond it; 0 if it
            was misclassified from the start, None if none was found. Empty in reports of older versions.
        access: What the adversary was taken to see of the model. Figures for a model that was only queried say nothing about an
            adversary who has its weights.
        left_out: Attacks of the suite that did not fit this model or threat model, and why.
        canaries: How the suite did on built-in models with known answers.
        classes: Accuracy class by class. Empty in reports of older versions.
        minimal: Distances of the nearest adversarials; None in reports of older versions.
        calibration: How far confidence is from accuracy; None for a model that gives labels only, or hides its logits.
        traces: Loss over steps of the searches by projected ascent. Empty in reports of older versions.
        surrogates: Models that adversarials were made on to be judged on this one.
        transfer: How far adversarials made on this model and on the surrogates break one another.
        corruption: Errors on corrupted images, where the suite asks for them.
        clever: CLEVER scores of a few samples, where the suite asks for them.
        norms: Distances and curves in every norm that the suite names, by a search for the nearest.
        variation: Robust accuracy over several seeds of the attacks, where several were run.
        defence: What stands around the model, with the naive figure beside the honest one; None: nothing does.
        decision: Where the run was to stop as soon as it is sure whether robust accuracy is at least so much.
        diagnostics: What the self-checks found; while one of severity ``"invalid"`` stands, the figures decide nothing.
        warnings: What bears on trust.
        errors: Faults of the harness itself, such as candidates that the verifier refused; any at all makes it no evidence.
        command: What to type to measure it again; empty where it was measured from Python.
        timing: Seconds by attack, of the clean inputs (``"clean"``), and in all; differs from run to run.
    """

    schema_version: Literal[2] = 2
    model_digest: str
    data: DataRecord
    threat: ThreatModel
    suite: str
    suite_digest: str | None = None
    seed: int
    clean_accuracy: Rate
    robust_accuracy: Rate
    attacks: tuple[AttackRow, ...]
    curve: tuple[CurvePoint, ...]
    outcomes: tuple[Outcome, ...]
    broken_by: tuple[str | None, ...]
    distances: tuple[float | None, ...] = ()
    access: Literal["gradients", "scores", "decisions"] = "gradients"
    left_out: tuple[str, ...] = ()
    canaries: tuple[Canary, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    minimal: DistanceSummary | None = None
    calibration: Calibration | None = None
    traces: tuple[LossTrace, ...] = ()
    surrogates: tuple[SurrogateRecord, ...] = ()
    transfer: TransferMatrix | None = None
    corruption: CorruptionError | None = None
    clever: CleverSummary | None = None
    norms: tuple[NormRow, ...] = ()
    variation: Variation | None = None
    defence: DefenceRecord | None = None
    decision: Decision | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    command: str = ""
    environment: Environment
    timing: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_any_version(cls, document: Any) -> Any:
        return upgraded(document, cls.__name__, 2)

    @property
    def invalid(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that stand against any verdict."""
        return tuple(one for one in self.diagnostics if one.severity == "invalid")

    @property
    def decided(self) -> Decision | None:
        """The decision as it stands: INCONCLUSIVE while there is an invalid finding or a fault, whatever the samples say."""
        return None if self.decision is None else self.decision.doubted(bool(self.invalid or self.errors))


class CertificationReport(Report):
    """Certificates of a set of samples.

    Attributes:
        method: The certifier's configuration.
        norm: Of the radii.
        certified: For each radius of a grid, the share of samples certified at it with the right class.
        abstained: Samples without a certificate.
        radius: One a sample; 0 where it abstained or predicted wrongly.
        average_radius: Their mean; a few easy samples outweigh many in it (see `Certificates`).
        agreement: One a sample: share of the noisy copies that voted for the guessed class, an estimate of p_A.
        margins: One a sample, of methods that bound them: least lead of the predicted class over the ball.
        record: What the certificates rest on.
    """

    schema_version: Literal[1] = 1
    model_digest: str
    data: DataRecord
    method: dict[str, Any]
    norm: str
    seed: int
    accuracy: Rate
    certified: tuple[CurvePoint, ...]
    abstained: int
    samples: int
    radius: tuple[float, ...]
    average_radius: float = 0.0
    agreement: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()
    record: CertificateRecord | None = None
    environment: Environment
    timing: dict[str, float] = Field(default_factory=dict)


class Check(Config):
    """One requirement of a gate and how it came out.

    Attributes:
        name: E.g. ``"min_robust_accuracy"``.
        verdict: PASS if the whole interval satisfies the threshold, FAIL if none of it does, INCONCLUSIVE else.
        reason: In plain words, with the figures.
    """

    name: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reason: str


class Verdict(Report):
    """What a gate decided: FAIL if any check fails, else INCONCLUSIVE if any is, else PASS."""

    schema_version: Literal[1] = 1
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 FAIL, 3 INCONCLUSIVE."""
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[self.verdict]


class TrainingRecord(Config):
    """How a model came to be: what the cost ledger of a training run holds."""

    objective: dict[str, Any]
    settings: dict[str, Any]
    epochs: int
    best_epoch: int
    clean_validation: float
    robust_validation: float | None
    forwards: int
    backwards: int
    standard_epochs: float | None = Field(default=None, description="all passes, in those of one standard epoch")
    recoveries: tuple[str, ...] = Field(default=(), description="what guards did, a line each")
    verdict: str = Field(default="completed", description="or why a guard ended the training early")


class RunReport(Report):
    """A whole pipeline run: baseline, hardened model, how adversarials pass between them, certificates, verdict."""

    schema_version: Literal[1] = 1
    name: str
    seed: int
    pipeline: dict[str, Any]
    threat: ThreatModel
    data: tuple[DataRecord, ...]
    baseline_training: TrainingRecord
    hardened_training: TrainingRecord
    baseline: RobustnessReport
    hardened: RobustnessReport
    certification: CertificationReport
    transfer: TransferMatrix | None = None
    verdict: Verdict
    bundle: str
    environment: Environment
    timing: dict[str, float] = Field(default_factory=dict)
