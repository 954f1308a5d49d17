"""Properties of networks in ONNX: the graph is the file's function, verdicts are those of an exact computation."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from martensite.certification.bounds.onnx_graph import read_onnx
from martensite.certification.properties import verify_property
from martensite.certification.vnnlib import read_vnnlib
from martensite.core.errors import ArtifactError, DataError, ModelError

onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")


class File:
    """A network in ONNX, operator by operator."""

    def __init__(self, shape, seed=0):
        self.shape, self.random, self.nodes, self.constants, self.last = shape, np.random.default_rng(seed), [], [], "x"

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def weights(self, *shape):
        return self.constant(self.random.normal(size=shape) * 0.7)

    def add(self, kind, *operands, source=None, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, [source or self.last, *operands], [name], **attributes))
        self.last = name
        return self

    def save(self, path):
        numbers = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes, "net", [onnx.helper.make_tensor_value_info("x", numbers, [1, *self.shape])],
            [onnx.helper.make_tensor_value_info(self.last, numbers, None)], self.constants,
        )  # fmt: skip
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, str(path))
        return path


def dense(path, seed=0, hidden=5, outputs=2):
    net = File((3,), seed)
    net.add("Gemm", net.weights(hidden, 3), net.weights(hidden), transB=1).add("Relu")
    return net.add("MatMul", net.weights(hidden, outputs)).add("Add", net.weights(outputs)).save(path)


def images(path):
    net = File((2, 6, 6))
    net.add("Sub", net.constant(np.full((1, 2, 1, 1), 0.5))).add("Div", net.constant(0.3))
    net.add("Conv", net.weights(4, 2, 3, 3), net.weights(4), pads=[1, 1, 1, 1], strides=[1, 1], kernel_shape=[3, 3])
    scale = [net.weights(4), net.weights(4), net.weights(4), net.constant([0.5, 1.0, 2.0, 0.3])]
    net.add("BatchNormalization", *scale).add("LeakyRelu", alpha=0.2)
    side = net.last
    net.add("Conv", net.weights(4, 2, 1, 1), group=2, kernel_shape=[1, 1]).add("Sigmoid").add("Add", side).add(
        "Mul", net.constant(2.0)
    )
    net.add("Sub", net.constant(np.linspace(0, 1, 36).reshape(6, 6))).add("Relu")
    net.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2]).add("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    net.add("Tanh").add("Dropout").add("Reshape", net.constant([1, -1], np.int64)).add("Identity")
    net.add("Gemm", net.weights(16, 3), net.weights(3), alpha=0.5, beta=2.0)
    other = net.last
    return net.add("MatMul", net.weights(3, 3)).add("Sub", other).save(path)


def run(path, x):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": row[None].astype(np.float32)})[0].ravel() for row in x])


@pytest.mark.parametrize("build", [dense, images])
def test_the_graph_is_the_files_function(build, tmp_path):
    path = build(tmp_path / "net.onnx")
    graph = read_onnx(path)
    x = np.random.default_rng(1).uniform(size=(6, *graph.nodes[0].shape))
    assert np.allclose(graph.value(torch.from_numpy(x)).numpy(), run(path, x), atol=1e-4)


def property_text(ends, limit, outputs=2):
    lines = [f"(declare-const X_{i} Real)" for i in range(len(ends))] + [f"(declare-const Y_{j} Real)" for j in range(outputs)]
    lines += [f"(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))" for i, (low, high) in enumerate(ends)]
    return "\n".join([*lines, f"(assert (<= (- Y_0 Y_1) {limit}))"])


def least_difference(path, ends):
    """The least Y_0 - Y_1 over a box: a linear program for each pattern of active rectifiers."""
    graph = read_onnx(path)
    w1, b1 = graph.nodes[1].op.weight.numpy(), graph.nodes[1].op.bias.numpy()
    w2, b2 = graph.nodes[3].op.weight.numpy(), graph.nodes[4].op.bias.numpy()
    c, least = w2[0] - w2[1], np.inf
    for pattern in itertools.product((0, 1), repeat=len(b1)):
        sign = 2 * np.array(pattern) - 1
        found = linprog((c * pattern) @ w1, A_ub=-sign[:, None] * w1, b_ub=sign * b1, bounds=ends)
        if found.status == 0:
            least = min(least, found.fun + (c * pattern) @ b1 + b2[0] - b2[1])
    return least


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_against_enumeration(seed, tmp_path):
    path, ends = dense(tmp_path / "net.onnx", seed), [(0.1, 0.6), (-0.3, 0.4), (0.0, 1.0)]
    least = least_difference(path, ends)
    for gap, verdict in ((-0.01, "verified"), (0.01, "falsified")):
        file = tmp_path / f"{verdict}.vnnlib"
        file.write_text(property_text(ends, least + gap))
        result = verify_property(path, file)
        assert result.verdict == verdict
        if verdict == "falsified":
            (case,) = read_vnnlib(file)
            x, y = result.counterexample, run(path, result.counterexample.numpy()[None])[0]
            assert ((x.double() >= case.low) & (x.double() <= case.high)).all()
            assert np.array_equal(y, result.outputs.numpy())
            assert y[0] - y[1] <= least + gap
        else:
            assert result.counterexample is None


def test_within_too_few_boxes_it_does_not_know(tmp_path):
    path, ends = dense(tmp_path / "net.onnx", 3, hidden=16), [(0.0, 1.0)] * 3
    file = tmp_path / "p.vnnlib"
    side = torch.linspace(0, 1, 31, dtype=torch.float64)
    y = read_onnx(path).value(torch.cartesian_prod(side, side, side))
    file.write_text(property_text(ends, float((y[:, 0] - y[:, 1]).min()) - 0.05))
    assert verify_property(path, file, boxes=1).verdict == "unknown"
    assert verify_property(path, file, boxes=2000).verdict == "verified"


def test_every_case_counts(tmp_path):
    path, file = dense(tmp_path / "net.onnx", 1), tmp_path / "p.vnnlib"
    declared = property_text([(0.0, 1.0)] * 3, -1000.0).rsplit("\n", 1)[0]
    file.write_text(declared + "(assert (or (and (<= Y_0 -1000)) (and (>= Y_0 -1000) (>= Y_1 -1000))))")
    assert verify_property(path, file).verdict == "falsified"
    file.write_text(declared + "(assert (or (<= Y_0 -1000) (and (>= Y_0 1000) (>= Y_1 -1000))))")
    assert verify_property(path, file).verdict == "verified"


def test_bad_input(tmp_path):
    path, file = dense(tmp_path / "net.onnx"), tmp_path / "p.vnnlib"
    file.write_text(property_text([(0.0, 1.0)] * 4, 0.0))
    with pytest.raises(DataError, match="4 inputs and 2 outputs"):
        verify_property(path, file)
    with pytest.raises(ArtifactError, match="can't be read"):
        read_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(ArtifactError, match="can't be read"):
        read_onnx(tmp_path / "text.onnx")
    with pytest.raises(ModelError, match=r"the operator Exp. supported: Add, AveragePool"):
        read_onnx(File((3,)).add("Exp").save(tmp_path / "exp.onnx"))
    net = File((1, 4, 4))
    net.add("Conv", net.weights(1, 1, 2, 2), pads=[0, 0, 1, 1]).save(tmp_path / "pads.onnx")
    with pytest.raises(ModelError, match="differs from side to side"):
        read_onnx(tmp_path / "pads.onnx")
