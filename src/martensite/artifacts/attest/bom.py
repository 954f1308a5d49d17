"""A bill of materials of a model: CycloneDX 1.6 with model card, files, data, and the packages it runs on with their licences.

ECMA-424 (CycloneDX 1.6), `modelCard`. The library writes everything but the model card, which it has no classes for; the whole
must pass its strict validator.
"""

import json
import re
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from martensite.artifacts.attest.subject import Subject
from martensite.artifacts.manifest import Manifest, read_manifest
from martensite.artifacts.moments import now
from martensite.artifacts.stated import stated_digest
from martensite.core.acts import Act, recorded
from martensite.core.errors import ArtifactError
from martensite.evaluation.report import DataRecord, Rate, RobustnessReport, RunReport


def _listed(given: Mapping[str, Any], document: dict[str, Any] | None) -> Act:
    details = {} if document is None else {"components": len(document["components"])}
    return Act("model", stated_digest(given["bundle"]), Path(given["bundle"]).name, details=details)


@recorded("bom", _listed)
def make_bom(bundle: str | Path, report: RobustnessReport | RunReport | None = None) -> dict[str, Any]:
    """The bill of materials.

    Args:
        bundle: The model.
        report: Its figures and data; None: left out.

    Raises:
        ArtifactError: no such bundle, or a report about another model.
    """
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    subject, manifest = Subject.of(bundle), read_manifest(bundle)
    judged = report.hardened if isinstance(report, RunReport) else report
    if judged is not None and judged.model_digest.removeprefix("sha256:") != subject.model:
        raise ArtifactError(
            f"the report is about another model, {judged.model_digest[:19]}",
            f"the bundle holds {subject.model[:12]}",
            "evaluate it",
        )
    data = (report.data if isinstance(report, RunReport) else (report.data,)) if report is not None else ()

    def hashed(digest: str) -> HashType:
        return HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))

    model = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL, name=subject.name, bom_ref="model", version=subject.model[:12],
        hashes=[hashed(subject.root)],
    )  # fmt: skip
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, subject.root))
    bom.metadata.component, bom.metadata.timestamp = model, now()
    parts = [
        *(Component(type=ComponentType.FILE, name=name, bom_ref=f"file/{name}", hashes=[hashed(digest)])
          for name, digest in subject.files.items()),
        *(Component(type=ComponentType.DATA, name=f"{one.name}, {one.split}", bom_ref=_data_ref(one), hashes=[hashed(one.digest)])
          for one in data),
    ]  # fmt: skip
    packages = {_name(one): _package(one) for one in _needed("martensite")}
    for one in (*parts, *packages.values()):
        bom.components.add(one)
    bom.register_dependency(model, [*parts, packages["martensite"]])
    for found in _needed("martensite"):
        bom.register_dependency(packages[_name(found)], [packages[name] for name in _requires(found) if name in packages])
    document: dict[str, Any] = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    document["metadata"]["component"]["modelCard"] = _card(manifest, judged, data)
    check_bom(document)
    return document


def check_bom(document: Any) -> None:
    """Refuse what isn't CycloneDX 1.6 to the letter.

    Raises:
        ArtifactError: it is not.
    """
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    known = (document.get("bomFormat"), document.get("specVersion")) if isinstance(document, dict) else ()
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) if known == ("CycloneDX", "1.6") else known
    if fault is not None:
        first = " ".join(str(fault).split())[:200]
        raise ArtifactError(f"this is no CycloneDX 1.6 bill of materials: {first}", remedy="martensite bom BUNDLE makes one")


def _card(manifest: Manifest, report: RobustnessReport | None, data: tuple[DataRecord, ...]) -> dict[str, Any]:
    kind = str(manifest.architecture.get("kind", ""))
    parameters: dict[str, Any] = {
        "task": "classification",
        "architectureFamily": "neural network",
        "modelArchitecture": kind,
        "inputs": [{"format": f"{manifest.dtype} {list(manifest.shape)} in {list(manifest.box)}"}],
        "outputs": [{"format": f"logits of {manifest.classes} classes"}],
    }
    if data:
        parameters["datasets"] = [{"ref": _data_ref(one)} for one in data]
    card: dict[str, Any] = {"modelParameters": parameters}
    if report is not None:
        figures = {"clean accuracy": report.clean_accuracy, f"accuracy under attack, {report.threat}": report.robust_accuracy}
        metrics = [_metric(name, rate, report.data) for name, rate in figures.items()]
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
        limits = [f"robust against {report.threat} only", *report.warnings]
        card["considerations"] = {"technicalLimitations": limits}
    return card


def _metric(name: str, rate: Rate, data: DataRecord) -> dict[str, Any]:
    ends = {"lowerBound": str(rate.low), "upperBound": str(rate.high)}
    return {
        "type": name,
        "value": str(rate.value),
        "slice": f"{data.name}, {data.split}, n = {rate.n}",
        "confidenceInterval": ends,
    }


def _data_ref(one: DataRecord) -> str:
    return f"data/{one.name}/{one.split}/{one.digest.removeprefix('sha256:')[:12]}"


def _needed(root: str) -> list[Distribution]:
    """The package and all that it requires, here, without extras."""
    found: dict[str, Distribution] = {}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        if name not in found:
            try:
                found[name] = distribution(name)
            except PackageNotFoundError:  # required on another system only
                continue
            waiting += _requires(found[name])
    return [found[name] for name in sorted(found)]


def _requires(package: Distribution) -> list[str]:
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in package.requires or ()]
    return [_canonical(one.name) for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]


def _package(package: Distribution) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name = _name(package)
    licence = LicenseFactory().make_from_string(licence_of(package))
    purl = PackageURL(type="pypi", name=name, version=package.version)
    return Component(
        type=ComponentType.LIBRARY, name=name, version=package.version, purl=purl, bom_ref=str(purl), licenses=[licence]
    )


def licence_of(package: Distribution) -> str:
    """SPDX where the package states it, else what its classifiers or its licence field say in their first line."""
    metadata = package.metadata
    if "License-Expression" in metadata:
        return str(metadata["License-Expression"])
    classified = [line.split("::")[-1].strip() for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    field = metadata["License"].strip().splitlines() if "License" in metadata else []
    return " and ".join(one for one in classified if one != "OSI Approved") or "".join(field[:1])[:100] or "not stated"


def _name(package: Distribution) -> str:
    return _canonical(package.metadata["Name"])


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
