"""An endpoint of somebody else's: MLServer, a second implementation of the Open Inference Protocol, evaluated end to end.

It wants fastapi < 0.116 where ours is newer, so it gets an environment of its own, and these tests its path:
python3 -m venv DIR; DIR/bin/pip install 'mlserver>=1.6'; MARTENSITE_MLSERVER=DIR/bin/mlserver pytest -m slow ...
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request

import numpy as np
import pytest
import torch
from torch import nn

from martensite.attacks import HopSkipJump, Square
from martensite.core.errors import QueryError, UnreachableError
from martensite.data import Dataset
from martensite.evaluation import Distillation, Suite, evaluate
from martensite.models import Access, Classifier, Manners, connect
from martensite.threat import ThreatModel

MLSERVER = os.environ.get("MARTENSITE_MLSERVER") or shutil.which("mlserver")
RUNTIME = """
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse, MetadataTensor


class Linear(MLModel):
    async def load(self):
        with np.load("weights.npz") as kept:
            self.w = kept["w"]
        self.inputs = [MetadataTensor(name="x", datatype="FP32", shape=[-1, 4])]
        self.outputs = [MetadataTensor(name="scores", datatype="FP32", shape=[-1, 3])]
        return True

    async def predict(self, payload):
        x = NumpyCodec.decode_input(payload.inputs[0])
        if (np.abs(x - 0.25).max(1) == 0).any():
            raise ValueError("not this one")
        scores = (x @ self.w.T).astype(np.float32)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("scores", scores)])
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(MLSERVER is None, reason="no mlserver at hand; see this file's head"),
]


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


@pytest.fixture(scope="module")
def weights():
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def url(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlserver")
    http, grpc, metrics = free_ports(3)
    settings = {"http_port": http, "grpc_port": grpc, "metrics_port": metrics, "host": "127.0.0.1", "parallel_workers": 0}
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps({"name": "linear", "implementation": "runtime.Linear"}))
    (folder / "runtime.py").write_text(RUNTIME)
    np.savez(folder / "weights.npz", w=weights.numpy())
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen([str(MLSERVER), "start", "."], cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{http}/v2/models/linear"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/ready", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text()[-2000:])
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def data(weights):
    x = torch.rand(12, 4, generator=torch.Generator().manual_seed(1))
    return Dataset(x, (x @ weights.T).argmax(1), 3)


def test_it_answers_as_the_matrix_it_holds(url, weights, data):
    model = connect(url, 3, manners=Manners(batch=5))
    assert (model.access, model.shape) == (Access.SCORES, (4,))
    torch.testing.assert_close(model(data.x), data.x @ weights.T)
    with pytest.raises(QueryError, match="did not answer"):
        connect(url, 3, manners=Manners(retries=0))(torch.full((1, 4), 0.25))
    with pytest.raises(UnreachableError, match="status 404"):
        connect(url.replace("linear", "other"), 3)


def test_its_evaluation_is_that_of_the_matrix_at_home(url, weights, data):
    x = data.x.clone()
    x[3] = 0.25
    asked = Dataset(x, data.y, 3)
    suite = Suite(name="s", attacks=(Square(queries=60), HopSkipJump(queries=100)), surrogate=Distillation(rounds=1, epochs=20))
    report = evaluate(connect(url, 3), asked, ThreatModel(eps=0.1), suite)
    assert [place for place, outcome in enumerate(report.outcomes) if outcome == "error"] == [3]
    others = [place for place in range(12) if place != 3]
    net = nn.Linear(4, 3, bias=False)
    net.weight.data.copy_(weights)
    exact = evaluate(Classifier(net, 3), asked, ThreatModel(eps=0.1), "quick")
    for place in others:
        assert (report.outcomes[place] == "misclassified") == (exact.outcomes[place] == "misclassified")
        assert report.outcomes[place] != "broken" or exact.outcomes[place] == "broken"
    assert report.surrogates[0].agreement.n == 11
    assert report.transfer.names == ("model", "distilled")
