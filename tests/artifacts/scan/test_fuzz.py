"""Random and mutated bytes: every file gets a verdict, soon, and in little memory."""

import io
import resource
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from martensite.artifacts.scan import scan
from martensite.artifacts.scan.limits import Limits
from martensite.artifacts.scan.scanner import look
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Run, Visit

QUICK = settings(
    max_examples=200, deadline=2000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
MAGIC = (
    b"", b"\x80\x02", b"\x80\x04\x95", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"x\x9c", b"\x93NUMPY\1\0",
    b"GGUF\3\0\0\0", b"\x89HDF\r\n\x1a\n", b"\x10\0\0\0\0\0\0\0{", b"(c", b"\x08\x01\x12", b"\x0a", b"{\"class_name\":",
    b"ustar", b"MZ",
)  # fmt: skip
SMALL = Limits(unpacked=2 * 2**20, members=200, depth=4)


def judged(content):
    """A scan of the bytes; a format that stumbles over them is our mistake, though the verdict would still not be clean."""
    run = Run(SMALL, look, lambda: None)
    look(Visit("fuzz", Source(io.BytesIO(content), 0, len(content)), run))
    assert [finding.reason for finding in run.findings if finding.kind == "unparsable"] == []


@QUICK
@given(st.sampled_from(MAGIC), st.binary(max_size=600))
def test_random_bytes_behind_any_magic(magic, tail):
    judged(magic + tail)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, builders):
    files = builders.hostile(tmp_path_factory.mktemp("canary") / "sings")
    names = ("checkpoint.pt", "nested.zip", "hidden.zip", "objects.npz", "overlap.safetensors", "template.gguf", "model.tar.gz",
             "saved_model.pb", "external.onnx", "lambda.h5", "link.tar", "nested.pkl", "legacy.pt",
             "z.joblib", "slip.tar")  # fmt: skip
    return [files[name][0] for name in names]


@QUICK
@given(st.data())
def test_mutated_files(seeds, data):
    content = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        action = data.draw(st.sampled_from(("change", "cut", "repeat", "fill")))
        if action == "change":
            content[place] = data.draw(st.integers(0, 255))
        elif action == "cut" and len(content) > 40:
            del content[place : place + data.draw(st.integers(1, 30))]
        elif action == "repeat" and len(content) < 50_000:
            content[place:place] = content[place : place + 100]
        else:
            content[place : place + 4] = b"\xff" * len(content[place : place + 4])
    judged(bytes(content))


OPCODES = (b"0", b"1", b"2", b"(", b"t", b"R", b"b", b"}", b"]", b"o", b"\x81", b"\x85", b"\x86", b"\x92", b"\x93", b"\x94",
b"h\0", b"q\0",
           b"K\1", b"cos\nsystem\n", b"ios\nsystem\n", b"X\2\0\0\0os", b"u", b"e", b"s", b"a", b".",
           b"\x82\1", b"Q", b"\x95" + b"\0" * 8)  # fmt: skip


@QUICK
@given(st.lists(st.sampled_from(OPCODES), max_size=40))
def test_opcodes_in_any_order(codes):
    judged(b"\x80\x04" + b"".join(codes))


def test_a_wide_size_that_is_cut_off():
    """Found by `make fuzz`: a local header whose ZIP64 field ends with the file."""
    header = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 45, 0, 0, 0, 0, 0, 0xFFFFFFFF, 0xFFFFFFFF, 1, 20)
    judged(header + b"a" + struct.pack("<HH", 1, 16) + b"\1" * 11)


def test_memory_stays_bounded(tmp_path):
    """A pickle that asks for lengths, memo entries and texts without end costs its own size, not what it states."""
    huge = b"\x80\x04" + b"\x8d" + (2**62).to_bytes(8, "little") + b"x"
    many = b"\x80\x04" + b"]" + b"".join(b"K\1r" + number.to_bytes(4, "little") + b"0" for number in range(0, 2**24, 97))
    (tmp_path / "huge.pkl").write_bytes(huge)
    (tmp_path / "many.pkl").write_bytes(many)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = scan(tmp_path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert report.exit_code != 0
    assert grown < 200 * 2**20
