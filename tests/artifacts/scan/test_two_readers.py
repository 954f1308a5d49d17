"""Files that two readers read differently: each runs a command in the loader that it is made for, and must not be clean.

joblib skips arrays between opcodes, plain unpicklers don't, torch's old loader reads several pickles in a row: what one takes for
data is code for another. Every file here is loaded for real, to see that it does what it is said to do.
"""

import contextlib
import pickle
import struct
import warnings

import joblib
import pytest
import torch

from martensite.artifacts.scan import scan


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def blob(content, opcode=b"B"):
    return opcode + struct.pack("<I", len(content)) + content


WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
NEW = WRAPPER + b")\x81"
ARRAY = b"cnumpy\nndarray\n"
FLAGS = {"plain": 0, "object": 63}


def dtype(code="|i1", length=b"J\xff\xff\xff\xff", flags="plain"):
    state = b"(K\x03" + text("|") + b"NNN" + length + b"J\xff\xff\xff\xffK" + bytes([FLAGS[flags]]) + b"t"
    return b"cnumpy\ndtype\n" + text(code) + b"\x89\x88\x87R" + state + b"b"


def pairs(count, kind=None, align=b"N"):
    kind = dtype() if kind is None else kind
    return b"".join((
        b"(", text("subclass"), ARRAY, text("shape"), b"K", bytes([count]), b"\x85", text("order"), text("C"), text("dtype"),
        kind, text("allow_mmap"), b"\x89", text("numpy_array_alignment_bytes"), align, b"u",
    ))  # fmt: skip


def shape(count):
    return b"K" + bytes([count]) + b"\x85"


def hidden(evil, count=17):
    """``count`` bytes of an array, and what joblib goes on with; for who skips no array the end of it is a text over the rest."""
    rest = b"0N0" + evil[:-1]
    return b"N0" * ((count - 5) // 2) + b"X" + struct.pack("<I", len(rest)) + rest + b"N."


@pytest.fixture
def files(tmp_path):
    """Name to content, each of which makes the file ``canary``."""
    evil = f"cposix\nsystem\n(S'touch {tmp_path / 'canary'}'\ntR.".encode()
    head, after = b"\x80\x04", hidden(evil)
    whole = b"}" + pairs(17)
    started = b"(" + ARRAY + shape(0) + text("C") + dtype() + b"\x89"
    acting = evil[:-1] + b"0" + b"N0" * 40
    inner = head + NEW + b"}" + pairs(len(acting)) + b"b" + acting + b"0N."
    legacy = b"L119547037146038801333356L\n.I1001\n.(d." + evil + b"(l."
    legacy += b"\n" * (len(legacy) % 2)
    wide = legacy.decode("utf-16-le").encode("utf-8", "surrogatepass")
    load = head + b"ctorch.storage\n_load_from_bytes\n"
    encode = b"c_codecs\nencode\n"
    aligned = b"}" + pairs(0).replace(text("numpy_array_alignment_bytes") + b"N", b"")
    return {
        "by-newobj.joblib": head + b"ccopyreg\n__newobj__\n" + WRAPPER + b"\x85R" + whole + b"b" + after,
        "by-tree.joblib": head + b"csklearn.neighbors._kd_tree\nnewObj\n" + WRAPPER + b"\x85R" + whole + b"b" + after,
        "by-tensor.joblib": head + b"ctorch._tensor\n_rebuild_from_type_v2\n(" + WRAPPER + WRAPPER + started + b"t}tR" + whole
        + b"b" + after,
        "by-mask.joblib": head + b"cnumpy.ma.core\n_mareconstruct\n(" + WRAPPER + ARRAY + shape(0) + text("i1") + b"tR" + whole
        + b"b" + after,
        "by-tag.joblib": head + b"ctorch.jit._pickle\nrestore_type_tag\n" + NEW + text("x") + b"\x86R" + whole + b"b" + after,
        "tagged-state.joblib": head + NEW + b"}q\x63" + pairs(0) + b"ctorch.jit._pickle\nrestore_type_tag\nh\x63" + text("x")
        + b"\x86R(" + text("shape") + shape(17) + b"u0b" + after,
        "from-memo.joblib": head + NEW + whole + b"q\x630h\x63b" + after,
        "by-memo.joblib": head + NEW + b"}q\x63" + pairs(0) + b"h\x63(" + text("shape") + shape(17) + b"u0b" + after,
        "crowded.joblib": head + NEW + b"}" + pairs(0) + b"(" + b"".join(text(f"k{n}") + b"N" for n in range(40)) + b"u("
        + text("shape") + shape(17) + b"ub" + after,
        "made-key.joblib": head + NEW + b"}" + pairs(0) + b"(cbuiltins\nstr\n" + text("shape") + b"\x85R" + shape(17) + b"ub"
        + after,
        "long-text.joblib": head + NEW + b"}" + pairs(1, dtype("|S1", b"K\x11")) + b"b" + after,
        "padding.joblib": head + NEW + b"}" + pairs(0, align=text("x")) + b"b)" + hidden(evil, 41),
        "default.joblib": head + WRAPPER + started + b"tR" + aligned + b"b)" + hidden(evil, 41),
        "objects.joblib": head + NEW + b"}" + pairs(1, dtype("|O", flags="object")) + b"b" + inner + b".",
        "array.pkl": head + NEW + b"}" + pairs(len(acting)) + b"b" + acting + b".",
        "legacy.pt": legacy,
        "legacy.pkl": load + blob(legacy) + b"\x85R.",
        "legacy-later.pkl": load + blob(b"N0" + legacy) + b"\x85R.",
        "characters.pkl": load + encode + blob(b"N0" + legacy, b"X") + text("latin1") + b"\x86R\x85R.",
        "wide.pkl": load + encode + blob(wide, b"X") + text("utf-16-le") + b"\x86R\x85R.",
        "turned.pkl": head + b"".join(encode + text(one) + text("rot13") + b"\x86R" for one in ("cbfvk", "flfgrz")) + b"\x93"
        + text(f"touch {tmp_path / 'canary'}") + b"\x85R.",
        "last.pkl": pickle.dumps([1], 0) * 30 + evil,
    }  # fmt: skip


def load(path):
    """As who meant to be fooled would."""
    if path.suffix == ".joblib":
        joblib.load(path)
    elif path.suffix == ".pt":
        torch.load(path, weights_only=False)
    else:
        with path.open("rb") as file:
            while file.peek(1):
                pickle.load(file)


NAMES = (
    "by-mask.joblib", "by-tag.joblib", "tagged-state.joblib",
    "by-newobj.joblib", "by-tree.joblib", "by-tensor.joblib", "from-memo.joblib", "by-memo.joblib", "crowded.joblib",
    "made-key.joblib", "long-text.joblib", "padding.joblib", "default.joblib", "objects.joblib", "array.pkl", "legacy.pt",
    "legacy.pkl", "legacy-later.pkl", "characters.pkl", "wide.pkl", "turned.pkl", "last.pkl",
)  # fmt: skip


def test_all_are_named(files):
    assert set(files) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_runs_is_flagged(name, files, tmp_path):
    path = tmp_path / name
    path.write_bytes(files[name])
    report = scan(path)
    assert report.severity in ("suspicious", "dangerous"), report.findings
    assert not (tmp_path / "canary").exists()
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # what comes after the command may fail
        warnings.simplefilter("ignore")
        load(path)
    assert (tmp_path / "canary").exists()
