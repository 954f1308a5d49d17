"""MODEL and DATA: everything that help promises."""

import json

import pytest
import torch

from martensite.cli.main import main
from martensite.data import load_data
from martensite.models import Classifier, build
from martensite.threat import ThreatModel

LINEAR = "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, {classes}))\n"


def digest(data):
    return load_data(data).digest


@pytest.mark.parametrize(
    "model", ["nets.py:make", "nets:make", "nets.py:classifier", "./nets.py:make", "baseline", "./baseline/"]
)
def test_a_model_is_a_bundle_or_a_factory(model, here, call_json):
    result = call_json("attack", model, "--data", "data.npz", "--eps", 0.05, "--attack", "fgsm")
    assert result.code == 0
    assert result.document["clean_accuracy"]["n"] == 90


def test_a_factory_in_a_package(here, call_json, monkeypatch):
    (here / "my_package").mkdir()
    (here / "my_package" / "__init__.py").touch()
    (here / "my_package" / "models.py").write_text(LINEAR.format(classes=3))
    assert call_json("attack", "my_package.models:make", "--data", "data.npz", "--eps", 0.05).code == 0


def test_an_absolute_path_from_elsewhere(here, call_json, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call_json("attack", f"{here}/nets.py:make", "--data", here / "data.npz", "--eps", 0.05).code == 0


def test_weights_are_loaded_into_a_factorys_module(here, call_json):
    words = ("attack", "nets.py:make", "--data", "data.npz", "--eps", 0.05, "--attack", "fgsm")
    without, loaded = call_json(*words), call_json(*words, "--weights", "w.safetensors")
    assert loaded.code == 0
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    torch.manual_seed(1)
    net.load_state_dict({"1.weight": torch.rand(3, 64), "1.bias": torch.zeros(3)})
    data = load_data("data.npz")
    right = int((Classifier(net, 3)(data.x).argmax(1) == data.y).sum())
    assert loaded.document["clean_accuracy"]["count"] == right
    assert without.document["clean_accuracy"]["count"] != right


@pytest.mark.parametrize(
    ("words", "n"),
    [
        (("--data", "data.npz"), 90),
        (("--data", "data.npz", "--split", "test"), 18),
        (("--data", "data.npz", "--samples", "7"), 7),
        (("--data", "pictures"), 90),
        (("--data", "pictures", "--split", "validation"), 9),
    ],
)
def test_data_of_images(words, n, here, call_json):
    result = call_json("attack", "baseline", *words, "--eps", 0.05, "--attack", "fgsm")
    assert result.code == 0
    assert result.document["clean_accuracy"]["n"] == n


def test_data_of_digits(here, call_json):
    (here / "ten.py").write_text(LINEAR.format(classes=10))
    result = call_json("attack", "ten.py:make", "--eps", 0.05, "--attack", "fgsm")
    assert result.document["clean_accuracy"]["n"] == 449
    assert result.document["data"] == digest("digits")


@pytest.mark.parametrize(
    "words", [("data.csv",), ("data.csv", "--label", "kind"), ("wide.csv", "--scale", "minmax", "--label", "kind")]
)
def test_data_of_tables(words, here, call_json):
    assert call_json("train", "mlp", "--data", *words, "--out", "m", "--epochs", 1).code == 0
    result = call_json("evaluate", "m", "--data", *words, "--eps", 0.05, "--suite", "quick")
    assert result.code == 0
    assert result.document["data"]["shape"] == [6]
    assert result.document["data"]["classes"] == 3


def test_the_same_data_has_the_same_digest_everywhere(here, call_json):
    attacked = call_json("attack", "hard", "--data", "data.npz").document["data"]
    evaluated = call_json("evaluate", "hard", "--data", "data.npz", "--suite", "quick").document["data"]["digest"]
    certified = call_json("certify", "hard", "--data", "data.npz", "--n", 50).document["data"]["digest"]
    assert attacked == evaluated == certified == digest("data.npz")


def test_the_threat_model_is_the_bundles_unless_stated(here, call_json):
    words = ("attack", "hard", "--data", "data.npz", "--attack", "pgd", "--set", "steps=1")
    assert ThreatModel.parse(call_json(*words).document["threat"]) == ThreatModel(norm="linf", eps=0.05)
    assert call_json(*words, "--eps", "8/255").document["threat"]["eps"] == 8 / 255
    assert ThreatModel.parse(call_json(*words, "--eps", 0.5, "--norm", "l2").document["threat"]) == ThreatModel(
        norm="l2", eps=0.5
    )


def test_settings_are_read_as_yaml(here, call_json):
    words = ("attack", "hard", "--data", "data.npz", "--samples", 3, "--set", "steps=2", "--set", "step_size=1/255")
    made = call_json(*words, "--set", "random_start=false", "--set", "loss=margin").document["attack"]
    assert (made["steps"], made["step_size"], made["random_start"], made["loss"]) == (2, 1 / 255, False, "margin")


def test_a_factorys_network_can_be_trained_and_becomes_a_bundle(here, call, call_json):
    assert call("train", "nets.py:classifier", "--data", "data.npz", "--out", "m", "--epochs", 1).code == 0
    manifest = json.loads((here / "m/model.json").read_text())
    assert manifest["architecture"]["kind"] == "layers"
    assert manifest["mean"] == pytest.approx([0.3])
    assert call_json("attack", "m", "--data", "data.npz", "--eps", 0.05).code == 0


def test_labels_in_text_mean_the_same_classes_to_model_and_data(here, call, call_json):
    """A table without any row of the first class would number the others from 0."""
    header, *rows = (here / "data.csv").read_text().splitlines()
    (here / "part.csv").write_text("\n".join([header, *(row for row in rows if not row.endswith("class0"))]))
    assert call("train", "mlp", "--data", "data.csv", "--out", "m", "--epochs", 1).code == 0
    result = call("attack", "m", "--data", "part.csv", "--eps", 0.1)
    assert result.code == 2
    assert "m and the data name class 0 'class0' and 'class1'" in result.err
    (here / "few.csv").write_text("\n".join([header, *(row for row in rows if not row.endswith("class2"))]))
    assert "name 3 and 2 classes" in call("evaluate", "m", "--data", "few.csv", "--eps", 0.1).err
    (here / "numbered.csv").write_text((here / "data.csv").read_text().replace("class", ""))
    assert call("attack", "m", "--data", "numbered.csv", "--eps", 0.1).code == 0
    assert call("train", "m", "--data", "numbered.csv", "--out", "n", "--epochs", 1).code == 0


def test_loading_a_model_changes_no_search_path(here, capsys):
    import sys

    before = list(sys.path)
    for model in ("nets.py:make", "nets:make", "broken.py:make", "nowhere:make"):
        with pytest.raises(SystemExit):
            main(["attack", model, "--data", "data.npz", "--eps", "0.1", "--samples", "3"])
    assert sys.path == before


def test_an_architecture_can_be_named_like_a_folder(here, call_json):
    (here / "mlp").mkdir()
    result = call_json("train", "mlp", "--data", "data.npz", "--out", "m", "--epochs", 1)
    assert result.code == 0
    assert build("mlp", (1, 8, 8), 3).architecture.kind == "mlp"
