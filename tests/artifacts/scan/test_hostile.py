"""Files built to harm: every one is flagged, and none is ever run."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from martensite.artifacts.scan import scan
from martensite.artifacts.scan.report import RANK


@pytest.fixture(scope="module")
def judged(tmp_path_factory, builders):
    """(least severity, what the scan says, its findings) by file name; and the canary."""
    folder = tmp_path_factory.mktemp("hostile")
    canary = tmp_path_factory.mktemp("canary") / "sings"
    files = builders.hostile(canary)
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    report = scan(folder)
    said = {Path(file.path).name: file for file in report.files}
    return {name: (least, said[name], report) for name, (_, least) in files.items()}, canary


def test_every_hostile_file_is_flagged(judged):
    files, _ = judged
    assert len(files) >= 100
    missed = {name: file.severity for name, (least, file, _) in files.items() if RANK[file.severity] < RANK[least]}
    assert missed == {}


def test_nothing_was_executed(judged):
    _, canary = judged
    assert not canary.exists()


def test_the_canary_would_have_sung(tmp_path, builders):
    """The harness can fail: loading one of these files for real leaves the canary."""
    canary = tmp_path / "sings"
    (tmp_path / "evil.pkl").write_bytes(builders.Call("os", "system", f"touch {canary}").pickled())
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.load(open({str(tmp_path / 'evil.pkl')!r}, 'rb'))"], check=True)
    assert canary.exists()


def test_each_finding_says_why_and_what_to_do(judged):
    files, _ = judged
    report = next(iter(files.values()))[2]
    assert all(finding.reason and finding.remedy and finding.kind for finding in report.findings)


def test_the_second_opinion_alone_finds_nothing_that_we_miss(builders, verdict, monkeypatch, tmp_path):
    """Own checks first: without picklescan the same files are flagged."""
    monkeypatch.setitem(sys.modules, "picklescan", None)
    for name, (content, least) in builders.hostile(tmp_path / "canary").items():
        assert RANK[verdict(content, name).severity] >= RANK[least], name


def test_a_member_is_named_by_its_place(verdict, builders):
    content = builders.zipped({"inner.zip": builders.zipped({"data.pkl": builders.Call("os", "system", "x").pickled()})})
    report = verdict(content, "outer.zip")
    assert any(finding.path.endswith("outer.zip!inner.zip!data.pkl") for finding in report.findings)


def test_a_name_that_is_not_known_is_suspicious_and_not_dangerous(verdict, builders):
    report = verdict(builders.Call("somepackage.model", "Network").pickled(4))
    assert report.severity == "suspicious"
    assert "somepackage.model.Network" in report.findings[0].reason


@pytest.mark.parametrize("protocol", range(6))
def test_state_of_an_unknown_class_is_suspicious_in_every_protocol(verdict, protocol):
    content = pickle.dumps(_Own(), protocol)
    assert verdict(content).severity == "suspicious"


class _Own:
    def __init__(self):
        self.weights = [1.0, 2.0]
