"""Bills of materials: the strict validator of CycloneDX 1.6 accepts them, and refuses what is none."""

import json
from importlib.metadata import version

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from martensite.artifacts.attest import Subject, predicate_of
from martensite.artifacts.attest.bom import make_bom
from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.moments import now
from martensite.core.errors import ArtifactError
from martensite.evaluation import RunReport


@pytest.fixture
def report(digits_run):
    return RunReport.load(digits_run / "report.json")


def test_it_passes_the_strict_validator_with_and_without_a_report(bundle, report):
    for document in (make_bom(bundle, report), make_bom(bundle, report.hardened), make_bom(bundle)):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None


def test_it_names_files_data_and_packages_with_licences(bundle, report):
    document = make_bom(bundle, report)
    parts = {one["bom-ref"]: one for one in document["components"]}
    for name, digest in Subject.of(bundle).files.items():
        assert parts[f"file/{name}"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    data = [one for one in parts.values() if one["type"] == "data"]
    assert {one["hashes"][0]["content"] for one in data} == {one.digest.removeprefix("sha256:") for one in report.data}
    packages = {one["name"]: one for one in parts.values() if one["type"] == "library"}
    assert {"martensite", "torch", "numpy", "safetensors", "pydantic-core"} <= set(packages)
    assert "pytest" not in packages  # of an extra
    assert packages["numpy"]["version"] == version("numpy")
    assert all(one["licenses"] for one in packages.values())
    assert packages["martensite"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    edges = {one["ref"]: one.get("dependsOn", []) for one in document["dependencies"]}
    assert packages["martensite"]["bom-ref"] in edges["model"]
    assert packages["torch"]["bom-ref"] in edges[packages["martensite"]["bom-ref"]]


def test_the_model_card_holds_the_figures_with_their_intervals(bundle, report):
    card = make_bom(bundle, report)["metadata"]["component"]["modelCard"]
    clean, robust = card["quantitativeAnalysis"]["performanceMetrics"]
    assert float(clean["value"]) == report.hardened.clean_accuracy.value
    assert float(robust["confidenceInterval"]["lowerBound"]) == report.hardened.robust_accuracy.low
    assert str(report.threat) in robust["type"]
    assert len(card["modelParameters"]["datasets"]) == len(report.data)


def test_a_report_about_another_model_is_refused(bundle, report):
    model = load_bundle(bundle)
    next(model.net.parameters()).data[0, 0] += 1
    with pytest.raises(ArtifactError, match="about another model"):
        make_bom(save_bundle(model, bundle.with_name("other")), report)


@pytest.mark.parametrize(
    "change",
    [{"specVersion": "1.5"}, {"bomFormat": "SPDX"}, {"components": [{"name": "no type"}]}, {"unknown": 1}, {"version": "one"}],
)
def test_only_strict_bills_become_claims(change, bundle, tmp_path):
    path, document = tmp_path / "bom.json", make_bom(bundle)
    path.write_text(json.dumps(document))
    assert predicate_of("bom", Subject.of(bundle), path, {}, now()).bom == document
    path.write_text(json.dumps(document | change))
    with pytest.raises(ArtifactError, match=r"no CycloneDX 1\.6"):
        predicate_of("bom", Subject.of(bundle), path, {}, now())
