"""A stock of data, models, factories and a run, made once, and a way to call the command without a process."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from martensite.cli.main import main

PLAN = """
name: tiny
seed: 3
data: {source: data.npz, limit: 18}
threat: {norm: linf, eps: 1/10}
model: {kind: small_cnn, width: 4}
train: {epochs: 3, batch_size: 16, lr: 1e-2}
attack: [fgsm]
harden:
  objective: {kind: pgd_at, attack: {kind: pgd, steps: 2}}
  settings: {epochs: 3, batch_size: 16, lr: 1e-2, validation_attack: {kind: pgd, steps: 2}}
suite: {name: two, attacks: [fgsm, {kind: pgd, steps: 4}]}
certify: {method: {kind: smoothing, sigma: 0.2, n: 60, selection: 10, alpha: 0.01}, samples: 4}
gate: {min_clean_accuracy: 0}
"""

CONSTRAINTS = {
    "upper": "fixed: ['0:32']",
    "names": "names: [age, pay]",
    "typo": "fixd: [0]",
    "feature": "{names: [age, pay], fixed: [agee]}",
    "strict": "relations: [x0 < x1]",
    "dirty": "relations: [x0 == 2 * x1 + 0.01]",
}

FACTORIES = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

import beside  # a module in the same folder
from martensite.models import Classifier


@dataclass
class Settings:
    classes: int = 3


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, Settings().classes))


def classifier():
    return Classifier(make(), 3, mean=0.3, std=0.5)


def few():
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 2)


def boxed():
    return Classifier(make(), 3, box=(-1.0, 1.0))


def wrong_shape():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5))


def wrong_input():
    return nn.Linear(3, 3)


def a_tuple():
    class Two(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3], x

    return Two()


def classes_not_scores():
    class Decided(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3].round().long()

    return Decided()


def constant(value):
    class Constant(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * 0 + value

    return Constant()


def nan():
    return constant(float("nan"))


def inf():
    return constant(float("inf"))


def fails():
    raise KeyError("no such thing")


def exits():
    raise SystemExit(0)


def needs(path):
    return make()


def nothing():
    return None


number = 3
"""


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Here and in every process that is started: threads only get in each other's way on work this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def images():
    """x (n, 1, 8, 8) and y of three noisy patterns that overlap enough to be attacked."""

    def make(n=90, seed=0):
        chance = np.random.default_rng(seed)
        y = np.arange(n) % 3
        x = chance.uniform(0, 0.5, (n, 1, 8, 8))
        for k in range(3):
            x[y == k, :, 2 * k : 2 * k + 3] += 0.2
        return x.astype(np.float32), y

    return make


@pytest.fixture
def call(capsys):
    """Runs the command in this process; gives its exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=out, err=err)

    return run


@pytest.fixture
def call_json(call):
    """The same with ``--json``: its stdout must be one JSON document, and nothing else."""

    def run(*words):
        result = call(*words, "--json")
        result.document = json.loads(result.out)
        return result

    return run


def _quietly(*words):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == 0, said.getvalue()  # or what is tested with it would fail for no reason of its own


@pytest.fixture(scope="session")
def stock(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stock")
    x, y = images()
    np.savez(folder / "data.npz", x=x, y=y)
    rows = [",".join([*(f"{v:.4f}" for v in row), f"class{k}"]) for row, k in zip(x.reshape(90, -1)[:, :6], y, strict=True)]
    (folder / "data.csv").write_text("\n".join(["a,b,c,d,e,f,kind", *rows]))
    wide = [",".join([*(f"{100 * v:.2f}" for v in row), str(k)]) for row, k in zip(x.reshape(90, -1)[:, :6], y, strict=True)]
    (folder / "wide.csv").write_text("\n".join(["a,b,c,d,e,f,kind", *wide]))
    for index, (image, k) in enumerate(zip(x, y, strict=True)):
        (folder / "pictures" / f"kind{k}").mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(folder / "pictures" / f"kind{k}" / f"{index}.png")
    (folder / "tiny.yaml").write_text(PLAN)
    (folder / "suite.yaml").write_text("name: mine\nattacks: [fgsm]\n")
    (folder / "policy.yaml").write_text("min_clean_accuracy: 0.01\nmin_robust_accuracy: 0.99\n")
    for name, text in CONSTRAINTS.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "nets.py").write_text(FACTORIES)
    (folder / "beside.py").write_text("")
    (folder / "broken.py").write_text("def make(:\n")
    torch.manual_seed(1)
    save_file({"1.weight": torch.rand(3, 64), "1.bias": torch.zeros(3)}, folder / "w.safetensors")
    save_file({"weight": torch.rand(3, 64)}, folder / "other.safetensors")
    torch.save({"1.weight": torch.rand(3, 64)}, folder / "w.pth")
    data = folder / "data.npz"
    _quietly("train", "mlp", "--data", data, "--out", folder / "baseline", "--epochs", 3, "--lr", 0.01)
    _quietly("harden", folder / "baseline", "--data", data, "--eps", 0.05, "--out", folder / "hard", "--epochs", 1)
    _quietly("evaluate", folder / "baseline", "--data", data, "--eps", 0.05, "--suite", "quick", "--out", folder / "before")
    _quietly("evaluate", folder / "hard", "--data", data, "--suite", "quick", "--out", folder / "after")
    with contextlib.chdir(folder):
        _quietly("run", "tiny.yaml", "--out", "run")
    return folder


@pytest.fixture
def here(stock, tmp_path, monkeypatch):
    """A working directory of this test's own with the stock in it."""
    folder = tmp_path / "here"
    shutil.copytree(stock, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def unchanged(here):
    """Asserts that nothing was written, moved or left behind."""

    def tree():
        return {path: path.stat().st_mtime_ns for path in sorted(Path(here).rglob("*")) if "__pycache__" not in path.parts}

    before = tree()

    def check():
        assert tree() == before

    return check
