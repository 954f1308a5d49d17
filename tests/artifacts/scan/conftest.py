"""Hostile files, built byte by byte: each would leave a canary behind, or do worse, if anything loaded it."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from martensite.artifacts.scan import scan


class Call:
    """Pickles as a call of ``module.name``, with the opcodes of any protocol; nothing is imported."""

    def __init__(self, module, name, *arguments):
        self.module, self.name, self.arguments = module, name, arguments

    def pickled(self, protocol=2, body=b""):
        inner = pickle.dumps(self.arguments, min(protocol, 4))
        inner = inner[2:-1] if protocol >= 2 else inner[:-1]
        if protocol >= 4:
            inner = inner[9:] if inner[:1] == b"\x95" else inner  # the frame counts bytes that are now others
            brought = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (self.module, self.name)) + b"\x93"
        else:
            brought = f"c{self.module}\n{self.name}\n".encode()
        head = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
        return head + brought + inner + b"R" + body + b"."


def zipped(members, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members, mode="w", kind=tarfile.REGTYPE, link=""):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def message(*fields):
    """A protocol buffer: (number, bytes or whole number)."""
    parts = []
    for number, value in fields:
        if isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            value = value.encode() if isinstance(value, str) else value
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
    return b"".join(parts)


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def safetensors(header, data=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def gguf(template):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template)


def torch_zip(pickled):
    return zipped({"archive/data.pkl": pickled, "archive/version": b"3\n", "archive/data/0": b"\0" * 64})


def npy_objects(pickled, kind="|O"):
    header = repr({"descr": kind, "fortran_order": False, "shape": (1,)}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + pickled


def hostile(canary):
    """{file name: (content, least severity)}"""
    touch = f"touch {canary}"
    code = f"open({str(canary)!r}, 'w')"
    system = Call("os", "system", touch)
    evil = system.pickled()
    files = {f"system{protocol}.pkl": (system.pickled(protocol), "dangerous") for protocol in range(6)}
    calls = {
        "posix": ("posix", "system", touch), "subprocess": ("subprocess", "Popen", ["touch", str(canary)]),
        "eval": ("builtins", "eval", code), "exec2": ("__builtin__", "eval", code), "import": ("builtins", "__import__", "os"),
        "getattr": ("builtins", "getattr", "os", "system"), "partial": ("functools", "partial", "os.system"),
        "reduce": ("functools", "reduce", "f", [1]), "ctypes": ("ctypes", "CDLL", "libc.so.6"),
        "timeit": ("timeit", "timeit", code), "numpy.load": ("numpy", "load", "other.npy", None, True),
        "runpy": ("runpy", "run_path", "x.py"), "importlib": ("importlib", "import_module", "antigravity"),
        "pip": ("pip", "main", ["install", "x"]), "pip2": ("pip._internal.cli.main", "main", ["install", "x"]),
        "torch.hub": ("torch.hub", "load", "someone/repo", "model"), "torch.load": ("torch", "load", "other.pt"),
        "methodcaller": ("operator", "methodcaller", "system", touch), "attrgetter": ("operator", "attrgetter", "system"),
        "pickle": ("_pickle", "loads", b"x"), "webbrowser": ("webbrowser", "open", "http://127.0.0.1"),
        "cprofile": ("cProfile", "runctx", code, {}, {}), "pdb": ("pdb", "run", code), "code": ("code", "interact"),
        "pty": ("pty", "spawn", "sh"), "shutil": ("shutil", "rmtree", "/nonexistent"), "socket": ("socket",
        "create_connection", 1),
        "urllib": ("urllib.request", "urlopen", "http://127.0.0.1"), "marshal": ("marshal", "loads", b"x"),
        "types": ("types", "FunctionType", 1), "runstring": ("numpy.testing._private.utils", "runstring", code, {}),
        "f2py": ("numpy.f2py.crackfortran", "getlincoef", code, {}), "lib2to3": ("lib2to3.pgen2.grammar", "Grammar.loads", b"x"),
        "idlelib": ("idlelib.run", "Executive.runcode", code), "bottleneck": ("torch.utils.bottleneck.__main__",
        "run_cprofile", code),
        "collect_env": ("torch.utils.collect_env", "run", touch), "joblib.load": ("joblib", "load", "x.joblib"),
        "pandas": ("pandas", "read_pickle", "x.pkl"), "resolve": ("pkgutil", "resolve_name", "os:system"),
        "fileio": ("_io", "FileIO", str(canary), "w"), "dunder": ("collections", "OrderedDict.__init__.__globals__", 1),
        "logging": ("logging", "FileHandler", str(canary)), "uuid": ("uuid", "_get_command_stdout", "touch", str(canary)),
        "asyncio": ("asyncio.unix_events", "_UnixSubprocessTransport._start", 1), "dill": ("dill._dill", "_create_code", 1),
        "cloudpickle": ("cloudpickle.cloudpickle", "_make_function", 1),
    }  # fmt: skip
    for name, (module, attribute, *arguments) in calls.items():
        least = "suspicious" if name == "uuid" else "dangerous"
        files[f"call-{name}.pkl"] = (Call(module, attribute, *arguments).pickled(4), least)

    text = touch.encode()
    files |= {
        "inst.pkl": (b"(S'" + text + b"'\nios\nsystem\n.", "dangerous"),
        "obj.pkl": (b"(cos\nsystem\nS'" + text + b"'\no.", "dangerous"),
        "build.pkl": (b"\x80\x02cos\nsystem\n}(X\x01\x00\x00\x00aX\x01\x00\x00\x00bub.", "dangerous"),
        "build-class.pkl": (b"\x80\x02ccollections\nOrderedDict\n}X\x08\x00\x00\x00__init__K\x01sb.", "dangerous"),
        "newobj.pkl": (b"\x80\x02csubprocess\nPopen\nX\x02\x00\x00\x00ls\x85\x81.", "dangerous"),
        "ext1.pkl": (b"\x80\x02\x82\x01)R.", "suspicious"),
        "ext4.pkl": (b"\x80\x02\x84\x01\x02\x03\x00)R.", "suspicious"),
        "memo.pkl": (b"\x80\x04\x8c\x02os\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x01x\x85R.", "dangerous"),
        "memo-order.pkl": (b"\x80\x04K\x01q\x00q\x000\x8c\x02os\x940\x8c\x06system\x940h\x01h\x02\x93)R.", "dangerous"),
        "dup.pkl": (b"\x80\x04\x8c\x02os2\x93)R.", "suspicious"),
        "computed.pkl": (b"\x80\x04cbuiltins\nstr\n\x8c\x02os\x85R\x8c\x06system\x93\x8c\x01x\x85R.", "dangerous"),
        "escapes.pkl": (b"S'\\x6fs'\nS'system'\n\x93(S'x'\ntR.", "dangerous"),
        "second.pkl": (pickle.dumps([1, 2]) + evil, "dangerous"),
        "trailing.pkl": (pickle.dumps([1, 2]) + b"\0" * 9 + b"junk", "suspicious"),
        "broken.pkl": (evil[:-1] + b"\xff\xff", "dangerous"),
        "truncated.pkl": (evil[:-1], "dangerous"),
        "underflow.pkl": (b"\x80\x020000cos\nsystem\nX\x01\0\0\0x\x85R.", "dangerous"),
        "import-only.txt": (b"cantigravity\nx\nhello", "dangerous"),
        "escaped-bytes.pkl": (pickle.dumps({"a": evil}, 0), "dangerous"),
        "spelled.npy": (npy_objects(evil, "object"), "dangerous"),
        "field.npy": (npy_objects(evil, [("a", "<f4"), ("b", "O")]), "dangerous"),
        "late-underflow.txt": (b"cos\nsystem\n(S'x'\ntR000.", "dangerous"),
        "persistent.bin": (b"PK\ncos\nsystem\n(S'x'\ntR.", "dangerous"),
        "template4.gguf": (gguf("{% generation %}{{ x|attr(a ~ b) }}{% endgeneration %}"), "dangerous"),
        "template5.gguf": (gguf("{% unknown %}{{ x|attr(a ~ b) }}"), "dangerous"),
        "template6.gguf": (gguf("{{ x|map(attribute=a ~ b)|list }}{{ x|map('attr', y) }}"), "dangerous"),
        "template7.gguf": (gguf("{{ x['_' ~ '_class' ~ '__'] }}"), "suspicious"),
        "tag.yaml": (b"%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system ['x']\n", "dangerous"),
        "two-ends.zip": (two_ends(evil), "dangerous"),
        "nested.pkl": (pickle.dumps({"data": evil}), "dangerous"),
        "nested2.pkl": (pickle.dumps({"data": pickle.dumps([pickle.dumps({"x": evil})])}, 2), "dangerous"),
        "from-bytes.pkl": (Call("torch.storage", "_load_from_bytes", evil).pickled(), "dangerous"),
        "renamed.png": (evil, "dangerous"),
        "renamed.safetensors": (evil, "dangerous"),
        "renamed.txt": (system.pickled(0), "dangerous"),
        "checkpoint.pt": (torch_zip(evil), "dangerous"),
        "no-extension": (torch_zip(evil), "dangerous"),
        "legacy.pt": (
            b"".join(pickle.dumps(one, 2) for one in (0x1950A86A20F9469CFC6C, 1001, {})) + evil + pickle.dumps([], 2),
            "dangerous",
        ),
        "objects.npy": (npy_objects(evil), "dangerous"),
        "objects.npz": (zipped({"a.npy": npy_objects(evil)}), "dangerous"),
        "nested.zip": (zipped({"a.zip": zipped({"b.tar": tarred({"c.pkl": evil})})}), "dangerous"),
        "model.tar.gz": (tarred({"deep/model.pkl": evil}, "w:gz"), "dangerous"),
        "z.joblib": (zlib.compress(evil), "dangerous"), "gz.joblib": (gzip.compress(evil), "dangerous"),
        "bz2.joblib": (bz2.compress(evil), "dangerous"), "xz.joblib": (lzma.compress(evil), "dangerous"),
        "lzma.joblib": (lzma.compress(evil, lzma.FORMAT_ALONE), "dangerous"),
        "two-streams.gz": (gzip.compress(b"text") + gzip.compress(evil), "unjudged"),
        "crc.zip": (zipped({"data.pkl": evil}).replace(struct.pack("<I", zlib.crc32(evil)), b"\1\2\3\4"), "dangerous"),
        "flag.zip": (flagged(zipped({"data.pkl": evil})), "dangerous"),
        "no-directory.zip": (zipped({"data.pkl": evil}).split(b"PK\1\2")[0], "dangerous"),
        "renamed-inside.zip": (zipped({"data.pkl": evil}).replace(b"data.pkl", b"read.txt", 1), "dangerous"),
        "hidden.zip": (hidden(evil), "dangerous"),
        "slip.zip": (zipped({"../../outside": b"x"}), "dangerous"),
        "slip.tar": (tarred({"/outside": b"x"}), "dangerous"),
        "link.tar": (tarred({"in": b""}, kind=tarfile.SYMTYPE, link="../../outside"), "dangerous"),
        "bomb.zip": (zipped({"a": b"\0" * (70 << 20)}, zipfile.ZIP_DEFLATED), "suspicious"),
        "polyglot.png": (b"\x89PNG\r\n\x1a\n" + b"\0" * 64 + torch_zip(evil), "dangerous"),
        "polyglot.gguf": (gguf("hello") + torch_zip(evil), "dangerous"),
        "native.bin": (b"\x7fELF\x02\x01\x01" + b"\0" * 64, "dangerous"),
        "lambda.keras": (zipped({"config.json": json.dumps(keras_lambda())}), "dangerous"),
        "module.keras": (zipped({"config.json": json.dumps(
            {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", str(canary)]}})}), "dangerous"),
        "function.keras": (zipped({"config.json": json.dumps(
            {"module": "keras.utils", "class_name": "function", "config": "get_file"})}), "dangerous"),
        "unsafe.keras": (zipped({"config.json": json.dumps(
            {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"})}), "dangerous"),
        "global.keras": (zipped({"config.json": json.dumps({"module": "keras.src.backend.common.global_state",
            "class_name": "function", "config": "set_global_attribute"})}), "dangerous"),
        "named.keras": (zipped({"config.json": json.dumps(
            {"class_name": "function", "config": {"module": "os", "function_name": "system"}})}), "dangerous"),
        "keraslike.keras": (zipped({"config.json": json.dumps(
            {"module": "keras_evil.layers", "class_name": "Dense", "config": {}})}), "suspicious"),
        "twice.keras": (zipped({"config.json": f'{{"a": {json.dumps(keras_lambda())}, "a": 1}}'}), "dangerous"),
        "lambda.h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99 + json.dumps(keras_lambda()).encode() + b"\0" * 99, "dangerous"),
        "escaped.h5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 9 + json.dumps(keras_lambda()).replace("Lambda",
        "L\\u0061mbda").encode(), "dangerous"),
        "saved_model.pb": (message((1, 1), (2, message((2, message((1, message((1, "n"), (2, "WriteFile")))))))), "dangerous"),
        "function.pb": (message((1, 1), (2, message((2, message((2, message((1, message((3, message((1, "n"), (2,
        "ReadFile")))))))))))),
                        "dangerous"),
        "frozen.pb": (message((1, message((1, "n"), (2, "PyFunc"))), (1, message((1, "m"), (2, "Add")))), "dangerous"),
        "external.onnx": (onnx_external("../../etc/passwd"), "dangerous"),
        "external2.onnx": (onnx_external("/etc/passwd"), "dangerous"),
        "operators.onnx": (message((1, 8), (7, message((1, message((1, "a"), (4, "Evil"), (7, "com.evil"))))), (8, b"")),
        "suspicious"),
        "script.pt": (zipped({"m/data.pkl": b"\x80\x02}.", "m/code/__torch__.py": "torch.save(x, 'y')"}), "dangerous"),
        "template.gguf": (gguf("{{ ''.__class__.__mro__[1].__subclasses__() }}"), "dangerous"),
        "template2.gguf": (gguf("{{ x|attr('__cla' ~ 'ss__') }}"), "dangerous"),
        "template3.gguf": (gguf("{{ cycler.next }}"), "suspicious"),
        "tokenizer_config.json": (json.dumps({"chat_template": "{{ x['__globals__'] }}"}).encode(), "dangerous"),
        "remote.json": (b'{"auto_map": {"AutoModel": "modeling.Evil"}}', "suspicious"),
        "objects.yaml": (b"a: !!python/object/apply:os.system ['x']\n", "dangerous"),
        "modeling.py": (b"import os\n", "suspicious"),
        "overlap.safetensors": (safetensors({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "ab"}),
        "suspicious"),
        "gap.safetensors": (safetensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}), "suspicious"),
        "range.safetensors": (safetensors({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}), "suspicious"),
        "shape.safetensors": (safetensors({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 8]}}), "suspicious"),
        "twice.safetensors": (safetensors(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}'
        ), "suspicious"),
        "long.safetensors": (struct.pack("<Q", 1 << 40) + b"{}" + b"\0" * 64, "suspicious"),
        "deep.safetensors": (safetensors(b'{"a":' * 100_000), "suspicious"),
        "hidden.safetensors": (safetensors({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8 + evil),
        "dangerous"),
        "schema.skops": (zipped({"schema.json": json.dumps({"__module__": "os", "__class__": "system"})}), "dangerous"),
    }  # fmt: skip
    return files


def keras_lambda():
    layer = {
        "module": "keras.layers",
        "class_name": "Lambda",
        "config": {"function": {"class_name": "__lambda__", "config": {"code": "4w=="}}},
    }
    return {"class_name": "Functional", "config": {"layers": [layer]}}


def onnx_external(place):
    entry = message((1, "location"), (2, place))
    return message((1, 8), (7, message((5, message((8, "w"), (13, entry), (14, 1))))))


def flagged(archive):
    """The encryption flag set in both headers, without any encryption."""
    content = bytearray(archive)
    content[6] |= 1
    content[archive.index(b"PK\1\2") + 8] |= 1
    return bytes(content)


def hidden(evil):
    """A member between two others that only the local headers know."""
    first, second = zipped({"a.txt": b"hello"}), zipped({"data.pkl": evil})
    body, directory = first[: first.index(b"PK\1\2")], first[first.index(b"PK\1\2") :]
    inserted = second[: second.index(b"PK\1\2")]
    end = bytearray(directory)
    place = end.index(b"PK\5\6")
    end[place + 16 : place + 20] = struct.pack("<I", len(body) + len(inserted))
    return body + inserted + bytes(end)


def two_ends(evil):
    """Two directories: the classic end record leads to an innocent one, the record for large archives to the other."""
    bad, good = zipped({"data.pkl": evil}), zipped({"a.txt": b"hello"})
    place = len(bad[: bad.index(b"PK\5\6")])
    split = good.index(b"PK\1\2")
    directory = bytearray(good[split : good.index(b"PK\5\6")])
    directory[42:46] = struct.pack("<I", place)
    body = bad[:place] + good[:split]
    wide = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, place - bad.index(b"PK\1\2"), bad.index(b"PK\1\2"))
    locator = b"PK\6\7" + struct.pack("<IQI", 0, len(body) + len(directory), 1)
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), len(body), 0)
    return body + bytes(directory) + wide + locator + end


@pytest.fixture(scope="session")
def builders():
    return SimpleNamespace(
        Call=Call, zipped=zipped, tarred=tarred, message=message, safetensors=safetensors, gguf=gguf, npy_objects=npy_objects,
        torch_zip=torch_zip, hostile=hostile, onnx_external=onnx_external,
    )  # fmt: skip


@pytest.fixture
def verdict(tmp_path):
    """The scan of one file made of these bytes."""

    def judge(content, name="file.bin", **options):
        path = tmp_path / name
        path.write_bytes(content)
        return scan(path, **options)

    return judge


@pytest.fixture(scope="session")
def benign(tmp_path_factory):
    """A folder of files that honest programs wrote."""
    folder = tmp_path_factory.mktemp("benign")
    write_benign(folder)
    return folder


def write_benign(folder):
    """Fill a folder with files that honest programs write."""
    import joblib
    from safetensors.torch import save_file
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import (
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        IsolationForest,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    x, y = np.random.default_rng(0).random((60, 4)), np.arange(60) % 3
    kinds = (
        LogisticRegression(), SGDClassifier(), RandomForestClassifier(3), GradientBoostingClassifier(n_estimators=2),
        HistGradientBoostingClassifier(max_iter=2), SVC(), KNeighborsClassifier(), MLPClassifier((4,), max_iter=300), KMeans(3),
        GaussianNB(), DecisionTreeClassifier(), IsolationForest(n_estimators=3), CalibratedClassifierCV(LogisticRegression(),
        cv=2),
        make_pipeline(StandardScaler(), PCA(2), LogisticRegression()),
    )  # fmt: skip
    for number, model in enumerate(kinds):
        fitted = model.fit(x, y)
        name = type(model).__name__
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(fitted, number % 6))
        joblib.dump(fitted, folder / f"{name}.joblib", compress=3 * (number % 2))
    joblib.dump({"a": np.array([{"x": 1}, "b"], dtype=object), "b": np.arange(7)}, folder / "mixed.joblib")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.rand(5, 4, generator=torch.Generator().manual_seed(0))).sum().backward()
    optimizer.step()
    checkpoint = {"model": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "loss": [0.5, 0.25]}
    torch.save(checkpoint, folder / "checkpoint.pt")
    torch.save(checkpoint, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save(net, folder / "whole.pt")
    (folder / "state.pkl").write_bytes(pickle.dumps(net.state_dict()))
    np.save(folder / "numbers.npy", x)
    np.save(folder / "names.npy", np.array(["a", "bc"]))
    np.savez(folder / "two.npz", x=x, y=y)
    np.savez_compressed(folder / "packed.npz", x=x, y=y)
    save_file({name: value.clone() for name, value in net.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"hidden": 8, "chat_template": "{% for m in messages %}{{ m['role'] }}{% endfor %}"})
    )
    (folder / "README.md").write_text("# A model\n\nTrained on digits.\n")
    (folder / "chat.gguf").write_bytes(gguf("{{ bos_token }}{% for m in messages %}{{ m.content | trim }}{% endfor %}"))
    (folder / "small.onnx").write_bytes(
        message((1, 8), (7, message((1, message((1, "x"), (2, "y"), (4, "Relu"))), (2, "g"))), (8, message((2, 17))))
    )
    (folder / "plain.pb").write_bytes(message((1, message((1, "n"), (2, "MatMul")))))
    (folder / "all.tar.gz").write_bytes(tarred({"model/two.npz": (folder / "two.npz").read_bytes()}, "w:gz"))
