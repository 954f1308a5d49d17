"""Files that honest programs write: none is dangerous, and those without names of unknown classes are clean."""

from pathlib import Path

import pytest
import torch

from martensite.artifacts import save_bundle
from martensite.artifacts.scan import scan


def test_no_benign_file_is_dangerous(benign):
    report = scan(benign)
    assert len(report.files) >= 40
    assert [file.path for file in report.files if file.severity == "dangerous"] == []


def test_all_are_clean(benign):
    report = scan(benign)
    assert [(finding.path, finding.reason) for finding in report.findings] == []
    assert report.exit_code == 0


def test_each_is_recognised_by_its_content(benign, tmp_path):
    report = scan(benign)
    formats = {Path(file.path).name: set(file.formats) for file in report.files}
    expected = {"checkpoint.pt": "torch", "legacy.pth": "torch-legacy", "two.npz": "npy", "model.safetensors": "safetensors",
                "chat.gguf": "gguf",
                "small.onnx": "onnx", "plain.pb": "graphdef", "config.json": "json", "SVC.joblib": "compressed"}  # fmt: skip
    for name, form in expected.items():
        assert form in formats[name], name
        renamed = tmp_path / "renamed.dat"
        renamed.write_bytes((benign / name).read_bytes())
        assert form in scan(renamed).files[0].formats, name


def test_a_bundle_is_clean(model, tmp_path):
    save_bundle(model, tmp_path / "bundle")
    report = scan(tmp_path / "bundle")
    assert report.severity == "clean"
    assert len(report.files) == 3


def test_torchscript_is_suspicious_not_dangerous(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "script.pt"))
    report = scan(tmp_path / "script.pt")
    assert report.severity == "suspicious"
    assert {finding.kind for finding in report.findings} == {"torchscript"}


def test_weights_beside_an_onnx_model_are_raw_numbers(tmp_path, builders):
    (tmp_path / "model.onnx").write_bytes(builders.onnx_external("weights.data"))
    (tmp_path / "weights.data").write_bytes(b"\xf3\x81" * 64)
    assert scan(tmp_path).severity == "clean"
    assert scan(tmp_path / "weights.data").severity == "unjudged"


def test_pandas(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": ["x", "y"]})
    frame.to_pickle(tmp_path / "frame.pkl")
    assert scan(tmp_path / "frame.pkl").severity != "dangerous"


def test_onnx_as_the_library_writes_it(tmp_path):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy")
    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    report = scan(tmp_path / "model.onnx")
    assert report.severity == "clean"
    assert report.files[0].formats == ("onnx",)


def test_weights_of_any_first_byte_are_clean(tmp_path):
    """One array in a hundred begins like a pickle that takes from the copyreg registry."""
    rng = torch.Generator().manual_seed(0)
    weights = {}
    for first in range(256):
        weights[f"w{first}"] = torch.randint(0, 256, (64,), generator=rng, dtype=torch.uint8)
        weights[f"w{first}"][0] = first
    torch.save(weights, tmp_path / "checkpoint.pt")
    assert not scan(tmp_path / "checkpoint.pt").findings


def test_weights_that_call_what_they_take_from_the_registry_are_named(tmp_path):
    hidden = b"\x82\x01)R."  # EXT1, an empty tuple, REDUCE
    torch.save({"w": torch.frombuffer(bytearray(hidden.ljust(64, b"\0")), dtype=torch.uint8)}, tmp_path / "checkpoint.pt")
    report = scan(tmp_path / "checkpoint.pt")
    assert {finding.kind for finding in report.findings} == {"pickle-extension", "pickle-call"}
