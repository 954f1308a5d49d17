"""Claims from what measured them: a report becomes a predicate, if it is about this model."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib.metadata import distributions, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from martensite.artifacts.attest.predicates import (
    KINDS,
    AttackFigure,
    Certification,
    Data,
    DataDigest,
    Harness,
    Material,
    Predicate,
    Robustness,
    Scan,
    Suite,
    Training,
)
from martensite.artifacts.attest.subject import Subject
from martensite.artifacts.weights import read_file
from martensite.core.config import canonical_json, load_yaml, nearest
from martensite.core.errors import ArtifactError, ConfigError
from martensite.core.files import sha256
from martensite.evaluation.report import CertificationReport, DataRecord, Environment, RobustnessReport, RunReport

ROOMS = ("core", "threat", "models", "data", "attacks", "evaluation")  # whose code an accuracy under attack depends on
LARGEST = 256 * 2**20


def predicate_of(kind: str, subject: Subject, path: Path | None, given: dict[str, Any], created: datetime) -> Predicate:
    """The claim of a kind.

    Args:
        kind: ``"robustness"``, ``"certification"``, ``"training"``, ``"data"``: from a report, or the report of a run;
            ``"scan"``: from the scanner's JSON; ``"bom"``: from CycloneDX JSON; others from their own keys.
        subject: Of the claim.
        path: The report, or a JSON or YAML file of the predicate's keys; None: there is none.
        given: Further keys of the predicate.
        created: When.

    Raises:
        ConfigError: no such kind, or unknown, missing or wrong keys.
        ArtifactError: a report that can't be read, or about another model.
    """
    if kind not in KINDS or kind == "verdict":
        raise ConfigError(f"there is no claim {kind!r}", remedy=nearest(kind, set(KINDS) - {"verdict"}))
    if kind in BUILDERS:
        if path is None:
            raise ConfigError(f"no report was given for {kind}", "this claim is made of a report", "give its path")
        content = read_file(path, "give the path of a report", LARGEST)
        builder = BUILDERS[kind]
        return (
            builder(subject, path, content, created, **given) if kind == "training" else builder(subject, path, content, created)
        )
    keys: dict[str, Any] = {}
    if path is not None:
        keys = {"report": sha256(read_file(path, "give its path", LARGEST))} if "report" in KINDS[kind].model_fields else {}
        keys |= dict(load_yaml(path) or {})
    return KINDS[kind].parse({**keys, **given, "created": created})


def _robustness(subject: Subject, path: Path, content: bytes, created: datetime) -> Robustness:
    run = _run(path, content)
    report = run.hardened if run is not None else RobustnessReport.load(path)
    _same(subject, path, report.model_digest)
    attacks = [row.attack for row in report.attacks]
    return Robustness(
        created=created,
        report=sha256(content),
        threat=report.threat,
        access=report.access,
        data=_data(report.data),
        suite=Suite(name=report.suite, digest=sha256(canonical_json(attacks).encode())),
        harness=_harness(report.environment.martensite),
        n=report.data.n,
        seeds=(report.seed,),
        clean_accuracy=report.clean_accuracy,
        robust_accuracy=report.robust_accuracy,
        attacks=tuple(
            AttackFigure(name=row.name, robust_accuracy=row.robust_accuracy, errors=row.errors) for row in report.attacks
        ),
        left_out=report.left_out,
        canaries=report.canaries,
        diagnostics=report.diagnostics,
        warnings=report.warnings,
        errors=report.errors,
        unattacked=report.outcomes.count("error"),
        serving=subject.serving,
    )


def _certification(subject: Subject, path: Path, content: bytes, created: datetime) -> Certification:
    run = _run(path, content)
    report = run.certification if run is not None else CertificationReport.load(path)
    _same(subject, path, report.model_digest)
    return Certification(
        created=created,
        report=sha256(content),
        method=report.method,
        norm=report.norm,
        data=_data(report.data),
        n=report.data.n,
        seeds=(report.seed,),
        accuracy=report.accuracy,
        certified=report.certified,
        abstained=report.abstained,
        serving=subject.serving,
    )


def _training(subject: Subject, path: Path, content: bytes, created: datetime, commit: str = "") -> Training:
    run = _the_run(path, content)
    _same(subject, path, run.hardened.model_digest)
    record = run.hardened_training.model_dump(mode="json")
    materials = [Material(name=f"data/{one.name}/{one.split}", digest={"sha256": _hex(one.digest)}) for one in run.data]
    materials.append(Material(name="baseline model", digest={"martensiteModel1": _hex(run.baseline.model_digest)}))
    if run.environment == Environment.here():  # else this is not where it was trained
        materials.append(Material(name="environment", digest={"sha256": _hex(_locked())}))
    if commit:
        materials.append(Material(name="code", digest={"gitCommit": commit}))
    return Training(
        created=created,
        report=sha256(content),
        build="https://martensite/pipeline/v1",
        parameters={"seed": run.seed, "pipeline": run.pipeline, "threat": run.threat.model_dump(mode="json")},
        materials=tuple(materials),
        environment=run.environment,
        ledger={name: record[name] for name in record if name not in ("objective", "settings")},
    )


def _data_of_run(subject: Subject, path: Path, content: bytes, created: datetime) -> Data:
    run = _the_run(path, content)
    _same(subject, path, run.hardened.model_digest)
    return Data(created=created, data=tuple(_data(one) for one in run.data))


def _scan(subject: Subject, path: Path, content: bytes, created: datetime) -> Scan:
    try:
        document = json.loads(content)
        scanned = {_hex(str(one["digest"])): str(one["severity"]) for one in document["files"]}
        findings = tuple(f"{one['severity']}: {one['path']}: {one['reason']}" for one in document["findings"])
        scanner = str(document["format"])
        undigested = [one["path"] for one in document["files"] if one["digest"] is None]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise ArtifactError(f"{path} is no report of a scan", remedy="martensite scan BUNDLE --json > scan.json") from None
    if undigested:
        rule = "a claim is about the very bytes that were scanned"
        raise ArtifactError(f"{path} has no SHA-256 of {undigested[0]}", rule, "martensite scan BUNDLE --json, with digests")
    if unseen := [name for name, digest in subject.files.items() if digest not in scanned]:
        rule = "a scan covers every file of the bundle, and states its SHA-256"
        raise ArtifactError(f"{path} does not cover {unseen[0]} as it is", rule, "scan the bundle anew, with digests")
    judged = {digest: scanned[digest] for digest in subject.files.values()}
    return Scan(created=created, report=sha256(content), scanner=scanner, files=judged, findings=findings)


def _bom(subject: Subject, path: Path, content: bytes, created: datetime) -> Predicate:
    from martensite.artifacts.attest.bom import check_bom

    try:
        bom = json.loads(content)
    except (ValueError, RecursionError):
        bom = None
    check_bom(bom)
    return KINDS["bom"].parse({"created": created, "bom": bom})


BUILDERS: dict[str, Callable[..., Predicate]] = {
    "robustness": _robustness,
    "certification": _certification,
    "training": _training,
    "data": _data_of_run,
    "scan": _scan,
    "bom": _bom,
}


def _run(path: Path, content: bytes) -> RunReport | None:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return RunReport.load(path) if isinstance(document, dict) and "hardened" in document else None


def _the_run(path: Path, content: bytes) -> RunReport:
    run = _run(path, content)
    if run is None:
        raise ArtifactError(f"{path} is no report of a run", "how a model was made stands there", "give report.json of a run")
    return run


def _same(subject: Subject, path: Path, digest: str) -> None:
    if _hex(digest) != subject.model:
        raise ArtifactError(
            f"{path} is about the model {_hex(digest)[:12]}, the bundle holds {subject.model[:12]}",
            "evidence is about the very model that it is given for",
            "evaluate this bundle, or give the bundle that was evaluated",
        )


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _data(record: DataRecord) -> DataDigest:
    return DataDigest(name=record.name, split=record.split, n=record.n, digest=record.digest)


@cache
def _source() -> str:
    package = files("martensite")
    found = [
        (room, path) for room in ROOMS for path in sorted(Path(str(package / room)).rglob("*")) if path.suffix in (".py", ".yaml")
    ]
    root = Path(str(package))
    return sha256("".join(f"{path.relative_to(root)} {sha256(path.read_bytes())}\n" for _, path in found).encode())


def _harness(reported: str) -> Harness:
    return Harness(version=reported, digest=_source() if reported == version("martensite") else None)


def _locked() -> str:
    lines = sorted({f"{one.metadata['Name']}=={one.version}" for one in distributions()})
    return sha256("\n".join(lines).encode())
