"""The server as a process: started, refused, killed, restarted; and our own client against it, from end to end."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import get_args

import httpx
import pytest
import torch

from martensite.artifacts.bundle import load_bundle
from martensite.cli.main import main
from martensite.models import connect
from martensite.serving.access import Scope
from martensite.serving.environment import settle


@pytest.fixture
def process(here):
    """Starts ``martensite serve`` and waits until it answers."""
    started = []

    def start(*words):
        code = "import sys; from martensite.cli.main import main; main(['serve', *sys.argv[1:]])"
        around = {name: value for name, value in os.environ.items() if not name.startswith("MARTENSITE_SERVE")}
        running = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words), "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here.folder,
            env={**around, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        started.append(running)
        lines = []
        for line in running.stdout:
            lines.append(line)
            if line == "}\n":
                break
        url = json.loads("".join(lines))["url"]
        while running.poll() is None:  # bound, and about to listen
            try:
                if httpx.get(f"{url}/v2/health/live", timeout=30).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        return SimpleNamespace(url=url, process=running)

    yield start
    for one in started:
        one.kill()
        one.communicate()


def ask(url, x, tensor, model="one"):
    return httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": [tensor(x)]}, timeout=60)


def test_killed_and_restarted_it_serves_again_and_stops_with_zero(process, here, x, tensor):
    words = [here.one, "--trust", here.trust, "--policy", here.folder / "policy.yaml", "--port", 0]
    first = process(*words)
    before = ask(first.url, x, tensor).json()
    first.process.kill()
    first.process.wait()
    port = first.url.rpartition(":")[2]
    second = process(*words[:-1], port)
    after = ask(second.url, x, tensor).json()
    assert after["outputs"] == before["outputs"]
    second.process.send_signal(signal.SIGTERM)
    _, err = second.process.communicate(timeout=60)
    assert second.process.returncode == 0, err


def call(capsys, *words):
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return SimpleNamespace(code=ended.value.code, out=out, err=err)


@pytest.fixture
def alone(here, monkeypatch):
    """No keyring and no settings of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(here.folder / "config"))
    for name in [name for name in os.environ if name.startswith("MARTENSITE_SERVE")]:
        monkeypatch.delenv(name)
    return here


def test_a_bundle_alone_is_served_by_your_own_keyring(alone, capsys, fleets, monkeypatch):
    """Who signed it on this machine trusts their own keys; the default policy asks for more than this bundle has."""
    home = alone.folder / "config" / "martensite"
    home.mkdir(parents=True)
    (home / "keys").symlink_to(alone.yard.folder / "keys")
    result = call(capsys, "serve", alone.one, "--port", 0)
    assert result.code == 1
    assert "robustness: there is no robustness claim" in result.err
    monkeypatch.setattr("martensite.serving.serve", lambda config, **how: fleets(config))
    assert call(capsys, "serve", alone.one, "--policy", alone.folder / "policy.yaml").code == 0


def test_what_ends_the_server_is_one_line_with_its_reason(alone, capsys):
    here = alone
    asked = ["serve", here.one, "--trust", here.trust, "--policy", here.folder / "policy.yaml", "--port", 0]
    (here.one / "card.md").write_text("x")
    result = call(capsys, *asked)
    assert result.code == 1
    assert "card.md was altered" in result.err.splitlines()[-1]
    assert call(capsys, "serve", here.one).code == 2  # nobody is trusted
    assert call(capsys, "serve", here.folder / "none", "--trust", here.trust).code == 2
    assert call(capsys, "serve").code == 2
    assert "API keys" in call(capsys, *asked, "--host", "0.0.0.0").err
    assert call(capsys, *asked, "--tls-cert", "x").code == 2


def test_without_evidence_it_is_loud(alone, capsys, monkeypatch):
    monkeypatch.setattr("martensite.serving.serve", lambda config, **how: None)
    result = call(capsys, "serve", alone.one, "--insecure-no-evidence", "--port", 0)
    assert result.code == 0
    assert "NOTHING IS VERIFIED" in result.err  # stdout is for the document


def test_settings_come_from_file_environment_and_command_line(alone, capsys, monkeypatch):
    seen = []
    monkeypatch.setattr("martensite.serving.serve", lambda config, **how: seen.append(config))
    (alone.folder / "serve.yaml").write_text("port: 1\nhost: 127.0.0.1\nmodels: [{bundle: one, evidence: {policy: strict}}]\n")
    monkeypatch.setenv("MARTENSITE_SERVE_CONFIG", str(alone.folder / "serve.yaml"))
    monkeypatch.setenv("MARTENSITE_SERVE_PORT", "2")
    monkeypatch.setenv("MARTENSITE_SERVE_POLICY", "research")
    assert call(capsys, "serve", "--port", 3).code == 0
    (config,) = seen
    assert (config.port, config.models[0].evidence.policy, config.models[0].name) == (3, "research", "one")
    monkeypatch.setenv("MARTENSITE_SERVE_PROT", "2")
    result = call(capsys, "serve")
    assert result.code == 2
    assert "MARTENSITE_SERVE_PORT" in result.err
    monkeypatch.delenv("MARTENSITE_SERVE_PROT")
    monkeypatch.setenv("MARTENSITE_SERVE_PORT", "many")
    assert call(capsys, "serve").code == 2


def test_nobody_can_switch_evidence_off_by_the_environment(alone, capsys, monkeypatch):
    monkeypatch.setenv("MARTENSITE_SERVE_INSECURE_NO_EVIDENCE", "1")
    result = call(capsys, "serve", alone.one, "--trust", alone.trust)
    assert result.code == 2
    assert "INSECURE_NO_EVIDENCE" in result.err


def test_settings_of_one_model_need_one_model():
    document = {"models": [{"bundle": "a"}, {"bundle": "b"}], "access": {"open": True}}
    assert settle(document, {"port": 1, "keys": "k"}) == {**document, "port": 1, "access": {"open": True, "keys": "k"}}
    from martensite.core.errors import ConfigError

    with pytest.raises(ConfigError, match="several models"):
        settle(document, {"policy": "strict"})


def test_api_keys_by_command(alone, capsys):
    file = alone.folder / "keys.yaml"
    made = json.loads(call(capsys, "access", "new", "app", "--keys", file, "--quota", 5, "--json").out)
    assert made["token"].startswith("mt_app.")
    assert call(capsys, "access", "new", "app", "--keys", file).code == 2
    assert call(capsys, "access", "new", "x", "--keys", file, "--scope", "infre").code == 2
    rotated = json.loads(call(capsys, "access", "rotate", "app", "--keys", file, "--json").out)
    assert rotated["token"] != made["token"]
    assert "rotating" in call(capsys, "access", "list", "--keys", file).out
    assert call(capsys, "access", "revoke", "app", "--keys", file).code == 0
    assert "was revoked" in call(capsys, "access", "list", "--keys", file).out
    assert call(capsys, "access", "revoke", "none", "--keys", file).code == 2


def test_the_help_names_every_scope(capsys):
    said = " ".join(call(capsys, "access", "new", "--help").out.replace("│", " ").split())
    named = said.partition("SCOPE")[2].partition("may repeat")[0]
    assert all(f" {scope}" in f" {named}" for scope in get_args(Scope))


# Our own client


def test_our_client_gets_the_model_s_logits(listening, here, x):
    server = listening(model={"output": {"scores": "logits"}})
    remote = connect(f"{server.url}/v2/models/tiny", classes=3)
    torch.testing.assert_close(remote(x), here.model(x))
    assert remote.shape == (1, 4, 4)


def test_evaluate_measures_a_served_model_as_it_measures_the_bundle(listening, here, capsys, tmp_path):
    import numpy as np

    many = torch.rand(4000, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    top = load_bundle(here.one)(many).topk(2, 1)
    inputs = many[(top.values[:, 0] - top.values[:, 1]).argsort()[:400:20]]  # near the boundary: some break, some don't
    labels = load_bundle(here.one)(inputs).argmax(1)
    labels[:2] = 2
    np.savez(tmp_path / "data.npz", x=inputs.numpy(), y=labels.numpy())
    (tmp_path / "suite.yaml").write_text("name: queries\nattacks: [{kind: square, queries: 60}]\n")
    server = listening(model={"output": {"scores": "logits"}})
    asked = ["--data", tmp_path / "data.npz", "--eps", "0.02", "--suite", tmp_path / "suite.yaml", "--json"]
    found = [json.loads(call(capsys, "evaluate", model, *asked).out) for model in (f"{server.url}/v2/models/tiny", here.one)]
    remote, local = found
    assert remote["clean_accuracy"]["value"] == local["clean_accuracy"]["value"]
    assert 0 < remote["robust_accuracy"]["count"] < remote["robust_accuracy"]["n"]
    assert remote["robust_accuracy"] == local["robust_accuracy"]
    assert not remote["errors"]
