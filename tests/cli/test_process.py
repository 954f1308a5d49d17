"""What only a process of its own can show: streams, signals, limits, and the digits example as users run it."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MARTENSITE = [sys.executable, "-c", "from martensite.cli.main import main; main()"]
SLOWEST = 120


def martensite(*words, **more):
    more = {"capture_output": True, "text": True, "timeout": SLOWEST, "check": False} | more
    return subprocess.run([*MARTENSITE, *map(str, words)], **more)


def strip(value):
    if isinstance(value, dict):
        return {key: strip(item) for key, item in value.items() if key != "timing"}
    return [strip(item) for item in value] if isinstance(value, list) else value


def figures(out):
    return strip(json.loads((Path(out) / "report.json").read_text()))


def begun(out, mark, plan="tiny.yaml"):
    """A run in a process of its own, until a file of it appears."""
    words = [*MARTENSITE, "run", plan, "--out", out]

    def listening() -> None:  # a shell that runs the tests in the background has their children ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, **pipes, text=True, preexec_fn=listening)
    deadline = time.monotonic() + SLOWEST
    while not (Path(out) / mark).exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return process


def test_streams_and_exit_codes(here):
    result = martensite("gate", "run", "--min-robust-accuracy", 1, "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["verdict"] == "FAIL"
    assert result.stderr == ""
    result = martensite("verify", "nowhere")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("martensite: ")


def test_progress_goes_to_stderr_only(here):
    result = martensite("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 2)
    assert result.returncode == 0
    assert result.stdout.startswith("m: ")
    assert "epoch" in result.stderr
    assert "epoch loss" not in result.stdout


def test_the_installed_command(here):
    script = Path(sys.executable).with_name("martensite")
    if not script.exists():
        pytest.skip("the package is not installed with its command")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip()


def test_ctrl_c_keeps_finished_stages(here, call):
    settings = "settings: {epochs: "
    (here / "long.yaml").write_text((here / "tiny.yaml").read_text().replace(f"{settings}3", f"{settings}40"))
    process = begun("out", "work/harden.safetensors", "long.yaml")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=SLOWEST)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "martensite: interrupted. finished stages are kept, --resume goes on."
    assert "Traceback" not in err
    assert sorted(path.name for path in Path("out/stages").iterdir()) == ["01-data", "02-train", "03-attack"]
    assert not [path for path in Path("out").rglob(".*") if path.name != ".lock"]
    result = call("run", "long.yaml", "--out", "out", "--resume")
    assert result.code == 0
    assert "harden finished earlier" not in result.err
    assert "attack finished earlier" in result.err
    assert call("run", "long.yaml", "--out", "whole").code == 0
    assert figures("out") == figures("whole")


def test_kill_9_and_resume(here, call):
    process = begun("out", "stages/02-train")
    process.kill()
    process.communicate()
    assert call("run", "tiny.yaml", "--out", "out", "--resume").code == 0
    assert figures("out") == figures("run")


def test_two_at_once(here, call):
    process = begun("out", "run.json")
    process.send_signal(signal.SIGSTOP)  # so that it can't be done before the second one has come up
    second = call("run", "tiny.yaml", "--out", "out")
    process.send_signal(signal.SIGCONT)
    assert second.code == 2
    assert "out is in use" in second.err
    process.communicate(timeout=SLOWEST)
    assert process.returncode == 0
    assert figures("out") == figures("run")


def test_a_limit_on_file_size_is_a_full_disk(here, call):
    """The kernel refuses to let report.html grow; everything before it is kept."""
    limit = (here / "run/report.html").stat().st_size // 2

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    result = martensite("run", "tiny.yaml", "--out", "out", preexec_fn=limited, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert result.returncode == 2
    assert "can't be written: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in Path("out/stages").iterdir())[-1] == "08-gate"
    assert not [path for path in Path("out").rglob(".*") if path.name != ".lock"]
    assert call("run", "tiny.yaml", "--out", "out", "--resume").code == 0
    assert figures("out") == figures("run")


def test_a_reader_that_goes_away_is_no_bug(here):
    words = [*MARTENSITE, "gate", "run", "--min-clean-accuracy", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, err = process.communicate(timeout=SLOWEST)
    assert b"bug" not in err


@pytest.mark.slow
def test_the_digits_example(tmp_path):
    result = martensite("run", cwd=tmp_path, timeout=600)
    assert result.returncode == 0, result.stderr
    out = tmp_path / "runs" / "digits"
    assert f"Report: {out.relative_to(tmp_path)}/report.html" in result.stdout
    report = json.loads((out / "report.json").read_text())
    baseline, hardened = report["baseline"], report["hardened"]
    assert report["verdict"]["verdict"] == "PASS"
    assert baseline["robust_accuracy"]["value"] < 0.2
    assert hardened["robust_accuracy"]["value"] - baseline["robust_accuracy"]["value"] >= 0.4
    assert baseline["clean_accuracy"]["value"] - hardened["clean_accuracy"]["value"] <= 0.05
    again = martensite("run", "--resume", "--json", cwd=tmp_path)
    assert strip(json.loads(again.stdout)) == strip(report)
