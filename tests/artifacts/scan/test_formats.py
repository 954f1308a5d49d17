"""Facts of single formats that the hostile files don't show."""

import json
import os
import zipfile

import pytest
from safetensors import SafetensorError
from safetensors.torch import load

from martensite.artifacts.scan import Limits, hdf5, scan
from martensite.core.errors import ArtifactError


def kinds(report):
    return {finding.kind for finding in report.findings}


def test_an_unknown_format_is_not_clean(verdict):
    report = verdict(b"\x00\x01\x02\x03 something\xff" * 9)
    assert report.severity == "unjudged"
    assert report.exit_code == 3


def test_an_empty_folder_is_not_clean(tmp_path):
    assert scan(tmp_path).exit_code == 3


@pytest.mark.parametrize("magic", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"])
def test_what_is_not_read_is_not_clean(verdict, magic):
    assert verdict(magic + b"\0" * 64).exit_code == 3


def test_pipes_and_missing_links_are_not_clean(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    report = scan(tmp_path)
    assert [file.severity for file in report.files] == ["unjudged"] * 3


def test_an_unreadable_file_is_not_clean(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("x")
    from pathlib import Path

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    assert scan(path).exit_code == 3


def test_a_missing_path_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="does not exist"):
        scan([tmp_path / "none"])


def test_depth_is_bounded(verdict, builders):
    content = b"text"
    for _ in range(12):
        content = builders.zipped({"a": content})
    report = verdict(content)
    assert "limit" in kinds(report)
    assert report.severity == "suspicious"


def test_members_are_bounded(verdict, builders):
    content = builders.zipped({str(number): b"" for number in range(50)})
    assert "limit" in kinds(verdict(content, limits=Limits(members=20)))
    assert verdict(content).severity == "clean"


def test_what_is_unpacked_is_bounded(verdict, builders):
    content = builders.zipped({"a": b"abc " * 300_000, "b": b"def " * 300_000}, zipfile.ZIP_DEFLATED)
    assert "limit" in kinds(verdict(content, limits=Limits(unpacked=2_000_000)))


def test_members_over_one_another_are_entered_once(verdict, builders):
    """A bomb without recursion: many names for the same bytes."""
    archive = builders.zipped({"a": b"x" * 1000, "b": b"y" * 1000})
    place = archive.rindex(b"PK\1\2")
    content = archive[: place + 42] + b"\0\0\0\0" + archive[place + 46 :]
    assert {"zip-overlap", "zip-mismatch"} & kinds(verdict(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_every_packing_of_python_is_unpacked(verdict, builders, method):
    clean = builders.zipped({"a.txt": b"hello " * 1000}, method)
    assert verdict(clean).severity == "clean"
    evil = builders.zipped({"a.txt": builders.Call("os", "system", "x").pickled()}, method)
    assert verdict(evil).severity == "dangerous"


def test_a_prefix_before_an_archive_is_a_polyglot(verdict, builders):
    report = verdict(b"#!/bin/sh\nexit\n" + builders.zipped({"a.txt": b"x"}))
    assert {"polyglot"} <= kinds(report)


def test_the_digest_is_of_the_bytes(verdict):
    import hashlib

    report = verdict(b"hello", digests=True)
    assert report.files[0].digest == "sha256:" + hashlib.sha256(b"hello").hexdigest()


@pytest.mark.parametrize(
    ("header", "flagged"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, False),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"format": "pt"}}, False),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "I32", "shape": [1],
        "data_offsets": [4, 8]}}, False),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, True),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, True),
        ({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, True),
        ({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}, True),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}, True),
        ({"a": {"dtype": "X9", "shape": [2], "data_offsets": [0, 8]}}, True),
        ({"a": 3}, True),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else value,
)  # fmt: skip
def test_safetensors_headers_as_the_reference_judges_them(verdict, builders, header, flagged):
    content = builders.safetensors(header)
    try:
        load(content)
        refused = False
    except (SafetensorError, KeyError, ValueError):
        refused = True
    assert refused == flagged
    assert (verdict(content).severity == "suspicious") == flagged


def test_templates_of_real_models_are_clean(builders, verdict):
    template = (
        "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}"
        ""
        "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' "
        "+ message['content'] + '<|im_end|>' }}{%- endfor %}"
        "{%- set ns = namespace(found=false) %}{% generation %}{{ messages[0].content.split('</think>')[-1] }}{% endgeneration %}"
    )
    assert verdict(builders.gguf(template)).severity == "clean"


def test_templates_are_parsed_and_never_rendered(verdict, builders):
    """A loop that would never end in rendering."""
    report = verdict(builders.gguf("{% for i in range(10**18) %}{% for j in range(10**18) %}x{% endfor %}{% endfor %}"))
    assert report.severity == "clean"


def test_documents_that_never_end_are_not_followed_for_ever(verdict, monkeypatch):
    """Each of the 200,000 could be read to the file's end: 80 GB."""
    looked_at = []

    def counted(block):
        size, length = balanced(block)
        looked_at.append(length)
        return size, length

    balanced = hdf5.balanced
    monkeypatch.setattr(hdf5, "balanced", counted)
    report = verdict(b"\x89HDF\r\n\x1a\n" + b'{"' * 400_000)
    assert sum(looked_at) < 2 * hdf5.PATIENCE
    assert [finding.kind for finding in report.findings] == ["limit"]


def test_what_was_found_last_is_not_lost_behind_many_findings(verdict, builders):
    members = {f"{number}": b"\0\1\2\xff" * 9 for number in range(30)} | {"z": builders.Call("os", "system", "x").pickled()}
    report = verdict(builders.zipped(members), limits=Limits(findings=5))
    assert report.severity == "dangerous"
    assert len(report.findings) <= 7


def test_control_characters_of_a_name_do_not_reach_the_terminal(verdict, builders):
    report = verdict(builders.zipped({"a\x1b[2Jb": builders.Call("os", "system", "x").pickled()}))
    assert all("\x1b" not in finding.path + finding.reason for finding in report.findings)


def test_progress_is_told_after_two_seconds_only(tmp_path, monkeypatch):
    from martensite.artifacts.scan import scanner

    (tmp_path / "a.txt").write_text("x")
    heard = []
    scan(tmp_path, listener=heard.append)
    assert heard == []
    monkeypatch.setattr(scanner, "PATIENCE", 0.0)
    scan(tmp_path, listener=heard.append)
    assert heard
    assert heard[0].stage == "scan"
