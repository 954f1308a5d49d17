"""A checkpoint becomes the very model that wrote it, or is refused before anything of it runs."""

import json
import os

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from martensite.artifacts import load_bundle
from martensite.artifacts.convert import convert
from martensite.core.errors import ArtifactError, ModelError
from martensite.models import build
from martensite.models.digest import model_digest
from martensite.models.small_cnn import SmallCNN


@pytest.fixture
def trained():
    return build("small_cnn", (1, 8, 8), 3, mean=0.3, std=0.5, seed=1)


def converted(path, tmp_path, **options):
    return convert(path, tmp_path / "new", SmallCNN(), (1, 8, 8), 3, mean=(0.3,), std=(0.5,), **options)


WRAPPED = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "lr": 0.1}},
    "parallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "lightning": lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
}


@pytest.mark.parametrize("form", WRAPPED)
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_every_usual_form_gives_the_same_model(form, new_format, trained, tmp_path):
    torch.save(WRAPPED[form](dict(trained.net.state_dict())), tmp_path / "old.pth", _use_new_zipfile_serialization=new_format)
    done = converted(tmp_path / "old.pth", tmp_path)
    assert model_digest(load_bundle(done.bundle)) == model_digest(trained)


def test_a_named_place_is_taken(trained, tmp_path):
    other = build("small_cnn", (1, 8, 8), 3, seed=2)
    torch.save({"model": other.net.state_dict(), "ema": {"shadow": trained.net.state_dict()}}, tmp_path / "old.pth")
    done = converted(tmp_path / "old.pth", tmp_path, key="ema.shadow")
    assert model_digest(load_bundle(done.bundle)) == model_digest(trained)
    with pytest.raises(ArtifactError, match=r"has no 'ema\.nothing'"):
        converted(tmp_path / "old.pth", tmp_path, key="ema.nothing")


def test_safetensors_are_converted_too(trained, tmp_path):
    save_file({name: value.clone() for name, value in trained.net.state_dict().items()}, tmp_path / "old.safetensors")
    assert model_digest(load_bundle(converted(tmp_path / "old.safetensors", tmp_path).bundle)) == model_digest(trained)


def test_a_half_precision_checkpoint_stays_half(trained, tmp_path):
    torch.save(trained.net.to(torch.float16).state_dict(), tmp_path / "old.pth")
    assert load_bundle(converted(tmp_path / "old.pth", tmp_path).bundle).dtype == torch.float16


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


def test_a_dangerous_file_is_refused_and_does_not_run(trained, tmp_path):
    torch.save({"state_dict": trained.net.state_dict(), "x": Bomb(tmp_path / "canary")}, tmp_path / "old.pth")
    with pytest.raises(ArtifactError, match=r"is dangerous.*posix\.system"):
        converted(tmp_path / "old.pth", tmp_path)
    assert not (tmp_path / "canary").exists()
    assert not (tmp_path / "new").exists()


class Own(nn.Module):
    pass


def test_a_pickled_module_is_refused_by_weights_only(tmp_path):
    torch.save(Own(), tmp_path / "old.pth")
    with pytest.raises(ArtifactError, match="weights_only=True"):
        converted(tmp_path / "old.pth", tmp_path)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"\x08\x08\x3a\x0a\x0a\x04\x22\x02ab\x12\x02xy", "ONNX"),
        (b"GGUF\3\0\0\0" + b"\0" * 16, "GGUF"),
        (b"hello", "torch.save"),
        (b"\0\1\xff", "torch.save"),
    ],
    ids=["onnx", "gguf", "text", "unknown"],
)
def test_other_formats_are_told_what_can_be_done(content, answer, tmp_path):
    (tmp_path / "old").write_bytes(content)
    with pytest.raises(ArtifactError, match=answer):
        converted(tmp_path / "old", tmp_path)


def test_torchscript_is_told_what_can_be_done(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(str(tmp_path / "old.pt"))
    with pytest.raises(ArtifactError, match=r"torch\.jit\.load"):
        converted(tmp_path / "old.pt", tmp_path)


def test_weights_of_another_architecture_say_which_name_is_odd(trained, tmp_path):
    state = dict(trained.net.state_dict())
    state["surplus"] = torch.zeros(1)
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(ModelError, match="surplus"):
        converted(tmp_path / "old.pth", tmp_path)


def test_another_shape_is_named(trained, tmp_path):
    torch.save(build("small_cnn", (1, 8, 8), 4).net.state_dict(), tmp_path / "old.pth")
    with pytest.raises(ModelError, match="--classes"):
        converted(tmp_path / "old.pth", tmp_path)


def test_two_precisions_are_refused(trained, tmp_path):
    state = dict(trained.net.state_dict())
    first = next(name for name in state if state[name].is_floating_point())
    state[first] = state[first].double()
    torch.save(state, tmp_path / "old.pth")
    with pytest.raises(ModelError, match="one precision"):
        converted(tmp_path / "old.pth", tmp_path)


def test_the_command(trained, tmp_path, capsys):
    from martensite.cli.main import main

    torch.save({"model": trained.net.state_dict()}, tmp_path / "old.pth")
    words = ["convert", tmp_path / "old.pth", tmp_path / "new", "--arch", "small_cnn", "--shape", "1,8,8", "--classes", "3"]
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in [*words, "--mean", "0.3", "--std", "0.5", "--json"]])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["digest"] == model_digest(trained)
    assert document["key"] == "model"
