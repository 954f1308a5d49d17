"""Each command, end to end: for people, and with --json for machines."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from martensite.artifacts import load_bundle, read_manifest
from martensite.data import load_data
from martensite.evaluation import CertificationReport, RobustnessReport, RunReport, Verdict
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel


def without_timing(document):
    if isinstance(document, dict):
        return {key: without_timing(value) for key, value in document.items() if key != "timing"}
    return [without_timing(item) for item in document] if isinstance(document, list) else document


# train and harden


def test_train(here, call):
    result = call("train", "small_cnn", "--data", "data.npz", "--out", "new/m", "--epochs", 2)
    assert result.code == 0
    assert re.fullmatch(r"new/m: [\d.]+% validation accuracy \(epoch [12]\), [\d.]+ s\n", result.out)
    assert "epoch" in result.err
    model = load_bundle("new/m")
    assert (model.shape, model.classes) == ((1, 8, 8), 3)


def test_train_json(here, call_json):
    result = call_json("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 2, "--seed", 5)
    assert (result.code, result.err) == (0, "")
    assert result.document["digest"] == model_digest(load_bundle("m"))
    assert result.document["bundle"] == "m"
    assert result.document["best_epoch"] in (1, 2)
    assert 0 <= result.document["clean_validation_accuracy"] <= 1
    assert result.document["backwards"] == 2 * len(load_data("data.npz", "train"))
    again = call_json("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 2, "--seed", 5)
    assert without_timing(again.document) == without_timing(result.document)
    other = call_json("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 2, "--seed", 6)
    assert other.document["digest"] != result.document["digest"]


def test_train_goes_on_from_a_checkpoint_and_from_a_bundle(here, call, call_json):
    words = ("train", "mlp", "--data", "data.npz", "--epochs", 2)
    whole = call_json(*words, "--out", "a", "--resume", "work.safetensors").document
    resumed = call_json(*words, "--out", "b", "--resume", "work.safetensors").document
    assert resumed["digest"] == whole["digest"]
    assert call("train", "a", "--data", "data.npz", "--epochs", 1, "--out", "c").code == 0
    other = call(*words, "--out", "d", "--resume", "work.safetensors", "--lr", 0.5)
    assert other.code == 2
    assert "checkpoint of another configuration" in other.err


def test_harden(here, call):
    words = ("harden", "baseline", "--data", "data.npz", "--eps", "0.05", "--epochs", 1, "--set", "attack={kind: pgd, steps: 2}")
    result = call(*words, "--out", "h")
    assert result.code == 0
    assert "linf eps 0.05 in [0, 1], n = 9" in result.out
    for row in ("clean", "robust"):
        assert re.search(rf"{row} .*[\d.]+% \[[\d.]+%, [\d.]+%\].*[\d.]+% \[", result.out)
    assert re.search(r"Cost: [\d,]+ forward and [\d,]+ backward passes, as many as [\d.]+ standard epochs; [\d.]+ s", result.out)
    assert read_manifest("h").threat == ThreatModel(norm="linf", eps=0.05)


def test_harden_json_takes_the_bundles_threat_model(here, call_json):
    result = call_json("harden", "hard", "--data", "data.npz", "--epochs", 1, "--out", "h")
    assert (result.code, result.err) == (0, "")
    assert result.document["threat"]["eps"] == 0.05
    assert result.document["digest"] == model_digest(load_bundle("h"))
    assert result.document["robust_validation_accuracy"] <= result.document["clean_validation_accuracy"]
    assert result.document["recipe"]["name"] == "balanced"
    again = call_json("harden", "hard", "--data", "data.npz", "--epochs", 1, "--out", "h")
    assert without_timing(again.document) == without_timing(result.document)


def test_harden_makes_adversarials_on_a_held_model(here, call_json):
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--objective", "ensemble_at", "--epochs", 2)
    one, other = (
        call_json(*words, "--set", "own=0", "--batch-size", 8, "--surrogate", held, "--out", f"by_{held}").document
        for held in ("hard", "baseline")
    )
    assert one["digest"] != other["digest"]  # the adversarials of another model lead elsewhere


def test_harden_says_what_it_traded_and_what_it_cost(here, call_json):
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "h", "--objective", "fgsm_at", "--epochs", 2)
    document = call_json(*words, "--lr", 0.01, "--batch-size", 16, "--guard", "none").document
    traded = document["validation"]
    data = load_data("data.npz", "validation")
    assert traded["clean_before"]["n"] == len(data)
    right = load_bundle("baseline")(data.x).argmax(1) == data.y
    assert traded["clean_before"]["count"] == int(right.sum())
    right = load_bundle("h")(data.x).argmax(1) == data.y
    assert traded["clean_after"]["count"] == int(right.sum())
    assert traded["clean_after"]["value"] == pytest.approx(document["clean_validation_accuracy"])
    assert traded["robust_after"]["value"] == pytest.approx(document["robust_validation_accuracy"])
    samples = 2 * len(load_data("data.npz", "train"))
    assert document["cost"]["update"] == {"forwards": samples, "backwards": samples}
    assert document["cost"]["attack"] == {"forwards": samples, "backwards": samples}
    assert document["cost"]["guards"] == {"forwards": 0, "backwards": 0}
    parts = [document["cost"][name] for name in ("update", "attack", "validation", "guards")]
    assert sum(part["forwards"] for part in parts) == document["forwards"]
    assert document["cost"]["standard_epochs"] == pytest.approx((document["forwards"] + document["backwards"]) / samples)
    phase = document["recipe"]["phases"][0]
    assert (phase["settings"]["lr"], phase["settings"]["batch_size"], phase["settings"]["guards"]) == (0.01, 16, None)
    assert (document["verdict"], document["recoveries"]) == ("completed", [])


def test_harden_by_recipe(here, call_json):
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "h", "--recipe", "fast", "--epochs", 4)
    changes = ("--set", "mix=0.25", "--set", "2.settings.lr=0.02", "--guard", "divergence", "--floor", 0.3)
    phases = call_json(*words, *changes).document["recipe"]["phases"]
    assert [phase["objective"]["kind"] for phase in phases] == ["two_step", "pgd_at"]
    assert [phase["objective"]["mix"] for phase in phases] == [0.25, 0.25]
    assert [phase["settings"]["lr"] for phase in phases] == [0.004, 0.02]
    assert sum(phase["settings"]["epochs"] for phase in phases) == 4
    for phase in phases:
        assert [guard["kind"] for guard in phase["settings"]["guards"]["watch"]] == ["divergence", "clean_floor"]
        assert phase["settings"]["guards"]["watch"][1]["floor"] == 0.3


def test_harden_by_a_recipe_of_ones_own_with_a_log(here, call_json):
    settings = "{epochs: 2, batch_size: 32, validation_attack: {kind: pgd, steps: 2}}"
    (here / "mine.yaml").write_text(f"name: mine\nphases:\n  - objective: {{kind: nfgsm}}\n    settings: {settings}\n")
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "h", "--recipe", "mine.yaml")
    assert call_json(*words, "--log", "csv:log.csv").code == 0
    assert len((here / "log.csv").read_text().splitlines()) >= 3


def test_a_guard_that_ends_the_training_is_exit_code_1(here, call_json, call, monkeypatch):
    from martensite.training import phases

    fit = phases.fit

    def stopped(*given, **more):
        return dataclasses.replace(fit(*given, **more), verdict="it went wrong three times")

    monkeypatch.setattr(phases, "fit", stopped)
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "h", "--epochs", 1)
    result = call_json(*words)
    assert (result.code, result.document["verdict"]) == (1, "it went wrong three times")
    assert load_bundle("h")
    assert "a guard ended the training: it went wrong three times" in call(*words).out


def test_a_guard_that_ends_the_training_of_a_baseline_is_exit_code_1(here, call_json, call):
    # With steps of this size the first epoch leaves no weights that know more than chance, and the guard gives up.
    words = ("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 60, "--lr", 1e5)
    result = call_json(*words)
    assert result.code == 1
    assert result.document["verdict"].startswith("stopped after 3 recoveries")
    assert [recovery["guard"] for recovery in result.document["recoveries"]] == ["divergence"] * 3
    assert load_bundle("m")
    said = call(*words)
    assert said.code == 1
    assert said.out.count("Guard divergence, batch") == 3
    assert "a guard ended the training: stopped after 3 recoveries" in said.out


@pytest.mark.parametrize(
    ("changes", "epochs"),
    [
        (("--set", "settings.epochs=1"), [1, 1]),
        (("--epochs", 3), [2, 1]),
        (("--set", "1.settings.epochs=2", "--set", "2.least_updates=4"), [2, 4]),
        (("--set", "2.least_updates=2", "--set", "least_updates=1"), [3, 2]),
    ],
)
def test_epochs_that_are_asked_for_are_what_is_trained(here, call_json, changes, epochs):
    words = ("harden", "baseline", "--data", "data.npz", "--eps", 0.05, "--out", "h", "--recipe", "fast", *changes)
    assert call_json(*words, "--log", "csv:log.csv").code == 0
    lines = (here / "log.csv").read_text().splitlines()
    assert [sum(line.startswith(f"harden/{phase},epoch") for line in lines) for phase in (1, 2)] == epochs


def test_train_with_parameters_and_a_log(here, call_json):
    words = ("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 1, "--set", "hidden=[7]", "--log", "csv:log.csv")
    assert call_json(*words).code == 0
    assert load_bundle("m").architecture.hidden == (7,)
    assert "train" in (here / "log.csv").read_text()


def test_train_a_text(here, call_json):
    lines = [f"{kind}\t{word} number {k}" for k in range(40) for kind, word in (("ham", "hello"), ("spam", "win"))]
    (here / "texts").write_text("\n".join(lines))
    words = ("train", "text_transformer", "--set", "dim=16", "--set", "depth=1", "--data", "text:texts", "--epochs", 8)
    result = call_json(*words, "--lr", 0.01, "--out", "m")
    assert result.document["clean_validation_accuracy"] == 1.0
    assert read_manifest("m").class_names == ("ham", "spam")
    assert (
        call_json("harden", "m", "--data", "text:texts", "--norm", "l2", "--eps", 0.1, "--objective", "freelb", "--out", "h").code
        == 0
    )
    assert read_manifest("h").threat.box == (-1.0, 1.0)


# attack


def test_attack(here, call):
    result = call("attack", "baseline", "--data", "data.npz", "--eps", "8/255", "--attack", "pgd", "--set", "steps=3")
    assert result.code == 0
    assert re.search(r"^clean accuracy +[\d.]+% \[", result.out, re.MULTILINE)
    assert re.search(r"^robust accuracy +[\d.]+% \[.*under pgd, linf eps 0.03137 in \[0, 1\], n = 90$", result.out, re.MULTILINE)


def test_attack_json_and_its_file(here, call_json):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.1, "--attack", "fgsm", "--samples", 30, "--out", "a.st")
    result = call_json(*words)
    assert (result.code, result.err) == (0, "")
    data, saved = load_data("data.npz", limit=30), load_file("a.st")
    assert result.document["data"] == data.digest
    assert result.document["attack"]["kind"] == "fgsm"
    assert saved["adversarial"].shape == data.x.shape
    assert float((saved["adversarial"] - data.x).abs().max()) <= 0.1 + 1e-6
    wrong = load_bundle("baseline")(saved["adversarial"]).argmax(1) != data.y
    assert torch.equal(wrong, saved["success"])
    assert result.document["robust_accuracy"]["count"] == int((~wrong).sum())
    assert without_timing(call_json(*words).document) == without_timing(result.document)


def test_attack_towards_a_class(here, call, call_json):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.3, "--target", 2, "--set", "steps=10")
    result = call_json(*words, "--out", "t.st")
    data, saved = load_data("data.npz"), load_file("t.st")
    others = data.subset((data.y != 2).nonzero().flatten())
    assert (result.code, result.document["data"], result.document["target"]) == (0, others.digest, 2)
    assert result.document["threat"]["goal"] == "targeted"
    reached = load_bundle("baseline")(saved["adversarial"]).argmax(1) == 2
    assert torch.equal(reached, saved["success"])
    assert "under pgd towards class 2, linf" in call(*words).out


def test_attack_by_transfer(here, call_json):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.2, "--attack", "mi_fgsm", "--set", "steps=3")
    direct = call_json(*words, "--out", "d.st").document
    moved = call_json(*words, "--surrogate", "hard", "--out", "m.st").document
    assert (direct["surrogates"], moved["surrogates"]) == ([], ["hard"])
    assert not torch.equal(load_file("d.st")["adversarial"], load_file("m.st")["adversarial"])
    itself = call_json(*words, "--surrogate", "baseline").document
    assert itself["robust_accuracy"]["count"] <= direct["robust_accuracy"]["count"] + 1
    assert moved["robust_accuracy"]["count"] >= direct["robust_accuracy"]["count"]


def test_attack_goes_on_and_says_how_it_went(here, call_json):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.1, "--batch-size", "auto", "--precision", "auto")
    first = call_json(*words, "--store", "work").document
    files = sorted(Path("work").iterdir())
    again = call_json(*words, "--store", "work").document
    assert {file.suffix for file in files} == {".safetensors", ".json"}  # batches, and what was measured for them
    assert sorted(Path("work").iterdir()) == files
    assert without_timing(first) == without_timing(again)
    assert first["batch_size"] in (64, 90)


def test_attack_within_a_budget(here, call, call_json):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.02, "--attack", "square", "--samples", 30)
    short = call_json(*words, "--queries", 5).document
    assert short["forwards"] <= 30 * (2 + 5)
    hurried = call_json(*words, "--set", "queries=1000000", "--seconds", 0.05)
    assert hurried.document["errors"] > 0
    assert any("0.05 seconds" in message for message in hurried.document["messages"])
    said = call(*words, "--set", "queries=1000000", "--seconds", 0.05)
    assert (hurried.code, said.code) == (3, 3)
    assert f"not measured     {hurried.document['errors']} samples" in said.out


def test_attack_knows_at_once_where_it_can_t_write(here, call):
    words = ("attack", "baseline", "--data", "data.npz", "--eps", 0.02, "--attack", "square", "--set", "queries=1000000000")
    for place in (("--out", "w.pth/a.st"), ("--store", "w.pth/work")):
        result = call(*words, *place)
        assert (result.code, "can't be written" in result.err) == (2, True)


def test_constraints_are_kept_travel_in_the_bundle_and_stand_in_the_report(here, call, call_json):
    words = ("--data", "data.npz", "--constraints", "upper.yaml")
    call_json("attack", "hard", *words, "--attack", "fgsm", "--out", "a.st")
    moved = (load_file("a.st")["adversarial"] - load_data("data.npz").x).flatten(1)
    assert not moved[:, :32].any()
    assert moved[:, 32:].any()
    result = call_json("harden", "hard", *words, "--epochs", 1, "--set", "attack={kind: pgd, steps: 2}", "--out", "h")
    assert result.document["threat"]["constraints"]["fixed"] == ["0:32"]
    result = call_json("evaluate", "h", "--data", "data.npz", "--suite", "suite.yaml", "--eps", 0.1, "--out", "results")
    report = RobustnessReport.parse(result.document)
    assert report.threat.constraints.fixed == ("0:32",)
    assert "must keep 32 immutable values" in (here / "results/report.html").read_text()


# evaluate, certify


def test_evaluate(here, call):
    words = ("evaluate", "baseline", "--data", "data.npz", "--eps", 0.05, "--suite", "suite.yaml", "--out", "new/results")
    result = call(*words)
    assert result.code == 0
    for part in ("clean", "fgsm", "robust (worst case)", "Report: new/results/report.html"):
        assert part in result.out
    report = RobustnessReport.load(here / "new/results/report.json")
    assert report.suite == "mine"
    assert (here / "new/results/report.html").read_text().lstrip().startswith("<!doctype html>")


def test_evaluate_json(here, call_json):
    result = call_json("evaluate", "hard", "--data", "data.npz", "--suite", "quick", "--split", "test", "--seed", 1)
    assert (result.code, result.err) == (0, "")
    report = RobustnessReport.parse(result.document)
    assert report.threat.eps == 0.05
    assert report.data.split == "test"
    assert report.seed == 1
    assert report.model_digest == model_digest(load_bundle("hard"))
    assert not list(here.glob("report*"))


def test_certify(here, call):
    words = ("certify", "hard", "--data", "data.npz", "--n", 100, "--samples", 6)
    result = call(*words)
    assert result.code == 0
    assert "Certified accuracy (l2), n = 6" in result.out
    assert "of 6 samples have no certificate" in result.out


def test_certify_json_and_its_file(here, call_json):
    result = call_json("certify", "hard", "--data", "data.npz", "--n", 100, "--samples", 6, "--sigma", 0.1, "--out", "c.json")
    assert (result.code, result.err) == (0, "")
    report = CertificationReport.parse(result.document)
    assert report == CertificationReport.load(here / "c.json")
    assert report.method["sigma"] == 0.1
    assert len(report.radius) == 6


@pytest.mark.parametrize(
    ("words", "norm"),
    [
        (("--radii", "0.05,0.1,1/8"), "l2"),
        (("--test", "fixed", "--set", "selection=20"), "l2"),
        (("--test", "anytime"), "l2"),
        (("--set", "norm=linf"), "linf"),
        (("--method", "uniform_smoothing", "--set", "width=0.2"), "l1"),
        (("--method", "ablation", "--set", "keep=12"), "l0"),
    ],
)
def test_certify_in_every_way(words, norm, here, call_json):
    document = call_json("certify", "hard", "--data", "data.npz", "--n", 200, "--samples", 3, *words).document
    assert document["norm"] == norm
    assert document["record"]["dtype"] == "float32"
    assert len(document["agreement"]) == 3
    if words[0] == "--radii":
        assert set(document["radius"]) <= {0.0, 0.05, 0.1, 0.125}


def test_certify_with_patches(here, call):
    result = call("certify", "hard", "--data", "data.npz", "--samples", 2, "--method", "patch_smoothing", "--set", "size=2")
    assert result.code == 0
    assert "Certified accuracy (patch), n = 2" in " ".join(result.out.split())


def test_certify_goes_on_from_its_store_and_writes_a_page(here, call):
    words = ("certify", "hard", "--data", "data.npz", "--n", 200, "--samples", 4, "--store", "kept", "--out", "c.json")
    assert call(*words).code == 0
    first = CertificationReport.load(here / "c.json")
    (kept,) = (here / "kept").iterdir()
    before = kept.read_bytes()
    result = call(*words, "--page", "c.html")
    assert result.code == 0
    assert "Report: c.html" in result.out
    assert CertificationReport.load(here / "c.json").radius == first.radius
    assert kept.read_bytes() == before
    page = (here / "c.html").read_text()
    assert "What this does not claim" in page
    assert first.record.design in page
    assert "real arithmetic" in page


def test_certify_at_one_radius(here, call_json):
    document = call_json("certify", "hard", "--data", "data.npz", "--n", 100, "--samples", 6, "--radius", 0.05).document
    assert set(document["radius"]) <= {0.0, 0.05}


@pytest.mark.parametrize("method", ["ibp", "crown-ibp", "crown", "alpha-crown"])
def test_certify_by_bounds(method, here, call, call_json):
    words = ("certify", "hard", "--data", "data.npz", "--method", method, "--eps", 0.001, "--samples", 6, "--store", "bounds")
    document = call_json(*words).document
    report = CertificationReport.parse(document)
    assert (report.norm, report.record.dtype, report.record.threat.eps) == ("linf", "float64", 0.001)
    assert report.record.model_digest == model_digest(load_bundle("hard"))
    assert len(report.margins) == 6
    assert set(report.radius) <= {0.0, 0.001}
    result = call(*words, "--out", "b.json", "--page", "b.html")
    assert (result.code, "bounds were computed" in result.out) == (0, True)
    assert CertificationReport.load(here / "b.json").margins == report.margins
    assert "about the network itself" in (here / "b.html").read_text()


def test_certify_by_bounds_against_the_bundles_threat_model(here, call_json):
    document = call_json("certify", "hard", "--data", "data.npz", "--method", "crown", "--samples", 4).document
    assert document["record"]["threat"]["eps"] == 0.05
    document = call_json(
        "certify", "hard", "--data", "data.npz", "--method", "ibp", "--norm", "l2", "--eps", "0.01", "--samples", 4,
        "--set", "tolerance=0.01",
    ).document  # fmt: skip
    assert (document["norm"], document["method"]["tolerance"]) == ("l2", 0.01)


def test_certify_with_a_sandwich(here, call, call_json):
    words = ("certify", "hard", "--data", "data.npz", "--method", "crown", "--eps", 0.01, "--samples", 8, "--sandwich", "fgsm")
    document = call_json(*words, "--out", "sandwich.json").document
    assert document["certified"]["value"] <= document["robust"]["value"] <= document["clean"]["value"]
    assert len(document["outcomes"]) == 8
    result = call(*words)
    assert result.code == 0
    assert "no certified sample was broken" in result.out


@pytest.mark.parametrize(("limit", "code", "verdict"), [(-9.0, 0, "verified"), (9.0, 1, "falsified"), (-0.01, 3, "unknown")])
def test_certify_a_property(limit, code, verdict, here, call, call_json):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    # y = relu(x) - relu(-x) - relu(x + 10) + 10, which is 0; bounds don't see that while a box holds 0 inside.
    weights = {"a": [[1.0], [-1.0], [1.0]], "c": [0.0, 0.0, 10.0], "b": [[1.0, -1.0, -1.0], [0.0, 0.0, 0.0]], "d": [10.0, 0.0]}
    values = [onnx.numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in weights.items()]
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "a", "c"], ["u"], transB=1), onnx.helper.make_node("Relu", ["u"], ["v"]),
        onnx.helper.make_node("Gemm", ["v", "b", "d"], ["y"], transB=1),
    ]  # fmt: skip
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, size]) for name, size in (("x", 1), ("y", 2))]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], values)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), "net.onnx")
    (here / "p.vnnlib").write_text(
        "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        f"(assert (>= X_0 -1))(assert (<= X_0 1.5))(assert (<= Y_0 {limit}))"
    )
    words = ("certify", "net.onnx", "--property", "p.vnnlib", "--set", "boxes=3", "--out", "v.json")
    result = call(*words)
    assert (result.code, result.out.split()[0]) == (code, verdict)
    document = call_json(*words).document
    assert document["verdict"] == verdict
    assert json.loads((here / "v.json").read_text()) == document
    assert (document["counterexample"] is not None) == (verdict == "falsified")


# gate


@pytest.mark.parametrize(
    ("words", "code", "verdict"),
    [
        (("--min-clean-accuracy", 0.01), 0, "PASS"),
        (("--min-robust-accuracy", 1), 1, "FAIL"),
        (("--min-clean-accuracy", 0.01, "--min-robust-accuracy", 1), 1, "FAIL"),
        (("--policy", "policy.yaml"), 1, "FAIL"),
        (("--max-clean-drop", 1), 0, "PASS"),
        (("--min-robust-gain", 1), 1, "FAIL"),
    ],
)
@pytest.mark.parametrize("report", ["run", "run/report.json"])
def test_gate(report, words, code, verdict, here, call, call_json):
    # The tiny run's model is far from perfect, so that only the ends of the scale are sure.
    result = call("gate", report, *words)
    assert result.code == code
    assert result.out.splitlines()[0] == verdict
    assert not result.err
    document = call_json("gate", report, *words)
    assert (document.code, document.err) == (code, "")
    assert Verdict.parse(document.document).verdict == verdict


def test_gate_inconclusive(here, call, call_json):
    rate = RunReport.load(here / "run/report.json").hardened.clean_accuracy
    result = call("gate", "run", "--min-clean-accuracy", rate.value)
    assert result.code == 3
    assert result.out.splitlines()[0] == "INCONCLUSIVE"
    assert "more samples would narrow it" in result.out
    (here / "empty.yaml").write_text("{}")
    assert call("gate", "run", "--policy", "empty.yaml").code == 3
    assert call_json("gate", "run", "--min-clean-accuracy", rate.value).code == 3


def test_gate_against_a_baseline(here, call):
    assert call("gate", "after/report.json", "--baseline", "before/report.json", "--max-clean-drop", 1).code == 0
    assert call("gate", "after", "--baseline", "before", "--max-clean-drop", 1).code == 0
    result = call("gate", "after", "--max-clean-drop", 1)
    assert result.code == 2
    assert "--baseline" in result.err
    assert call("gate", "after", "--baseline", "run", "--max-clean-drop", 1).code == 2  # other data


def test_gate_takes_a_runs_own_baseline(here, call_json):
    own = call_json("gate", "run", "--min-robust-gain", 0).document
    report = RunReport.load(here / "run/report.json")
    report.baseline.save(here / "b.json")
    report.hardened.save(here / "h.json")
    assert call_json("gate", "h.json", "--baseline", "b.json", "--min-robust-gain", 0).document == own
    assert call_json("gate", "h.json", "--baseline", "run", "--min-robust-gain", 0).document == own


# report


@pytest.mark.parametrize("report", ["run", "run/report.json", "after", "after/report.json"])
def test_report(report, here, call, call_json):
    folder = report.partition("/")[0]
    page = (here / folder / "report.html").read_text()
    (here / folder / "report.html").unlink()
    result = call("report", report)
    assert result.code == 0
    assert result.out.splitlines()[-1] == f"Report: {folder}/report.html"
    assert (here / folder / "report.html").read_text() == page
    document = call_json("report", report, "--out", "elsewhere/page.html")
    assert (document.code, document.err) == (0, "")
    assert document.document == json.loads((here / folder / "report.json").read_text())
    assert (here / "elsewhere/page.html").read_text() == page


# run


def test_run(here, call):
    result = call("run", "tiny.yaml", "--out", "out")
    assert result.code == 0
    assert "harden" in result.err
    assert "baseline" in result.out
    assert "robust (worst case)" in result.out
    assert re.search(r"^PASS$", result.out, re.MULTILINE)
    assert re.search(r"^Report: out/report.html   \(\d+ s\)$", result.out, re.MULTILINE)
    again = call("run", "tiny.yaml", "--out", "out", "--resume")
    assert again.code == 0
    assert again.out == result.out
    assert "finished earlier" in again.err


def test_the_bundle_of_a_run_can_be_watched_at_once(here, call, monkeypatch):
    """Statistics of the test data lie in it, and a server measures drift from them; too little data has none."""
    pytest.importorskip("fastapi")
    from martensite.serving import Fleet, ServeConfig
    from martensite.serving.monitoring.drift import reference

    assert not (here / "run/model/reference.safetensors").exists()
    monkeypatch.setattr(reference, "LEAST", 10)
    assert call("run", "tiny.yaml", "--out", "out").code == 0
    fleet = Fleet(ServeConfig.parse({"models": [{"name": "m", "bundle": str(here / "out/model")}], "insecure_no_evidence": True}))
    fleet.load()
    drift = fleet.live.snapshot().models[0].versions[0].drift
    about = fleet.slot("m").pick().loaded.reference.about
    fleet.close()
    assert drift.watched
    assert about.data["split"] == "test"
    assert about.n >= 18  # all of it, not only what is attacked


def test_run_json(here, call_json):
    result = call_json("run", "tiny.yaml", "--out", "out")
    assert (result.code, result.err) == (0, "")
    assert RunReport.parse(result.document) == RunReport.load(here / "out/report.json")
    assert without_timing(result.document) == without_timing(json.loads((here / "run/report.json").read_text()))


@pytest.mark.parametrize(("gate", "code"), [("min_robust_accuracy: 1", 1), ("", 3)])
def test_run_ends_with_the_verdicts_exit_code(gate, code, here, call, call_json):
    plan = (here / "tiny.yaml").read_text()
    (here / "other.yaml").write_text(plan.replace("gate: {min_clean_accuracy: 0}", f"gate: {{{gate}}}"))
    assert call("run", "other.yaml", "--out", "out").code == code
    assert call_json("run", "other.yaml", "--out", "out").code == code


def test_run_finds_a_place_of_its_own(here, call):
    assert "Report: runs/tiny/report.html" in call("run", "tiny.yaml").out
    assert "Report: runs/tiny-2/report.html" in call("run", "tiny.yaml", "--seed", 9).out
    # --resume finds the last directory of this very pipeline, not merely the last one.
    assert "Report: runs/tiny/report.html" in call("run", "tiny.yaml", "--resume").out
    assert "Report: runs/tiny-2/report.html" in call("run", "tiny.yaml", "--resume", "--seed", 9).out
    refused = call("run", "tiny.yaml", "--resume", "--seed", 10)
    assert refused.code == 2
    assert "differs in: seed" in refused.err
    assert sorted(path.name for path in (here / "runs").iterdir()) == ["tiny", "tiny-2"]


def test_resume_of_nothing_begins(here, call):
    assert call("run", "tiny.yaml", "--resume").code == 0
    assert (here / "runs/tiny/report.html").exists()


def test_a_long_path_is_not_broken_and_brackets_are_no_markup(here, call):
    place = here / "a folder [red] with :smile: and a long name, so that the line is wider than any terminal" / "[bold]out"
    result = call("report", "run", "--out", place / "page.html")
    assert result.out.splitlines()[-1] == f"Report: {place}/page.html"


def test_evaluate_under_several_threat_models(here, call, call_json):
    words = ("evaluate", "hard", "--data", "data.npz", "--threat", "linf:0.05", "--threat", "l2:0.1", "--suite", "quick")
    result = call_json(*words, "--out", "u", "--store", "kept")
    assert result.code == 0
    assert [report["threat"]["norm"] for report in result.document["reports"]] == ["linf", "l2"]
    assert json.loads((here / "u/report.json").read_text()) == result.document
    assert (here / "u/threat-2/report.html").exists()
    assert list((here / "kept").rglob("*.safetensors"))
    robust = [report["robust_accuracy"]["count"] for report in result.document["reports"]]
    assert result.document["union_accuracy"]["count"] <= min(robust)
    assert "Union of 2 threat models" in call(*words, "--store", "kept").out
    assert call(*words, "--eps", "0.1").code == 2
    assert call(*words[:4], "--threat", "linf").code == 2


def test_evaluate_keeps_adversarials(here, call_json):
    words = ("evaluate", "baseline", "--data", "data.npz", "--eps", 0.05, "--suite", "quick", "--adversarials", "a.safetensors")
    assert call_json(*words).code == 0
    assert (here / "a.safetensors").exists()
