"""The sandwich: certified accuracy below, accuracy under an attack in the middle, clean accuracy above; of the same samples.

What is certified can't be broken, and what withstands an attack was right to begin with, so that
certified <= empirically robust <= clean, sample by sample. A certified sample that is broken all the same means that the
certificate or the attack's judge is wrong: no figure of either can be trusted, and the run stops with both on disk.
"""

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from martensite.attacks import attack as run_attack
from martensite.attacks.attack import Attack
from martensite.attacks.result import AttackResult
from martensite.certification import Bounded, Certificates, Certifier, certify
from martensite.core.errors import ConfigError, ContradictionError
from martensite.core.events import Listener, silent
from martensite.core.files import write_bytes, write_json
from martensite.data.dataset import Dataset
from martensite.evaluation.certify_report import summarise_certificates
from martensite.evaluation.evaluate import record
from martensite.evaluation.report import CertificationReport, DataRecord, Environment, Rate, Report
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

Layer = Literal["certified", "robust", "broken", "misclassified", "error"]


class SandwichReport(Report):
    """Certificates and an attack on the same samples under the same threat model.

    Attributes:
        attack: The attack's configuration.
        clean: Accuracy without an attack.
        robust: Accuracy under the attack. A sample on which the attack failed to run counts only if it is certified.
        certified: Share of samples certified with the right class.
        outcomes: One a sample: ``"certified"``; ``"robust"``: withstood the attack, without a certificate; ``"broken"``;
            ``"misclassified"`` from the start; ``"error"``: not certified, and the attack failed to run.
        certification: The certificates.
        warnings: What bears on how far the attack can be trusted.
    """

    schema_version: Literal[1] = 1
    model_digest: str
    data: DataRecord
    threat: ThreatModel
    attack: dict[str, Any]
    seed: int
    clean: Rate
    robust: Rate
    certified: Rate
    outcomes: tuple[Layer, ...]
    certification: CertificationReport
    warnings: tuple[str, ...] = ()
    environment: Environment
    timing: dict[str, float] = Field(default_factory=dict)


def sandwich(
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    method: Certifier,
    attack: Attack,
    *,
    evidence: Path,
    seed: int = 0,
    store: Path | None = None,
    listener: Listener = silent,
) -> SandwichReport:
    """Certify samples and attack them.

    Args:
        model: The model.
        data: The samples.
        threat: What the adversary may do.
        method: Bounds; a smoothed classifier is another function than the network that is attacked.
        attack: The attack.
        evidence: Folder for both sides of a contradiction, if there is one.
        seed: Of all randomness.
        store: Folder for finished samples of the certification.
        listener: Gets events.

    Raises:
        ContradictionError: a certified sample was broken; ``contradiction.npz`` and ``contradiction.json`` are in ``evidence``.
        ConfigError: a method whose certificates are about another function.
    """
    if not isinstance(method, Bounded):
        raise ConfigError(
            f"the method is {method.kind}",
            "its certificates are about a smoothed classifier, and the attack is on the network",
            "give IntervalBounds or LinearBounds",
        )
    certificates = certify(model, data.x, data.y, method, threat=threat, seed=seed, store=store, listener=listener)
    result = run_attack(attack, model, data.x, data.y, threat, seed=seed, listener=listener)
    certified = certificates.certified(threat.eps)
    if bool((wrong := certified & result.success.cpu()).any()):
        raise _contradiction(wrong, model, data, threat, attack, certificates, result, evidence)
    outcomes = tuple(
        _outcome(*flags)
        for flags in zip(certified.tolist(), result.correct.tolist(), result.success.tolist(), result.error.tolist(), strict=True)
    )
    n = len(data)
    return SandwichReport(
        model_digest=model_digest(model),
        data=record(data),
        threat=threat,
        attack=attack.model_dump(mode="json"),
        seed=seed,
        clean=Rate.of(int(result.correct.sum()), n),
        robust=Rate.of(outcomes.count("certified") + outcomes.count("robust"), n),
        certified=Rate.of(outcomes.count("certified"), n),
        outcomes=outcomes,
        certification=summarise_certificates(certificates, method, model, data, seed),
        warnings=(*result.messages, *result.warnings),
        environment=Environment.here(),
        timing={"certify": certificates.seconds, "attack": result.seconds},
    )


def _outcome(certified: bool, correct: bool, success: bool, error: bool) -> Layer:
    if certified:
        return "certified"
    if not correct:
        return "misclassified"
    return "broken" if success else "error" if error else "robust"


def _contradiction(
    wrong: torch.Tensor,
    model: Classifier,
    data: Dataset,
    threat: ThreatModel,
    attack: Attack,
    certificates: Certificates,
    result: AttackResult,
    evidence: Path,
) -> ContradictionError:
    """Save the adversarials and the certificates that they break, and say so."""
    rows = wrong.nonzero().squeeze(1)
    adversarial = result.adversarial.cpu()[rows]
    with torch.inference_mode():
        logits = model.eval()(adversarial.to(model.device, model.dtype)).cpu()
    content = io.BytesIO()
    np.savez(
        content,
        index=rows.numpy(),
        x=data.x[rows].numpy(),
        y=data.y[rows].numpy(),
        adversarial=adversarial.numpy(),
        logits=logits.numpy(),
    )
    write_bytes(evidence / "contradiction.npz", content.getvalue())
    proof = None if certificates.record is None else certificates.record.model_dump(mode="json")
    document = {
        "threat": threat.model_dump(mode="json"),
        "attack": attack.model_dump(mode="json"),
        "data": data.digest,
        "record": proof,
        "samples": [
            {
                "index": row,
                "prediction": int(certificates.prediction[row]),
                "radius": float(certificates.radius[row]),
                "margin": None if certificates.margins is None else float(certificates.margins[row]),
                "distance": float(result.distance[row]),
            }
            for row in rows.tolist()
        ],
    }
    write_json(evidence / "contradiction.json", document)
    return ContradictionError(
        f"{attack.kind} breaks {len(rows)} certified samples, the first at index {int(rows[0])}",
        "a certified sample can't be broken: the certificate, or the judge of the attack, is wrong",
        f"see contradiction.npz and contradiction.json in {evidence}, and report them",
    )
