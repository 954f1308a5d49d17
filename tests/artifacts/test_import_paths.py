"""A bundle that names code by import path: refused, until somebody says that the code is trusted."""

import json
import sys

import pytest
import torch

from martensite.artifacts import load_bundle, read_manifest, save_bundle
from martensite.artifacts.imported import Imported
from martensite.core.errors import ArtifactError, ConfigError, ModelError
from martensite.models import ARCHITECTURES, Classifier
from martensite.models.digest import model_digest

SOURCE = """
from pathlib import Path

from torch import nn

Path(__file__).with_name("canary").touch()


class Own(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.first, self.last = nn.Linear(64, width), nn.Linear(width, 3)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).relu())


def make(width=4):
    return Own(width)


def wrong():
    return 3


def fails():
    raise RuntimeError("no")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package of one's own, and a model of it."""
    (tmp_path / "ownpackage_nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ownpackage_nets", raising=False)
    import ownpackage_nets

    torch.manual_seed(0)
    model = Classifier(ownpackage_nets.make(), 3, shape=(1, 8, 8)).eval()
    yield model
    sys.modules.pop("ownpackage_nets", None)


@pytest.fixture
def bundle(own, tmp_path):
    """Its bundle; from here on its code has not been imported."""
    save_bundle(own, tmp_path / "bundle", factory="ownpackage_nets:make")
    sys.modules.pop("ownpackage_nets")
    (tmp_path / "canary").unlink()
    return tmp_path / "bundle"


def test_it_is_refused_and_nothing_runs(bundle, tmp_path):
    with pytest.raises(ArtifactError, match=r"runs ownpackage_nets:make.*--trust-code"):
        load_bundle(bundle)
    assert not (tmp_path / "canary").exists()
    assert "ownpackage_nets" not in sys.modules


def test_trust_loads_the_same_model(bundle, own, tmp_path):
    assert model_digest(load_bundle(bundle, trust_code=True)) == model_digest(own)
    assert (tmp_path / "canary").exists()


def test_the_allow_list_holds_modules_and_what_lies_below_them(bundle, own):
    assert model_digest(load_bundle(bundle, allow={"ownpackage_nets"})) == model_digest(own)
    for name in ("ownpackage", "ownpackage_nets.make", "nets"):
        with pytest.raises(ArtifactError, match="--trust-code"):
            load_bundle(bundle, allow={name})


def test_without_a_factory_it_is_not_saved(own, tmp_path):
    with pytest.raises(ModelError, match="factory="):
        save_bundle(own, tmp_path / "other")


def test_a_function_that_gives_another_network_is_noticed_when_saving(own, tmp_path):
    with pytest.raises(ModelError):
        save_bundle(own, tmp_path / "other", factory="ownpackage_nets:wrong")
    with pytest.raises(ModelError, match="RuntimeError"):
        save_bundle(own, tmp_path / "other", factory="ownpackage_nets:fails")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("path", ["os:system", "os.path:join", "subprocess:Popen", "builtins:eval", "martensite.modelsx:make"])
def test_a_manifest_edited_to_import_is_refused(path, model, tmp_path):
    save_bundle(model, tmp_path / "m")
    place = tmp_path / "m" / "model.json"
    document = json.loads(place.read_text())
    document["architecture"] = {"kind": "import", "factory": path, "arguments": {"command": "touch canary"}}
    place.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="--trust-code"):
        load_bundle(tmp_path / "m")


@pytest.mark.parametrize("path", ["os", "os:", ":x", "a b:c", "a:b.c", "../a:b", "a:b()"])
def test_what_is_no_path_is_refused_even_if_trusted(path):
    with pytest.raises(ConfigError, match="package"):
        Imported(factory=path)


def test_parsing_never_makes_an_import_of_a_name():
    with pytest.raises(ConfigError):
        ARCHITECTURES.build({"kind": "import", "factory": "os:system"})


def test_the_command_line_asks_for_trust(bundle, tmp_path, capsys):
    from martensite.cli.main import main

    words = ["attack", str(bundle), "--data", "digits", "--samples", "10", "--attack", "fgsm", "--eps", "0.1"]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "--trust-code" in capsys.readouterr().err
    assert read_manifest(bundle).architecture["factory"] == "ownpackage_nets:make"
    assert not (tmp_path / "canary").exists()
