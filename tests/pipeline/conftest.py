"""A pipeline that takes a second or two: 120 images of 6 x 6 in three classes, two epochs, width 4."""

import multiprocessing
import time

import numpy as np
import pytest
import torch

from martensite.pipeline import Pipeline, run

PLAN = """
name: tiny
seed: 3
data: {source: SOURCE, limit: 18}
threat: {norm: linf, eps: 1/10}
model: {kind: small_cnn, width: 4}
train: {epochs: 3, batch_size: 16, lr: 1e-2}
attack: [fgsm, {kind: pgd, steps: 3}]
harden:
  objective: {kind: pgd_at, attack: {kind: pgd, steps: 2}}
  settings: {epochs: 3, batch_size: 16, lr: 1e-2, validation_attack: {kind: pgd, steps: 2}}
suite: {name: two, attacks: [fgsm, {kind: pgd, steps: 4}], curve: [0.5], curve_attack: {kind: pgd, steps: 2}}
certify: {method: {kind: smoothing, sigma: 0.2, n: 60, selection: 10, alpha: 0.01}, samples: 4}
gate: {min_clean_accuracy: 0}
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
    """x (n, 1, 6, 6) and y of three noisy patterns."""

    def make(seed=0, n=120):
        chance = np.random.default_rng(seed)
        y = np.arange(n) % 3
        x = chance.uniform(0, 0.4, (n, 1, 6, 6))
        for k in range(3):
            x[y == k, :, 2 * k : 2 * k + 2] += 0.25
        return x.astype(np.float32), y

    return make


@pytest.fixture
def data(images, tmp_path):
    """A data file of this test's own."""
    x, y = images()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    return tmp_path / "data.npz"


@pytest.fixture
def yaml(data):
    """The plan as text."""
    return PLAN.replace("SOURCE", str(data))


@pytest.fixture
def plan(yaml):
    return Pipeline.from_yaml(yaml)


@pytest.fixture(scope="session")
def reference(images, tmp_path_factory):
    """A finished run that nothing interrupted: its plan, directory, report and seconds. Not to be written to."""
    folder = tmp_path_factory.mktemp("reference")
    x, y = images()
    np.savez(folder / "data.npz", x=x, y=y)
    plan = Pipeline.from_yaml(PLAN.replace("SOURCE", str(folder / "data.npz")))
    started = time.perf_counter()
    report = run(plan, folder / "out")
    return plan, folder / "out", report, time.perf_counter() - started


@pytest.fixture(scope="session")
def figures():
    """A report without what may differ: everything under a key named "timing"."""

    def strip(value):
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key != "timing"}
        return [strip(item) for item in value] if isinstance(value, list | tuple) else value

    return lambda report: strip(report.model_dump(mode="json"))


@pytest.fixture(scope="session")
def litter():
    """What no run may leave: temporary files and folders, checkpoints of finished stages."""

    def find(out):
        hidden = [path for path in out.rglob(".*") if path.name != ".lock"]
        return hidden + list(out.glob("work"))

    return find


@pytest.fixture(scope="session")
def elsewhere():
    """Starts `run` in a process of its own, which shares nothing but the disk."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["martensite.pipeline"])

    def start(plan, out):
        process = context.Process(target=run, args=(plan, out), daemon=True)
        process.start()
        return process

    return start
