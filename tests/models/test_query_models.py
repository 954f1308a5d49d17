"""Models that only answer queries: ONNX files, scikit-learn, HTTP; each against the same function in numpy or torch."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from martensite.attacks import HopSkipJump, Square, attack
from martensite.core.errors import ArtifactError, ModelError, QueryError, UnreachableError
from martensite.data import Dataset, load_data
from martensite.evaluation import Suite, evaluate
from martensite.models import Access, Manners, Model, connect, from_estimator, load_onnx, load_skops
from martensite.threat import Constraints, ThreatModel

WEIGHTS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
X = torch.rand(7, 4, generator=torch.Generator().manual_seed(1))
QUERIES = Suite(name="q", attacks=(Square(queries=100), HopSkipJump(queries=200)))


def numpy_scores(x):
    return x.reshape(len(x), -1) @ WEIGHTS.numpy().T


# ONNX


@pytest.fixture
def onnx_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    def write(batch="n", outputs=("scores",)):
        helper = onnx.helper
        float_ = onnx.TensorProto.FLOAT
        weights = onnx.numpy_helper.from_array(WEIGHTS.numpy(), "w")
        nodes = [
            helper.make_node("Gemm", ["x", "w"], ["scores"], transB=1),
            helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
        ]
        values = {
            "scores": helper.make_tensor_value_info("scores", float_, [batch, 3]),
            "label": helper.make_tensor_value_info("label", onnx.TensorProto.INT64, [batch]),
        }
        source = helper.make_tensor_value_info("x", float_, [batch, 4])
        graph = helper.make_graph(nodes, "net", [source], [values[name] for name in outputs], [weights])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.save(model, tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    return write


@pytest.mark.parametrize("batch", ["n", 1, 3])
@pytest.mark.parametrize("outputs", [("scores",), ("label", "scores")])
def test_an_onnx_file_answers_as_its_graph(batch, outputs, onnx_file):
    model = load_onnx(onnx_file(batch, outputs))
    assert isinstance(model, Model)
    assert (model.classes, model.access, model.shape) == (3, Access.SCORES, (4,))
    torch.testing.assert_close(model(X), X @ WEIGHTS.T)
    assert model.digest.startswith("sha256:")


def test_an_onnx_file_that_does_not_fit_is_refused(onnx_file, tmp_path):
    with pytest.raises(ModelError, match="outputs"):
        load_onnx(onnx_file(outputs=("label",)))
    with pytest.raises(ModelError, match="3 classes and 5 were stated"):
        load_onnx(onnx_file(), classes=5)
    content = onnx_file().read_bytes()
    (tmp_path / "cut.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match="truncated"):
        load_onnx(tmp_path / "cut.onnx")
    with pytest.raises(ArtifactError, match="can't be read"):
        load_onnx(tmp_path / "nowhere.onnx")


def test_an_onnx_file_is_evaluated_and_resumed(onnx_file, tmp_path):
    model = load_onnx(onnx_file())
    data = Dataset(X, model(X).argmax(1), 3)
    report = evaluate(model, data, ThreatModel(eps=0.2), QUERIES, store=tmp_path / "store")
    assert report.access == "scores"
    assert report.model_digest == model.digest
    assert report.clean_accuracy.value == 1.0
    again = evaluate(load_onnx(onnx_file()), data, ThreatModel(eps=0.2), QUERIES, store=tmp_path / "store")
    assert again.model_dump(exclude={"timing"}) == report.model_dump(exclude={"timing"})


# scikit-learn


@pytest.fixture(scope="module")
def digits():
    train, test = load_data("digits", "train"), load_data("digits", "test")
    return SimpleNamespace(x=train.x.flatten(1).numpy(), y=train.y.numpy(), test=test.subset(slice(0, 12)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [LogisticRegression(max_iter=50), LinearSVC(max_iter=50)], ids=lambda e: type(e).__name__)
def test_an_estimator_answers_with_its_scores(estimator, digits):
    fitted = estimator.fit(digits.x, digits.y)
    model = from_estimator(fitted, 10)
    flat = digits.test.x.flatten(1).numpy()
    assert (model(digits.test.x).argmax(1).numpy() == fitted.predict(flat)).all()
    np.testing.assert_allclose(model(digits.test.x).numpy(), fitted.decision_function(flat), rtol=1e-5)


def test_two_classes_and_a_class_never_seen(digits):
    binary = LogisticRegression().fit(digits.x, (digits.y >= 5).astype(int))
    scores = from_estimator(binary, 2)(digits.test.x)
    lead = binary.decision_function(digits.test.x.flatten(1).numpy())
    np.testing.assert_allclose((scores[:, 1] - scores[:, 0]).numpy(), lead, rtol=1e-4)
    few = LogisticRegression(max_iter=200).fit(digits.x[digits.y != 3], digits.y[digits.y != 3])
    assert (from_estimator(few, 10)(digits.test.x).argmin(1) == 3).all()


def test_boosted_trees_are_attacked_by_queries(digits):
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(digits.x, digits.y)
    report = evaluate(from_estimator(trees, 10), digits.test, ThreatModel(eps=0.3), QUERIES)
    assert report.robust_accuracy.count < report.clean_accuracy.count
    assert report.outcomes.count("error") == 0


def test_what_is_no_classifier_is_refused(digits):
    with pytest.raises(ModelError, match="fitted classifier"):
        from_estimator(LogisticRegression(), 10)
    named = LogisticRegression().fit(digits.x[:50], [f"c{label}" for label in digits.y[:50]])
    with pytest.raises(ModelError, match=r"0\.\.K-1"):
        from_estimator(named, 10)


def test_a_skops_file_is_the_estimator_and_nothing_else(digits, tmp_path):
    io = pytest.importorskip("skops.io")
    fitted = LogisticRegression(max_iter=300).fit(digits.x, digits.y)
    io.dump(fitted, tmp_path / "m.skops")
    model = load_skops(tmp_path / "m.skops", 10)
    assert torch.equal(model(digits.test.x), from_estimator(fitted, 10)(digits.test.x))
    (tmp_path / "cut.skops").write_bytes((tmp_path / "m.skops").read_bytes()[:200])
    with pytest.raises(ArtifactError, match="no skops file"):
        load_skops(tmp_path / "cut.skops", 10)
    io.dump(_Foreign(), tmp_path / "foreign.skops")
    with pytest.raises(ArtifactError, match="only known types"):
        load_skops(tmp_path / "foreign.skops", 10)


class _Foreign:
    def __init__(self):
        self.value = 1


def test_counts_stay_at_least_zero_under_constraints(digits):
    """A table whose rules are kept through a model without gradients: whatever breaks it is admissible."""
    rules = Constraints(names=tuple(f"p{k}" for k in range(64)), fixed=("p0", "p1"), ranges={"p2": (0.0, 0.5)})
    x = digits.test.x.flatten(1)
    x[:, 2] = x[:, 2].clamp(max=0.5)
    fitted = LogisticRegression(max_iter=300).fit(digits.x, digits.y)
    model, threat = from_estimator(fitted, 10), ThreatModel(eps=0.3, constraints=rules)
    result = attack(Square(queries=100), model, x, digits.test.y, threat)
    assert bool(result.success.any())
    assert torch.equal(result.adversarial[:, :2], x[:, :2])
    assert float(result.adversarial[:, 2].max()) <= 0.5


# HTTP


@pytest.fixture
def server():
    """An endpoint that fails as it is told: ``plan`` holds statuses to answer with before it behaves, ``refuses`` one a batch."""
    state = SimpleNamespace(plan=[], requests=[], sleeps=[], tokens=[], labels=False, refuses=lambda x: 0)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def reply(self, status, document):
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            described = {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}
            scores, label = {"datatype": "FP32", "shape": [-1, 3]}, {"datatype": "INT64", "shape": [-1]}
            outputs = [{"name": "label", **label}] if state.labels else [{"name": "label", **label}, {"name": "scores", **scores}]
            self.reply(200, {**described, "outputs": outputs})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (tensor,) = body["inputs"]
            state.requests.append(tensor["shape"])
            state.tokens.append(self.headers.get("Authorization"))
            x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
            if state.plan or state.refuses(x):
                self.reply(state.plan.pop(0) if state.plan else state.refuses(x), {"error": "planned"})
                return
            scores = numpy_scores(x)
            if body["outputs"] == [{"name": "label"}]:
                labels = scores.argmax(1).tolist()
                self.reply(200, {"outputs": [{"name": "label", "datatype": "INT64", "shape": [len(x), 1], "data": labels}]})
                return
            output = {"name": "scores", "datatype": "FP32", "shape": list(scores.shape), "data": scores.ravel().tolist()}
            self.reply(200, {"outputs": [output]})

    http = HTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{http.server_port}/v2/models/m"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()


def asked(server, **manners):
    return connect(server.url, 3, manners=Manners(**manners), sleep=server.sleeps.append)


def test_an_endpoint_answers_in_batches(server):
    model = asked(server, batch=3)
    torch.testing.assert_close(model(X), X @ WEIGHTS.T)
    assert server.requests == [[3, 4], [3, 4], [1, 4]]
    assert model.shape == (4,)


def test_a_failed_query_is_asked_again_with_patience(server):
    model = asked(server, backoff=0.5)
    server.plan = [503, 429]
    torch.testing.assert_close(model(X), X @ WEIGHTS.T)
    assert server.sleeps == [0.5, 1.0]


def test_a_query_that_fails_for_good_is_no_answer(server):
    model = asked(server, retries=2)
    server.plan = [500] * 3
    with pytest.raises(ModelError, match="status 500"):
        model(X)
    assert len(server.requests) == 3
    server.plan = [400]
    with pytest.raises(ModelError, match="status 400"):
        model(X)
    assert len(server.requests) == 4  # asking again doesn't mend a bad request


def test_retries_have_a_budget(server):
    model = asked(server, retries=5, retry_budget=3)
    server.plan = [500] * 20
    with pytest.raises(ModelError, match="budget of retries is spent"):
        model(X)
    assert len(server.requests) == 4


def test_requests_are_paced(server):
    model = asked(server, batch=1, rate=4.0)
    model(X)
    assert len(server.sleeps) >= 6
    assert sum(server.sleeps) == pytest.approx(sum(k / 4 for k in range(1, 8)), rel=0.2)  # no sleep was slept, so the debt grows


def test_nobody_there_is_refused_at_once():
    with pytest.raises(UnreachableError, match="did not answer"):
        connect("http://127.0.0.1:9/v2/models/m", 3, manners=Manners(retries=0))


@pytest.mark.parametrize(
    ("status", "kind"), [(400, QueryError), (500, QueryError), (401, UnreachableError), (404, UnreachableError)]
)
def test_a_query_that_fails_is_not_an_endpoint_that_is_gone(status, kind, server):
    model = asked(server, retries=0)
    server.plan = [status]
    with pytest.raises(kind, match=f"status {status}"):
        model(X)
    assert model(X).shape == (7, 3)


def test_an_endpoint_that_gives_labels_is_attacked_by_labels(server):
    server.labels = True
    model = asked(server)
    assert model.access == Access.DECISIONS
    assert torch.equal(model(X).argmax(1), (X @ WEIGHTS.T).argmax(1))
    report = evaluate(
        model, Dataset(X, model(X).argmax(1), 3), ThreatModel(eps=0.1), Suite(name="s", attacks=QUERIES.attacks[1:])
    )
    assert (report.access, report.outcomes.count("error")) == ("decisions", 0)


def test_answers_about_fewer_inputs_are_none(server):
    model = asked(server)
    server.refuses = lambda x: 0
    cut = model.predict
    model.predict = lambda x: cut(x)[:-1]
    with pytest.raises(ModelError, match=r"shape \(6, 3\)"):
        model(X)


def test_a_token_is_sent(server):
    connect(server.url, 3, token="secret")(X)
    assert server.tokens == ["Bearer secret"]


def test_clean_inputs_that_an_endpoint_refuses_are_errors_and_the_rest_goes_on(server):
    data = Dataset(X, (X @ WEIGHTS.T).argmax(1), 3)
    whole = evaluate(asked(server), data, ThreatModel(eps=0.1), QUERIES)
    server.refuses = lambda x: 500 * bool((x == X[2].numpy()).all(1).any())
    part = evaluate(asked(server, retries=1), data, ThreatModel(eps=0.1), QUERIES)
    assert part.outcomes[2] == "error"
    assert [part.outcomes[place] for place in (0, 1, 3, 4, 5, 6)] == [whole.outcomes[place] for place in (0, 1, 3, 4, 5, 6)]
    assert (part.clean_accuracy.count, part.clean_accuracy.n) == (6, 7)
    assert any("status 500" in one.evidence for one in part.diagnostics if one.name == "unanswered")


def test_an_endpoint_that_goes_away_stops_the_run_and_it_is_resumed(server, tmp_path):
    data = Dataset(X, (X @ WEIGHTS.T).argmax(1), 3)
    whole = evaluate(asked(server), data, ThreatModel(eps=0.1), QUERIES)
    model, seen = asked(server, retries=0), len(server.requests)
    server.refuses = lambda x: 404 * (len(server.requests) > seen + 40)
    with pytest.raises(UnreachableError, match="status 404"):
        evaluate(model, data, ThreatModel(eps=0.1), QUERIES, store=tmp_path)
    server.refuses = lambda x: 0
    again = evaluate(asked(server), data, ThreatModel(eps=0.1), QUERIES, store=tmp_path)
    assert again.model_dump(exclude={"timing"}) == whole.model_dump(exclude={"timing"})


def test_an_endpoint_is_evaluated_and_failures_are_errors(server):
    data = Dataset(X, (X @ WEIGHTS.T).argmax(1), 3)
    whole = evaluate(asked(server), data, ThreatModel(eps=0.1), QUERIES)
    assert whole.access == "scores"
    assert whole.outcomes.count("error") == 0
    model = asked(server, retries=0)

    def failing(x):
        away = np.abs(x - X[0].numpy()).max(1)
        if bool(((away > 0) & (away < 0.11)).any()):  # the clean input is answered, whatever is made from it is not
            raise ModelError("gone")
        return numpy_scores(x)

    model.predict = failing
    part = evaluate(model, data, ThreatModel(eps=0.1), Suite(name="s", attacks=(Square(queries=30),)))
    assert part.outcomes[0] == "error"
    assert part.outcomes.count("error") == 1
    assert part.clean_accuracy.count == 7
    assert {one.evidence[:27] for one in part.diagnostics if one.name != "no_canary"} == {"the check could not be run:"}
