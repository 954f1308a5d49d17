"""The walk over opcodes against Python's own unpickler and disassembler."""

import io
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from martensite.artifacts.scan.imports import judge
from martensite.artifacts.scan.machine import Machine
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.symbols import Global
from martensite.artifacts.scan.walk import walk

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner) | st.frozensets(st.integers()),
    max_leaves=20,
)


def walked(content):
    return walk(Source(io.BytesIO(content), 0, len(content)))


@settings(max_examples=150, deadline=None)
@given(PLAIN, st.integers(0, 5))
def test_plain_data_is_followed_to_its_end(value, protocol):
    content = pickle.dumps(value, protocol)
    found = walked(content + b"more")
    assert found.finished
    assert found.sound
    assert found.end == len(content)
    assert found.opcodes == sum(1 for _ in pickletools.genops(content))
    names = {str(thing) for thing in found.imports}
    assert all(judge(*name.rsplit(".", 1))[0] == "clean" for name in names)


class Recorder(pickle.Unpickler):
    """What a real unpickler imports."""

    def __init__(self, file):
        super().__init__(file)
        self.found = []

    def find_class(self, module, name):
        self.found.append(Global(module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "value", [np.arange(3.0), np.float64(1), np.array(["a"]), {1: np.dtype("i4")}, slice(1, 2), {1.5, 2j}], ids=str
)
def test_imports_are_those_of_a_real_unpickler(value, protocol):
    content = pickle.dumps([value, value], protocol)
    recorder = Recorder(io.BytesIO(content))
    recorder.load()
    assert set(walked(content).imports) == set(recorder.found)


def test_memoize_numbers_as_python_does():
    """PUT over an old key doesn't move the number that MEMOIZE takes; the real unpickler says which name is imported."""
    content = b"\x80\x04K\x01q\x00q\x000\x8c\x0bcollections\x940\x8c\x07Counter\x940h\x01h\x02\x93."
    recorder = Recorder(io.BytesIO(content))
    recorder.load()
    assert list(walked(content).imports) == recorder.found == [Global("collections", "Counter")]


@pytest.mark.parametrize(
    ("module", "name", "severity"),
    [
        ("collections", "OrderedDict", "clean"), ("sklearn.linear_model._logistic", "LogisticRegression", "clean"),
        ("sklearn.linear_model.logistic", "LogisticRegression", "clean"), ("__builtin__", "set", "clean"),
        ("numpy.core.multiarray", "_reconstruct", "clean"), ("torch", "FloatStorage", "clean"), ("copy_reg", "_reconstructor",
        "clean"),
        ("sklearn.linear_model", "os", "suspicious"), ("sklearn.linear_model", "os.system", "dangerous"), ("torch", "hub.load",
        "dangerous"),
        ("collections", "OrderedDict.__init__", "dangerous"), ("my.package", "Net", "suspicious"), ("my.package", "load",
        "dangerous"),
        ("os", "getcwd", "dangerous"), ("urllib2", "urlopen", "dangerous"), ("commands", "getoutput", "dangerous"),
        ("os\n", "system", "suspicious"), ("", "", "suspicious"), ("builtins", "print", "suspicious"), ("numpy", "load",
        "dangerous"),
    ],
)  # fmt: skip
def test_judgement_of_names(module, name, severity):
    assert judge(module, name)[0] == severity


def test_every_harmless_name_of_python_and_torch_exists():
    """A name that doesn't exist would be a typing error; those of other versions are in the minority."""
    import importlib
    import warnings

    from martensite.artifacts.scan.harmless import HARMLESS

    for module in (
        "builtins",
        "collections",
        "copyreg",
        "_codecs",
        "datetime",
        "decimal",
        "uuid",
        "torch._utils",
        "numpy.random._pickle",
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            home = importlib.import_module(module)
        missing = [name for name in HARMLESS[module].split() if not hasattr(home, name)]
        assert missing == [], module


@pytest.fixture(scope="module")
def pickles(tmp_path_factory, benign, builders):
    files = builders.hostile(tmp_path_factory.mktemp("none") / "canary")
    many = pickle.dumps([[number * 1.5, number, f"row {number}", None, (number, -number)] for number in range(3000)])
    return [content for content, _ in files.values()] + [path.read_bytes() for path in sorted(benign.glob("*.pkl"))] + [many]


def test_the_short_way_for_common_opcodes_is_the_long_way(pickles, monkeypatch):
    short = [walked(content) for content in pickles]
    monkeypatch.setattr(Machine, "run_common", lambda self: None)
    assert [walked(content) for content in pickles] == short
