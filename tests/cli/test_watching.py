"""The commands around a server's monitors: reference, suspend, approve --resume, deploy prometheus and grafana."""

import json

import pytest
import torch
import yaml

from martensite.artifacts import save_bundle
from martensite.models import build

WORDS = "a passphrase of words"


@pytest.fixture
def site(tmp_path, monkeypatch, call):
    """A digits bundle that isn't signed, and keys of four people."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MARTENSITE_PASSPHRASE", WORDS)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    torch.manual_seed(0)
    save_bundle(build({"kind": "mlp", "hidden": [8]}, (1, 8, 8), 10, seed=0), "model")
    for name, role in (("rel", "release"), ("ann", "approver"), ("watch", "monitor"), ("eva", "evaluator")):
        assert call("keys", "new", name, "--role", role, "--owner", name.title()).code == 0
        assert call("keys", "export", name, "--trust", "trust.yaml").code == 0
    (tmp_path / "policy.yaml").write_text("require: {approval: {people: 1}}\n")
    return tmp_path


def test_reference_then_sign_then_no_more(site, call, call_json):
    document = call_json("reference", "model", "--data", "digits", "--samples", "150").document
    assert (document["n"], document["data"]["name"], document["data"]["split"]) == (150, "digits", "test")
    assert (site / "model" / "reference.safetensors").stat().st_size == document["bytes"]
    assert call("sign", "model", "--key", "rel").code == 0
    assert call("verify", "model", "--trust", "trust.yaml").code == 0
    result = call("reference", "model", "--data", "digits")
    assert result.code == 2
    assert "is signed" in result.err


def test_an_evaluation_can_store_them(site, call):
    words = ("evaluate", "model", "--data", "digits", "--samples", "120", "--norm", "linf", "--eps", "0.1", "--suite", "quick")
    assert call(*words, "--reference").code == 0
    assert (site / "model" / "reference.safetensors").exists()
    call("sign", "model", "--key", "rel")
    result = call(*words, "--reference")
    assert result.code == 2
    assert "is signed" in result.err


def test_suspend_fails_the_gate_until_an_approver_resumes(site, call):
    gate = ("gate", "model", "--policy", "policy.yaml", "--trust", "trust.yaml")
    call("sign", "model", "--key", "rel")
    assert call("approve", "model", "--reason", "read", "--key", "ann").code == 0
    assert call(*gate).code == 0
    assert call("suspend", "model", "--reason", "under attack", "--key", "watch").code == 0
    result = call(*gate)
    assert result.code == 1
    assert "under attack" in result.out
    assert call("approve", "model", "--reason", "fine again", "--key", "ann").code == 0
    assert call(*gate).code == 1
    resumed = call("approve", "model", "--resume", "--reason", "the client is blocked", "--key", "ann")
    assert resumed.code == 0
    assert "under attack" in resumed.out + resumed.err
    assert call(*gate).code == 0


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("suspend", "model", "--reason", "spite", "--key", "eva"), "role monitor or approver"),
        (("approve", "model", "--resume", "--reason", "x", "--key", "ann"), "holds no suspension"),
        (("reference", "model", "--data", "nothing.csv"), "nothing.csv"),
        (("deploy", "prometheus", "--target", "a:1", "--webhook", "no-url", "--out", "w"), "webhook"),
    ],
)
def test_what_is_refused(site, call, words, complaint):
    (site / "model.claims.jsonl").touch()
    result = call(*words)
    assert result.code == 2
    assert complaint in result.err


def test_deploy_writes_files_that_prometheus_reads(site, call_json):
    words = ("--target", "a:9400", "--target", "b:9400", "--webhook", "https://s/v1/alerts", "--webhook-key", "k", "--tls")
    document = call_json("deploy", "prometheus", *words, "--out", "watch").document
    assert len(document["files"]) == 4
    scrape = yaml.safe_load((site / "watch" / "prometheus.yml").read_text())["scrape_configs"][0]
    assert (scrape["scheme"], scrape["static_configs"]) == ("https", [{"targets": ["a:9400", "b:9400"]}])
    panels = call_json("deploy", "grafana", "--out", "watch").document["panels"]
    dashboard = json.loads((site / "watch" / "martensite.json").read_text())
    assert sum(one["type"] == "timeseries" for one in dashboard["panels"]) == panels > 25
