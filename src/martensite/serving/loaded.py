"""One version of a model in memory: verified, rebuilt, and warm."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from martensite.artifacts.bundle import load_bundle, read_preprocess
from martensite.artifacts.manifest import Manifest, read_manifest
from martensite.artifacts.preprocess import Preprocess
from martensite.artifacts.reference import read_reference
from martensite.core.errors import ArtifactError, MartensiteError, ModelError, SignatureError
from martensite.defenses import Defended, InputRules
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.serving.backends import Backend, Kind, make_backend
from martensite.serving.evidence import Case, refused
from martensite.serving.monitoring.drift.reference import Reference
from martensite.serving.pace import Pace
from martensite.serving.sealed import Sealed

WARM_ROUNDS = 3


@dataclass(eq=False)
class Loaded:
    """A bundle in memory.

    Attributes:
        manifest: model.json, as it was verified.
        digest: ``"sha256:..."`` of the model that was really loaded.
        version: Of its release claim; else the first twelve digits of the digest.
        preprocess: How raw inputs become what the model takes.
        model: As it was rebuilt, with its defences.
        backend: Computes.
        pace: How fast it was at warm-up.
        case: By what it was judged; None: evidence was waived, for development.
        sealed: Signature and claims, for judging it again.
        subject: What the verdict is about.
        verdict: The gate's last; None where evidence was waived.
        dates: Kind of claim to when the newest that counts was made, in seconds since 1970.
        reference: How the data looked that it was evaluated on; None: the bundle doesn't say.
        verified: Seconds that copy and verification took.
    """

    manifest: Manifest
    digest: str
    version: str
    preprocess: Preprocess | None
    model: Classifier
    backend: Backend
    pace: Pace
    case: Case | None
    sealed: Sealed
    subject: Any
    verdict: Any
    dates: dict[str, float]
    reference: Reference | None = None
    verified: float = 0.0

    @property
    def detects(self) -> bool:
        """Whether detectors look at its inputs."""
        return isinstance(self.model, Defended) and self.model.panel is not None

    @property
    def false_alarms(self) -> float:
        """Share of clean inputs on which they may ring; 0 where there are none."""
        return self.model.panel.false_alarms if isinstance(self.model, Defended) and self.model.panel is not None else 0.0

    @property
    def rules(self) -> InputRules | None:
        """Of its inputs, beyond shape, range and NaN."""
        return self.model.defence.rules if isinstance(self.model, Defended) else None

    @property
    def record(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {} if self.verdict is None else self.verdict.model_dump(mode="json")

    def judge_again(self) -> str:
        """Why it may not serve any more, or ``""``."""
        if self.case is None:
            return ""
        try:
            self.verdict = self.case.judge(self.sealed, self.subject)
            self.dates = self.case.dates(self.sealed, self.subject)
        except MartensiteError as error:
            return self._undecided(self.sealed.told(str(error)))
        except Exception as error:  # whatever it stumbled over: evidence that can't be judged is none
            return self._undecided(self.sealed.told(f"its evidence can't be judged: {type(error).__name__}: {error}"))
        return refused(self.verdict)

    def _undecided(self, reason: str) -> str:
        """The last verdict is none any more: whoever asks for it is told that nothing is decided."""
        from martensite.artifacts.attest.predicates import GateCheck
        from martensite.artifacts.moments import now

        failed = [one for one in self.verdict.checks if one.verdict != "PASS" and one.rule != "judgement"]
        checks = (*failed, GateCheck(rule="judgement", verdict="INCONCLUSIVE", reason=reason))
        self.verdict = self.verdict.model_copy(update={"verdict": "INCONCLUSIVE", "checks": checks, "created": now()})
        return reason


def load(source: Path, case: Case | None, backend: Kind, largest: int) -> Loaded:
    """Copy, verify, load from the copy, and warm up.

    Args:
        source: The bundle.
        case: What is asked of it; None: nothing, for development only.
        backend: Which one computes.
        largest: Batch that warm-up ends with.

    Raises:
        SignatureError: the gate doesn't let it pass; the message holds every reason.
        MartensiteError: it can't be read, rebuilt or computed with.
    """
    began = time.perf_counter()
    sealed = Sealed.of(source, case.signature if case is not None else None)
    try:
        subject = verdict = None
        if case is not None:
            subject = case.subject(sealed)
            verdict = case.judge(sealed, subject)
            if reason := refused(verdict):
                raise SignatureError(f"{source} is not served: {reason}", "what isn't proven isn't served")
        verified = time.perf_counter() - began
        manifest, model = read_manifest(sealed.bundle), load_bundle(sealed.bundle)
        digest = model_digest(model)
        if subject is not None and digest != f"sha256:{subject.model}":
            raise ArtifactError(f"{source} changed while it was loaded", "what is verified is what is loaded", "load it again")
        preprocess = read_preprocess(sealed.bundle, manifest)
        if not manifest.shape:
            raise ModelError(f"{source} does not say the shape of its inputs", "a server has to know it", "save it with shape=")
        statistics = read_reference(sealed.bundle)
        reference = Reference.from_bytes(statistics, digest) if statistics is not None else None
        probe = _probe(manifest, 2)
        compute = make_backend(backend, model, probe)
        pace = warm(compute, manifest, largest)
        return Loaded(
            manifest=manifest,
            digest=digest,
            version=_version(sealed, case, subject) or digest.removeprefix("sha256:")[:12],
            preprocess=preprocess,
            model=model,
            backend=compute,
            pace=pace,
            case=case,
            sealed=sealed,
            subject=subject,
            verdict=verdict,
            reference=reference,
            dates={} if case is None else case.dates(sealed, subject),
            verified=verified,
        )
    except MartensiteError as error:
        sealed.drop()
        raise type(error)(*map(sealed.told, (error.value, error.rule, error.remedy))) from None
    except BaseException:
        sealed.drop()
        raise
    finally:
        sealed.drop_bundle()


def warm(compute: Backend, manifest: Manifest, largest: int) -> Pace:
    """Compute a few batches, so that the first client doesn't pay for what torch sets up, and see how long they take.

    Raises:
        ModelError: logits of another shape, or not finite, in the middle of the box.
    """
    for n in (1, largest):
        logits = compute(_probe(manifest, n)).logits
        if logits.shape != (n, manifest.classes) or not np.isfinite(logits).all():
            raise ModelError(
                f"the model gives {logits.shape} for {n} inputs in the middle of its box, or what isn't finite",
                f"({n}, {manifest.classes}) finite logits are needed",
            )
    return Pace.through(_seconds(compute, _probe(manifest, 1)), _seconds(compute, _probe(manifest, largest)), largest)


def _seconds(compute: Backend, x: npt.NDArray[np.float32]) -> float:
    taken = []
    for _ in range(WARM_ROUNDS):
        began = time.perf_counter()
        compute(x)
        taken.append(time.perf_counter() - began)
    return min(taken)


def _probe(manifest: Manifest, n: int) -> npt.NDArray[np.float32]:
    low, high = manifest.box
    return np.full((n, *manifest.shape), (low + high) / 2, dtype=np.float32)


def _version(sealed: Sealed, case: Case | None, subject: Any) -> str:
    """The number of the release claim that counts."""
    if case is None:
        return ""
    from martensite.artifacts.attest import acceptable, read_claims
    from martensite.artifacts.moments import now
    from martensite.serving.evidence import whom_to_trust

    found = acceptable(read_claims(sealed.claims, subject, whom_to_trust(case.evidence.trust), now()), "release")
    release: Any = found[0].predicate if found else None
    return "" if release is None else str(release.version)
