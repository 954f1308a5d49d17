"""Saving and loading: what comes back is bit for bit what was saved, and what stands in the way is left alone."""

import errno
import json
import os
import shutil

import pytest
import torch
from torch import nn

from martensite.artifacts import check_savable, load_bundle, read_manifest, save_bundle
from martensite.core.errors import ArtifactError, ConfigError, ModelError, StorageError
from martensite.models import ARCHITECTURES, MLP, Classifier, build
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

SMALL = {
    "layers": {"layers": [{"kind": "Flatten"}, {"kind": "Linear", "in_features": 64, "out_features": 3}]},
    "resnet18": {"width": 2},
    "vit_tiny": {"dim": 6, "depth": 1, "heads": 2},
    "madry_cnn": {"width": 2, "hidden": 8},
    "preact_resnet18": {"width": 2},
    "text_transformer": {"dim": 6, "depth": 1, "heads": 2},
    "trades_cnn": {"width": 2, "hidden": 8},
    "wide_resnet": {"depth": 10, "width": 1, "dropout": 0.1},
}
SHAPES = {"text_transformer": (6, 8), "trades_cnn": (1, 16, 16)}


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ARCHITECTURES.names())
def test_every_architecture_comes_back(kind, tmp_path, answers):
    shape = SHAPES.get(kind, (1, 8, 8))
    model = build({"kind": kind, **SMALL.get(kind, {})}, shape, 3, mean=0.25, std=0.5, seed=3)
    loaded = load_bundle(save_bundle(model, tmp_path / "m"))
    assert torch.equal(answers(loaded), answers(model))
    assert model_digest(loaded) == model_digest(model)
    assert (loaded.shape, loaded.classes, loaded.box) == (shape, 3, (0.0, 1.0))
    assert loaded.architecture == model.architecture
    assert not any(part.training for part in loaded.modules())


def test_a_plain_sequential_comes_back(plain, tmp_path, answers):
    loaded = load_bundle(save_bundle(plain, tmp_path / "m"))
    assert torch.equal(answers(loaded), answers(plain))
    assert model_digest(loaded) == model_digest(plain)
    assert loaded.shape == (1, 8, 8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("which", ["model", "plain"])
def test_every_precision_comes_back(dtype, which, request, tmp_path, answers):
    model = request.getfixturevalue(which).to(dtype)
    loaded = load_bundle(save_bundle(model, tmp_path / "m"))
    assert loaded.dtype == dtype
    assert torch.equal(answers(loaded), answers(model))
    assert model_digest(loaded) == model_digest(model)


def test_input_conventions_come_back(tmp_path, answers):
    model = build("small_cnn", (3, 8, 8), 4, mean=(0.1, 0.2, 1 / 3), std=(0.5, 0.6, 0.7), box=(-1, 2), seed=1)
    threat = ThreatModel(norm="l2", eps="8/255", box=(-1, 2))
    save_bundle(model, tmp_path / "m", threat=threat, class_names=("a", "b", "ç", '"'))
    loaded, manifest = load_bundle(tmp_path / "m"), read_manifest(tmp_path / "m")
    assert torch.equal(loaded.mean, model.mean)
    assert torch.equal(loaded.std, model.std)
    assert loaded.box == (-1.0, 2.0)
    assert torch.equal(answers(loaded), answers(model))
    assert manifest.threat == threat
    assert manifest.class_names == ("a", "b", "ç", '"')


def test_tied_and_strided_weights_come_back(tmp_path, answers):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Linear(64, 3))
    net[1].weight = nn.Parameter(torch.rand(64, 64).t())
    model = Classifier(net, 3, shape=(1, 8, 8))
    assert torch.equal(answers(load_bundle(save_bundle(model, tmp_path / "m"))), answers(model))


def test_neither_saving_nor_loading_touches_the_model_or_the_global_stream(model, tmp_path):
    model.train()
    before, state = model_digest(model), torch.get_rng_state()
    save_bundle(model, tmp_path / "m")
    load_bundle(tmp_path / "m")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(part.training for part in model.modules())
    assert model_digest(model) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_two_saves_are_the_same_bytes(model, tmp_path):
    assert tree(save_bundle(model, tmp_path / "a")) == tree(save_bundle(model, tmp_path / "b"))


def test_a_bundle_is_three_files(model, tmp_path):
    save_bundle(model, tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["card.md", "model.json", "model.safetensors"]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


# What no description holds


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x):
        return self.linear(x.flatten(1))


class Doubling(Classifier):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Classifier(Own(), 3, shape=(1, 8, 8)),
        lambda: Classifier(nn.Sequential(nn.Flatten(), Own()), 3, shape=(1, 8, 8)),
        lambda: Doubling(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), 3, shape=(1, 8, 8)),
    ],
    ids=["own module", "own layer", "own classifier"],
)
def test_own_code_is_refused_with_the_remedy(make, tmp_path):
    with pytest.raises(ModelError, match=r"register yours with ARCHITECTURES\.register"):
        save_bundle(make(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", ["hook", "pre-hook", "forward"])
def test_a_network_changed_since_it_was_built_is_not_saved_as_if_it_were_not(change, model, tmp_path):
    layer = model.net[1]
    if change == "hook":
        layer.register_forward_hook(lambda layer, given, output: output + 1)
    elif change == "pre-hook":
        model.register_forward_pre_hook(lambda layer, given: given)
    else:
        layer.forward = lambda x: -x
    with pytest.raises(ModelError):
        save_bundle(model, tmp_path / "m")


def test_an_exchanged_layer_is_saved_as_it_is_now(tmp_path, answers):
    model = build("mlp", (1, 8, 8), 3, seed=1)
    model.net[2] = nn.Tanh()  # the state dict is that of the architecture still
    loaded = load_bundle(save_bundle(model, tmp_path / "m"))
    assert torch.equal(answers(loaded), answers(model))
    assert isinstance(loaded.net[2], nn.Tanh)


def test_mixed_precision_is_refused_rather_than_rounded(plain, tmp_path):
    plain.net[1].double()
    with pytest.raises(ModelError, match="one floating-point type"):
        save_bundle(plain, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_mean_of_another_precision_is_refused(tmp_path):
    model = build("mlp", (1, 8, 8), 3, mean=1 / 3, std=1.0)
    model.net.half()
    with pytest.raises(ModelError, match=r"model\.to"):
        save_bundle(model, tmp_path / "m")


def test_class_names_fit_the_classes(model, tmp_path):
    with pytest.raises(ConfigError, match="2 class names"):
        save_bundle(model, tmp_path / "m", class_names=("a", "b"))
    assert not list(tmp_path.iterdir())


def test_an_architecture_whose_shape_is_not_known_is_described_by_its_layers(tmp_path, answers):
    net = MLP(hidden=(5,)).module((1, 8, 8), 3)
    loaded = load_bundle(save_bundle(Classifier(net, 3, architecture=MLP(hidden=(5,))), tmp_path / "m"))
    assert torch.equal(answers(loaded), answers(Classifier(net, 3)))


# What stands in the way


def fill(folder, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text("precious")


@pytest.mark.parametrize(
    "names", [("notes.txt",), ("model.json", "group1-shard1of1.bin"), ("model.json",), ("model.safetensors",)], ids=str
)
def test_a_folder_that_is_no_bundle_is_not_replaced(names, model, tmp_path):
    fill(tmp_path / "m", *names)
    with pytest.raises(ArtifactError, match="is no bundle"):
        save_bundle(model, tmp_path / "m")
    assert tree(tmp_path) == {f"m/{name}": b"precious" for name in names}


def test_a_file_is_not_replaced(model, tmp_path):
    (tmp_path / "m").write_text("precious")
    with pytest.raises(ArtifactError, match="is no bundle"):
        save_bundle(model, tmp_path / "m")
    assert (tmp_path / "m").read_text() == "precious"


def test_a_bundle_with_something_else_in_it_is_not_replaced(model, tmp_path):
    save_bundle(model, tmp_path / "m")
    (tmp_path / "m" / "notes.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="in a folder of their own"):
        save_bundle(model, tmp_path / "m")
    assert (tmp_path / "m" / "notes.txt").exists()


def test_another_tools_model_json_is_not_replaced(model, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text(json.dumps({"format": "layers-model", "modelTopology": {}}))
    with pytest.raises(ArtifactError):
        save_bundle(model, tmp_path / "m")


def test_a_bundle_is_replaced(model, plain, tmp_path, answers):
    save_bundle(model, tmp_path / "m")
    save_bundle(plain, tmp_path / "m")
    assert torch.equal(answers(load_bundle(tmp_path / "m")), answers(plain))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_empty_folder_and_missing_parents_are_filled(model, tmp_path):
    (tmp_path / "empty").mkdir()
    load_bundle(save_bundle(model, tmp_path / "empty"))
    load_bundle(save_bundle(model, tmp_path / "a" / "b" / "c"))


def test_a_link_stays_and_its_target_is_replaced(model, plain, tmp_path, answers):
    save_bundle(model, tmp_path / "v1")
    (tmp_path / "current").symlink_to("v1")
    save_bundle(plain, tmp_path / "current")
    assert (tmp_path / "current").is_symlink()
    assert torch.equal(answers(load_bundle(tmp_path / "v1")), answers(plain))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "v1"]


def test_check_savable_refuses_before_the_work_what_save_would_after_it(model, tmp_path):
    fill(tmp_path / "m", "notes.txt")
    with pytest.raises(ArtifactError):
        check_savable(model, tmp_path / "m")
    with pytest.raises(ModelError):
        check_savable(Classifier(Own(), 3), tmp_path / "new")
    with pytest.raises(ArtifactError, match="takes no new folder"):
        check_savable(model, tmp_path / "m" / "notes.txt" / "below")
    assert check_savable(model, tmp_path / "new") == model.architecture
    assert not (tmp_path / "new").exists()


# A disk that is full


@pytest.mark.parametrize("failing", [1, 2])
def test_a_full_disk_leaves_the_old_bundle(failing, model, plain, tmp_path, monkeypatch, answers):
    save_bundle(model, tmp_path / "m")
    before, calls = tree(tmp_path), []

    def fsync(handle):
        calls.append(handle)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="No space left"):
        save_bundle(plain, tmp_path / "m")
    assert tree(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert torch.equal(answers(load_bundle(tmp_path / "m")), answers(model))


def test_ctrl_c_leaves_the_old_bundle(model, plain, tmp_path, monkeypatch):
    save_bundle(model, tmp_path / "m")
    before = tree(tmp_path)

    def interrupted(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_bundle(plain, tmp_path / "m")
    assert tree(tmp_path) == before


def test_a_bundle_can_be_moved_and_copied(model, tmp_path, answers):
    save_bundle(model, tmp_path / "m")
    shutil.copytree(tmp_path / "m", tmp_path / "elsewhere")
    assert torch.equal(answers(load_bundle(tmp_path / "elsewhere")), answers(model))
