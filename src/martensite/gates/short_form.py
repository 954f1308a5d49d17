"""Policies in short form: what evidence a model needs, as YAML, compiled to Rego.

require:
  robustness: {max_age_days: 90, norm: linf, min_eps: 8/255, min_robust_accuracy: 0.5}
  approval: {people: 2}
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from martensite.artifacts.moments import Moment
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.gates.rego import literal
from martensite.threat import Norm

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
LONGEST = 24.0 * 31  # hours for which a digest may be reused
UNWAIVABLE = ("signature", "bundle", "version", "suspension", "policy")


class Evidence(Config):
    """A claim of some kind must be there, and be no older than so many days."""

    max_age_days: PositiveFloat | None = None

    def demands(self) -> tuple[str, ...]:
        """The settings that must each have an answer of their own where the claim is there."""
        quiet = {"max_age_days", "radius", "people", "allow", "monotonic"}
        return tuple(name for name in type(self).model_fields if name not in quiet and getattr(self, name) is not None)


class Robustness(Evidence):
    """Accuracy under attack; the whole interval has to clear a threshold."""

    min_clean_accuracy: Fraction | None = None
    min_robust_accuracy: Fraction | None = None
    min_samples: PositiveInt | None = None
    norm: Norm | None = None
    min_eps: PositiveFloat | None = None
    suites: tuple[str, ...] | None = None
    min_canaries: PositiveInt | None = None


class Certification(Evidence):
    """Certified accuracy at a radius."""

    radius: NonNegativeFloat | None = None
    min_certified_accuracy: Fraction | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.radius is None) != (self.min_certified_accuracy is None):
            raise ConfigError(
                "certification has one of radius and min_certified_accuracy", "an accuracy is certified at a radius", "give both"
            )
        return self


class Privacy(Evidence):
    """Differential privacy of the training."""

    max_epsilon: NonNegativeFloat | None = None
    max_delta: NonNegativeFloat | None = None


class Scan(Evidence):
    """What the scanner may say of a file."""

    allow: tuple[Literal["clean", "unjudged", "suspicious"], ...] = ("clean",)


class Release(Evidence):
    """A release of a name and version; monotonic: with a record of earlier versions, against replay."""

    monotonic: bool = False


class Approval(Evidence):
    """So many people, none of whom asked for the release."""

    people: PositiveInt = 1


class Audit(Evidence):
    """The gate's very decision is recorded in an audit log."""


class Require(Config):
    """What must be there; what is left out is not asked for."""

    robustness: Robustness | None = None
    certification: Certification | None = None
    privacy: Privacy | None = None
    scan: Scan | None = None
    training: Evidence | None = None
    data: Evidence | None = None
    bom: Evidence | None = None
    release: Release | None = None
    approval: Approval | None = None
    audit: Audit | None = None


class Waiver(Config):
    """A rule that need not hold, on someone's responsibility, for a time.

    Attributes:
        rule: E.g. ``"robustness.min_robust_accuracy"``.
        owner: Who answers for it.
        reason: Why.
        expires: From then on it counts for nothing.
        model: Digest of the one model that it is for, in hex; None: any.
    """

    rule: str
    owner: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    expires: Moment
    model: str | None = None

    @model_validator(mode="after")
    def _waivable(self) -> Self:
        if self.rule in UNWAIVABLE:
            raise ConfigError(f"a waiver is for the rule {self.rule!r}", "this rule always holds", "leave the waiver out")
        return self


class Verification(Config):
    """How the gate may verify.

    Attributes:
        reuse_hours: Files whose inode, size and times didn't change since they were read need not be read again for so long.
            None: every file is read each time.
    """

    reuse_hours: float | None = Field(default=None, gt=0.0, le=LONGEST)


class ShortForm(Config):
    """A policy as YAML."""

    require: Require
    verification: Verification = Verification()
    waivers: tuple[Waiver, ...] = ()

    def rego(self) -> str:
        """The same as a module in Rego."""
        lines = ["package martensite.policy", "", "import data.martensite.evidence", "import rego.v1", ""]
        for kind, wanted in self.wanted().items():
            settings = literal(wanted.model_dump(mode="json", exclude_none=True))
            own = kind not in ("training", "data", "bom")
            call = f"evidence.{kind}({settings})" if own else f'evidence.claimed("{kind}", {settings})'
            lines.append(f"checks contains one if some one in {call}")
        if self.verification.reuse_hours is not None:
            lines += ["", f"verification := {literal(self.verification.model_dump())}"]
        return "\n".join(lines) + "\n"

    def wanted(self) -> dict[str, Evidence]:
        """Kind of claim to what is wanted of it.

        Raises:
            ConfigError: nothing is.
        """
        found = {name: one for name in Require.model_fields if (one := getattr(self.require, name)) is not None}
        if not found:
            raise ConfigError("the policy requires nothing", "what asks for nothing decides nothing", "e.g. require: {scan: {}}")
        return found
