"""martensite sweep: its table, its document, its files, and a kill -9."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from martensite.artifacts import load_bundle, read_manifest
from martensite.cli.main import main
from martensite.data import load_data
from martensite.threat import ThreatModel

GRID = (
    "--objective",
    "fgsm_at",
    "--objective",
    "trades",
    "--train-eps",
    "0.03,0.05",
    "--values",
    "mix=0,0.5",
    "--values",
    "beta=1",
)
QUICK = ("--epochs", 2, "--rungs", 2, "--lr", 0.01, "--set", "validation_attack={kind: pgd, steps: 2}")
WORDS = ("sweep", "baseline", "--data", "data.npz", "--eps", "0.05", *GRID, *QUICK)


def without_timing(document):
    return {key: value for key, value in document.items() if key != "timing"}


@pytest.fixture(scope="module")
def whole(stock, tmp_path_factory):
    """The document of a sweep that nothing cut off, made by ``sweep ... --out whole``."""
    out = io.StringIO()
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(stock, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*map(str, WORDS), "--out", "whole", "--json"])
    return json.loads(out.getvalue())


def test_sweep(here, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = call(*WORDS, "--out", "new/s", "--min-clean", 0.2)
    assert result.code == 0, result.err
    for label in ("fgsm_at eps 0.03", "fgsm_at(mix=0.5) eps 0.05", "trades(beta=1) eps 0.03", "before"):
        assert label in result.out
    assert "stopped early" in result.out
    assert "chosen" in result.out
    assert "is the most robust of the" in result.out
    assert "runs" not in result.out
    assert read_manifest("new/s/model").threat == ThreatModel(eps=0.05)
    assert "new/s/pareto.svg" in result.out
    picture = (here / "new/s/pareto.svg").read_text()
    assert picture.startswith("<svg")
    for text in ("clean accuracy", "robust accuracy", "chosen", "before hardening", "standard epochs"):
        assert text in picture


def test_sweep_json_is_its_report(here, call_json, whole):
    result = call_json(*WORDS, "--out", "s")
    assert (result.code, result.err) == (0, "")
    document = result.document
    assert document == json.loads((here / "s/report.json").read_text())
    assert len(document["points"]) == 2 * 3  # trades has no mix
    assert document["samples"] == len(load_data("data.npz", "validation"))
    chosen = document["points"][document["chosen"]]
    assert document["chosen"] in document["front"]
    assert chosen["robust"] == max(point["robust"] for point in document["points"])
    assert len(document["timing"]["seconds"]) == 6
    data = load_data("data.npz", "validation")
    assert chosen["clean"] == pytest.approx(float((load_bundle(document["bundle"])(data.x).argmax(1) == data.y).float().mean()))
    again = call_json(*WORDS, "--out", "s")  # finished already
    assert again.document == document
    assert without_timing(whole) == without_timing(document) | {"bundle": "whole/model"}


def test_sweep_over_what_an_objective_must_have_with_a_setting_given_once(here, call_json):
    words = ("sweep", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "s", "--objective", "multi_norm", "--epochs", 1)
    result = call_json(*words, "--values", "others={l2: 0.2, l1: 1},{l2: 0.3}", "--values", "steps=1", "--set", "lr=0.01")
    assert result.code == 0, result.err
    found = [point["point"]["objective"]["others"] for point in result.document["points"]]
    assert found == [{"l2": 0.2, "l1": 1.0}, {"l2": 0.3}]
    plan = json.loads((here / "s/sweep.json").read_text())["plan"]
    assert (plan["settings"]["lr"], plan["settings"]["batch_size"]) == (0.01, 64)


def test_what_became_of_a_point_that_failed_later_is_said(here, call, monkeypatch):
    from martensite.core.errors import ModelError
    from martensite.training.sweep import run

    fit = run.fit

    def failing(*given, **more):
        if more["stage"] == "sweep/1":
            raise ModelError("the loss became NaN")
        return fit(*given, **more)

    monkeypatch.setattr(run, "fit", failing)
    result = call(*WORDS, "--out", "s")
    assert result.code == 0
    assert result.out.count("rung 1 failed, the weights are those of rung 0: the loss became NaN") == 3


def test_no_point_above_the_floor_is_exit_code_1(here, call_json, call):
    # The baseline is right on all of this data; updates of this size make it forget.
    words = ("sweep", "baseline", "--data", "data.npz", "--eps", 0.4, "--objective", "fgsm_at", "--values", "mix=0,0.01")
    wild = ("--epochs", 1, "--lr", 10, "--set", "schedule=constant", "--set", "optimiser=sgd", "--set", "guards=null")
    result = call_json(*words, *wild, "--out", "s", "--min-clean", 0.99)
    assert (result.code, result.document["chosen"]) == (1, None)
    assert "keeps clean accuracy at 0.99" in result.document["reason"]
    assert not (here / "s/model").exists()
    assert "Nothing was chosen" in call(*words, *wild, "--out", "s", "--min-clean", 0.99).out


def test_kill_9_twice_and_the_same_end(here, call_json, whole):
    command = [sys.executable, "-c", "from martensite.cli.main import main; main()", *map(str, WORDS), "--out", "cut"]
    for mark in ("points/01/rung-0.json", "points/02/rung-1.json"):
        # At a mark that this grid reaches, or at its end if the point of the mark was stopped before.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (here / "cut" / mark).exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = call_json(*WORDS, "--out", "cut").document
    assert without_timing(again) == without_timing(whole) | {"bundle": "cut/model"}
    left = {path.name for path in (here / "cut").rglob("*")}
    assert not any("checkpoint" in name or name.endswith(".tmp") for name in left)
