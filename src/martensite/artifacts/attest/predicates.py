"""What can be claimed of a model, and which role may claim it.

A claim about the model (its weights and input conventions) outlives a corrected card; one about the files does not outlive any
change of them. Each predicate has a JSON Schema in ``schemas/``, made from these classes.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from martensite.artifacts.moments import Moment
from martensite.artifacts.signing.keyring import Role
from martensite.core.config import Config
from martensite.evaluation.canary import Canary
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.report import CurvePoint, Environment, Rate
from martensite.threat import ThreatModel


class Serving(Config):
    """How a model computes when it serves; evidence measured in one configuration says nothing about another.

    Attributes:
        dtype: Of the computation.
        preprocessing: Digest of preprocess.json, or ``"none"``.
        defences: Around the model, in order.
        quantisation: Its scheme, or ``"none"``.
    """

    dtype: str
    preprocessing: str = "none"
    defences: tuple[str, ...] = ()
    quantisation: str = "none"


class DataDigest(Config):
    """Which samples."""

    name: str
    split: str
    n: NonNegativeInt
    digest: str


class Predicate(Config):
    """Base: a claim, and when it was made by the claimant's own clock."""

    role: ClassVar[Role]
    also: ClassVar[tuple[Role, ...]] = ()
    about: ClassVar[Literal["model", "files"]] = "model"

    created: Moment

    @classmethod
    def uri(cls) -> str:
        """The in-toto predicate type."""
        return f"https://martensite/{cls.__name__.lower()}/v1"


class Suite(Config):
    """The attacks that ran; ``digest`` is over their configurations, in order."""

    name: str
    digest: str


class Harness(Config):
    """The code that attacked; ``digest`` is over its source files, None where the report is another version's."""

    version: str
    digest: str | None


class AttackFigure(Config):
    """One attack of the suite."""

    name: str
    robust_accuracy: Rate
    errors: int


class Robustness(Predicate):
    """Accuracy under attack, with all that the figure depends on.

    Attributes:
        report: SHA-256 of the report it is taken from.
        n: Samples.
        seeds: Of everything random.
        left_out: Attacks of the suite that did not fit.
        canaries: How the suite did on models with known answers; empty: none was run.
        diagnostics: What the self-checks found.
        warnings: What bears on trust.
        errors: Faults of the harness; any at all makes it no evidence.
        unattacked: Samples that could not be attacked.
    """

    role = "evaluator"

    report: str
    threat: ThreatModel
    access: str
    data: DataDigest
    suite: Suite
    harness: Harness
    n: PositiveInt
    seeds: tuple[int, ...]
    clean_accuracy: Rate
    robust_accuracy: Rate
    attacks: tuple[AttackFigure, ...]
    left_out: tuple[str, ...] = ()
    canaries: tuple[Canary, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    unattacked: NonNegativeInt = 0
    serving: Serving


class Certification(Predicate):
    """Certified accuracy over radii."""

    role = "evaluator"

    report: str
    method: dict[str, Any]
    norm: str
    data: DataDigest
    n: PositiveInt
    seeds: tuple[int, ...]
    accuracy: Rate
    certified: tuple[CurvePoint, ...]
    abstained: NonNegativeInt
    serving: Serving


class Privacy(Predicate):
    """A differential-privacy guarantee of the training, (epsilon, delta), and how it was accounted for."""

    role = "evaluator"

    report: str
    epsilon: NonNegativeFloat
    delta: float = Field(ge=0.0, lt=1.0)
    unit: str = "sample"
    accountant: str


class Scan(Predicate):
    """No file of the bundle runs code when it is loaded, or which may.

    Attributes:
        scanner: Format of the report.
        files: SHA-256 (hex) of each file to the scanner's word.
        findings: One line each.
    """

    role = "evaluator"
    about = "files"

    report: str
    scanner: str
    files: dict[str, str]
    findings: tuple[str, ...] = ()


class Data(Predicate):
    """The data that the model was made from and judged with."""

    role = "release"

    data: tuple[DataDigest, ...] = Field(min_length=1)


class Material(Config):
    """Something that went into a build (SLSA: ResourceDescriptor)."""

    name: str
    digest: dict[str, str]


class Training(Predicate):
    """How the model was made: SLSA Provenance v1's buildDefinition and runDetails, in one level.

    Attributes:
        build: Which procedure.
        parameters: Objective and settings (externalParameters).
        materials: Data, code, base model (resolvedDependencies).
        environment: Versions.
        ledger: What it cost and gave.
    """

    role = "release"

    report: str
    build: str
    parameters: dict[str, Any]
    materials: tuple[Material, ...]
    environment: Environment
    ledger: dict[str, Any]


class Bom(Predicate):
    """A CycloneDX bill of materials, whole."""

    role = "release"
    about = "files"

    bom: dict[str, Any]


class Release(Predicate):
    """This is the model of that name in that version; whoever signs it asks for the release."""

    role = "release"
    about = "files"

    name: str = Field(min_length=1)
    version: NonNegativeInt


class Approval(Predicate):
    """A person has looked at it and says yes.

    Attributes:
        reason: What that rests on.
        resumes: SHA-256 of each claim of a suspension that it ends. They are named because two clocks may differ: an approval
            must not end a suspension that its maker didn't know of.
    """

    role = "approver"
    about = "files"

    reason: str = Field(min_length=1)
    resumes: tuple[str, ...] = ()


class Suspension(Predicate):
    """The model must not serve until an approval ends this: an alarm rang, or a person says no.

    Attributes:
        reason: Why.
        alert: Which alert, and since when; ``""``: none.
    """

    role = "monitor"
    also = ("approver",)

    reason: str = Field(min_length=1)
    alert: str = ""


class GateCheck(Config):
    """One rule of the policy."""

    rule: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reason: str


class Verdict(Predicate):
    """What a gate decided, in the manner of in-toto's Simple Verification Result.

    Attributes:
        verifier: Program and version.
        policy: Name and SHA-256 of the policy.
        claims: SHA-256 of each claim that counted.
        serving: What it was decided for.
    """

    role = "gate"
    about = "files"

    verifier: str
    policy: dict[str, str]
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    checks: tuple[GateCheck, ...]
    claims: tuple[str, ...]
    serving: Serving


KINDS: dict[str, type[Predicate]] = {
    cls.__name__.lower(): cls
    for cls in (Robustness, Certification, Privacy, Scan, Data, Training, Bom, Release, Approval, Suspension, Verdict)
}
BY_URI = {cls.uri(): kind for kind, cls in KINDS.items()}
