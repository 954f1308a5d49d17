"""martensite scan: exit codes, and one document on stdout."""

import json
import pickle

import pytest


@pytest.fixture
def files(tmp_path):
    (tmp_path / "clean.txt").write_text("hello")
    (tmp_path / "odd.pkl").write_bytes(b"\x80\x02cpackage\nNetwork\n)\x81.")
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'x'\ntR.")
    (tmp_path / "unknown.bin").write_bytes(b"\0\1\2\3\xff" * 20)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "code"), [("clean.txt", 0), ("plain.pkl", 0), ("odd.pkl", 1), ("evil.pkl", 1), ("unknown.bin", 3), ("none", 2)]
)
def test_exit_codes(call, files, name, code):
    assert call("scan", files / name).code == code


def test_a_finding_outweighs_what_could_not_be_judged(call, files):
    assert call("scan", files).code == 1


def test_json_is_one_document(call, files):
    outcome = call("scan", files, "--json")
    document = json.loads(outcome.out)
    assert document["severity"] == "dangerous"
    assert {finding["severity"] for finding in document["findings"]} == {"dangerous", "suspicious", "unjudged"}
    assert all(file["digest"].startswith("sha256:") for file in document["files"])


def test_sarif_has_a_rule_for_every_result(call, files):
    document = json.loads(call("scan", files, "--sarif").out)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert document["version"] == "2.1.0"
    assert all(rules[result["ruleIndex"]] == result["ruleId"] for result in run["results"])
    assert {result["level"] for result in run["results"]} == {"error", "warning", "note"}


def test_two_documents_are_refused(call, files):
    assert call("scan", files, "--sarif", "--json").code == 2


def test_the_table_says_reason_and_remedy(call, files):
    out = call("scan", files / "evil.pkl").out
    assert "dangerous" in out
    assert "os.system" in out
    assert "safetensors" in out
