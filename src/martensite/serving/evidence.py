"""The evidence that a served bundle needs, judged before it is loaded and again while it serves."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, PositiveFloat, field_validator

from martensite.artifacts.moments import now
from martensite.core.config import Config, load_yaml
from martensite.core.errors import ConfigError
from martensite.serving.sealed import Sealed


class Evidence(Config):
    """What is asked of a bundle before it may serve.

    Args:
        policy: default, strict, research, FILE.yaml or FILE.rego.
        trust: trust.yaml; None: the keys of your own keyring.
        claims: None: BUNDLE.claims.jsonl.
        signature: None: BUNDLE.sig.
        versions: Record of the versions that passed, against replay; None: none is kept.
        waivers: A YAML list.
        recheck: Seconds after which everything is judged anew; a change of one of these files is noticed within two seconds.
    """

    policy: str = "default"
    trust: Path | None = None
    claims: Path | None = None
    signature: Path | None = None
    versions: Path | None = None
    waivers: Path | None = None
    recheck: PositiveFloat = Field(default=60.0, le=86_400.0)

    @field_validator("trust", "claims", "signature", "versions", "waivers", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Case:
    """A bundle before its judge.

    Attributes:
        source: The folder as it was named.
        evidence: What is asked of it.
    """

    source: Path
    evidence: Evidence

    @property
    def signature(self) -> Path:
        """Where the signature is."""
        return self.evidence.signature or _beside(self.source, ".sig")

    @property
    def claims(self) -> Path:
        """Where the claims are."""
        return self.evidence.claims or _beside(self.source, ".claims.jsonl")

    @property
    def watched(self) -> tuple[Path, ...]:
        """Files whose change may change the verdict; the record of versions, if there is one, is the last."""
        given = (self.evidence.trust, self.evidence.waivers, Path(self.evidence.policy), self.evidence.versions)
        return (self.claims, *(one for one in given if one is not None))

    def subject(self, sealed: Sealed) -> Any:
        """The private copy, once every file of it is as a release key signed it; nothing of it is parsed before.

        Raises:
            MartensiteError: it isn't, or there is no trust or signature that can be read.
        """
        _installed()
        from martensite.artifacts.attest import Subject
        from martensite.artifacts.signing import verify_model

        sealed.take_signature(self.signature)
        signed = verify_model(sealed.bundle, whom_to_trust(self.evidence.trust), signature=sealed.signature)
        return Subject.of(sealed.bundle, signed.files)

    def judge(self, sealed: Sealed, subject: Any) -> Any:
        """The gate's verdict on what is in memory, by signature, claims, trust and policy as they are now.

        Args:
            sealed: The private copy; takes new claims in.
            subject: Of the copy.

        Raises:
            MartensiteError: no trust, policy or claims that can be read.
        """
        from martensite.gates.decide import decide
        from martensite.gates.policy import Policy
        from martensite.gates.versions import Versions

        sealed.take_claims(self.claims)
        evidence = self.evidence
        verdict = decide(
            sealed.bundle,
            Policy.load(evidence.policy),
            sealed.claims,
            whom_to_trust(evidence.trust),
            signature=sealed.signature,
            versions=Versions(evidence.versions) if evidence.versions is not None else None,
            waivers=_waivers(evidence.waivers),
            known=subject,
        )
        checks = tuple(check.model_copy(update={"reason": sealed.told(check.reason)}) for check in verdict.checks)
        return verdict.model_copy(update={"checks": checks})

    def dates(self, sealed: Sealed, subject: Any) -> dict[str, float]:
        """Kind of claim to when the newest that counts was made, in seconds since 1970: how old the evidence is."""
        from martensite.artifacts.attest import KINDS, acceptable, read_claims

        found = read_claims(sealed.claims, subject, whom_to_trust(self.evidence.trust), now())
        newest = {kind: acceptable(found, kind)[:1] for kind in KINDS}
        return {kind: one[0].predicate.created.timestamp() for kind, one in newest.items() if one and one[0].predicate}


def refused(verdict: Any) -> str:
    """Why a verdict isn't PASS, in a line; ``""`` if it is."""
    if verdict.verdict == "PASS":
        return ""
    wanting = "; ".join(f"{check.rule}: {check.reason}" for check in verdict.checks if check.verdict != "PASS")
    return f"{verdict.verdict}: {wanting}"


def whom_to_trust(path: Path | None) -> Any:
    """trust.yaml, or the keys of the user's own keyring, each with its role.

    Raises:
        ConfigError: neither.
    """
    _installed()
    from martensite.artifacts.signing import Keyring, Trust

    if path is not None:
        return Trust.from_yaml(path)
    ring = Keyring()
    trust = Trust()
    for name in ring.names():
        trust = trust.with_record(ring.record(name))
    if not trust.keys:
        raise ConfigError("nobody is trusted", "evidence counts by whom one trusts", "give --trust trust.yaml")
    return trust


def _waivers(path: Path | None) -> Any:
    from martensite.gates.short_form import Waiver

    document = load_yaml(path) if path is not None else []
    if not isinstance(document, list):
        raise ConfigError(f"{path} is no list of waivers", remedy="- {rule: ..., owner: ..., reason: ..., expires: 2026-12-31}")
    return tuple(Waiver.parse(one) for one in document)


def _beside(bundle: Path, suffix: str) -> Path:
    place = bundle.resolve() if bundle.name in ("", "..") else bundle
    return place.with_name(place.name + suffix)


def _installed() -> None:
    try:
        import cryptography  # noqa: F401
        import regopy  # noqa: F401
    except ImportError:
        raise ConfigError("evidence can't be judged", "it needs an extra", "pip install 'martensite[evidence]'") from None
