"""A bundle as an attacker, a broken download or a hand-edit leaves it: refused with a reason, and never executed."""

import json
import os
import pickle
import random
import resource

import pytest
import torch
from safetensors.torch import save_file

from martensite.artifacts import load_bundle, read_manifest, read_weights, save_bundle
from martensite.artifacts.manifest import LARGEST
from martensite.core.errors import ArtifactError, ConfigError, InputError
from martensite.core.files import sha256
from martensite.models import build

FILES = ("model.safetensors", "model.json")


@pytest.fixture
def bundle(model, tmp_path):
    return save_bundle(model, tmp_path / "m", class_names=("a", "b", "c"))


def edited(bundle, **changes):
    document = json.loads((bundle / "model.json").read_text())
    (bundle / "model.json").write_text(json.dumps(document | changes))
    return bundle


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_noticed_or_changes_nothing(file, bundle, answers):
    """In the weights every bit counts; in model.json a flip may hit a space, the threat model, or a class name."""
    content, expected, chance = (bundle / file).read_bytes(), answers(load_bundle(bundle)), random.Random(0)
    places = {0, 7, 8, len(content) // 2, len(content) - 1, *(chance.randrange(len(content)) for _ in range(60))}
    for place in sorted(places):
        flipped = bytearray(content)
        flipped[place] ^= 1 << chance.randrange(8)
        (bundle / file).write_bytes(flipped)
        if file == "model.safetensors":
            with pytest.raises(ArtifactError):
                load_bundle(bundle)
            continue
        try:
            loaded = load_bundle(bundle)
        except InputError:
            continue
        assert torch.equal(answers(loaded), expected)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, 100, -1])
def test_truncation_is_noticed(file, keep, bundle):
    content = (bundle / file).read_bytes()
    (bundle / file).write_bytes(content[:keep] if keep >= 0 else content[:-2])
    with pytest.raises(ArtifactError, match="truncated"):
        load_bundle(bundle)


@pytest.mark.parametrize("file", FILES)
def test_something_appended_is_noticed(file, bundle):
    with (bundle / file).open("ab") as appended:
        appended.write(b"}")
    with pytest.raises(ArtifactError):
        load_bundle(bundle)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(file, bundle):
    (bundle / file).unlink()
    with pytest.raises(ArtifactError, match=rf"{file} can't be read: No such file"):
        load_bundle(bundle)


def test_a_missing_bundle_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nowhere.*No such file.*save_bundle"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.31]},
        {"mean": None, "std": None},
        {"mean": [0.0], "std": [1.0]},
        {"std": [0.5000001]},
        {"std": [-0.5]},
        {"std": [0.0]},
        {"mean": [0.3, 0.3, 0.3]},
        {"box": [0, 255]},
        {"box": [1, 0]},
        {"classes": 2},
        {"classes": 4},
        {"classes": 0},
        {"classes": True},
        {"classes": "3"},
        {"class_names": ["a", "b"]},
        {"dtype": "float64"},
        {"dtype": "float16"},
        {"dtype": "int8"},
        {"shape": [1, 8, 9]},
        {"shape": [3, 8, 8]},
        {"shape": []},
        {"shape": [1, 10**6, 10**6]},
        {"shape": [10**30, 1, 1]},
        {"shape": [-1, 8, 8]},
        {"architecture": {"kind": "small_cnn", "width": 17}},
        {"architecture": {"kind": "small_cnn", "width": 10**9}},
        {"architecture": {"kind": "small_cnn", "width": 10**30}},
        {"architecture": {"kind": "mlp"}},
        {"architecture": {"kind": "mlp", "hidden": [10**18]}},
        {"architecture": []},
        {"architecture": {}},
        {"digest": "sha256:" + 64 * "0"},
        {"files": {}},
        {"files": {"model.safetensors": ""}},
        {"format": "martensite-bundle-2"},
        {"run": "__import__('os').system('true')"},
        {"threat": {"norm": "linf", "eps": -1}},
        {"threat": "none"},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_an_edited_manifest_is_refused(changes, bundle):
    with pytest.raises(InputError):
        load_bundle(edited(bundle, **changes))


def test_an_unknown_key_and_a_missing_one_are_named(bundle):
    with pytest.raises(ArtifactError, match="no key 'classs'"):
        load_bundle(edited(bundle, classs=3))
    document = json.loads((bundle / "model.json").read_text())
    del document["classs"], document["mean"]
    (bundle / "model.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="lacks 'mean'"):
        load_bundle(bundle)


def test_an_unknown_architecture_names_the_nearest(bundle):
    with pytest.raises(ConfigError, match="did you mean 'small_cnn'"):
        load_bundle(edited(bundle, architecture={"kind": "smal_cnn"}))


def test_a_size_that_the_weights_do_not_have_costs_no_memory(bundle):
    """An altered manifest must not make the loader ask for terabytes before it compares anything."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError):
        load_bundle(edited(bundle, architecture={"kind": "mlp", "hidden": [30_000, 30_000]}))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes; the layers would take 3.6 GB


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b"\xff\xfe", b"{" * 100_000, b"[" * 100_000, b'{"a": NaN}'])
def test_no_manifest_at_all(content, bundle):
    (bundle / "model.json").write_bytes(content)
    with pytest.raises(ArtifactError, match="is no manifest"):
        load_bundle(bundle)


def test_a_huge_manifest_is_not_read(bundle):
    with (bundle / "model.json").open("ab") as file:
        file.truncate(100 * 2**20)
    with pytest.raises(ArtifactError, match=f"{100 * 2**20} bytes.*at most {LARGEST}"):
        load_bundle(bundle)


def test_the_weights_of_another_model_are_noticed(bundle, tmp_path):
    other = save_bundle(build("small_cnn", (1, 8, 8), 3, seed=2), tmp_path / "other")
    (bundle / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match="digest"):
        load_bundle(bundle)
    # Also by someone who knows that there is a digest of the file, and mends it.
    document = json.loads((bundle / "model.json").read_text())
    document["files"]["model.safetensors"] = sha256((other / "model.safetensors").read_bytes())
    (bundle / "model.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="model digest"):
        load_bundle(bundle)


def test_weights_of_other_names_are_refused(bundle):
    save_file({"net.weight": torch.zeros(3)}, bundle / "model.safetensors")
    digest = sha256((bundle / "model.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match="can't be rebuilt"):
        load_bundle(edited(bundle, files={"model.safetensors": digest}))


def test_links_to_regular_files_are_followed(bundle, tmp_path, model, answers):
    """Model caches keep the weights elsewhere and link to them; the digest binds what is read."""
    (bundle / "model.safetensors").rename(tmp_path / "blob")
    (bundle / "model.safetensors").symlink_to(tmp_path / "blob")
    assert torch.equal(answers(load_bundle(bundle)), answers(model))
    (bundle / "model.safetensors").unlink()
    (bundle / "model.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="No such file"):
        load_bundle(bundle)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_pipes_devices_and_folders_are_not_read(file, kind, bundle):
    (bundle / file).unlink()
    if kind == "pipe":
        os.mkfifo(bundle / file)
    elif kind == "device":
        (bundle / file).symlink_to("/dev/zero")
    else:
        (bundle / file).mkdir()
    with pytest.raises(ArtifactError, match="is no regular file"):
        load_bundle(bundle)


# Pickles


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture(params=["torch.pth", "torch.safetensors", "raw.pkl", "raw.safetensors", "raw, protocol 0.pt"])
def bomb(request, tmp_path):
    """A pickle under many names, and the file that it makes when it is loaded."""
    path, fuse = tmp_path / request.param, tmp_path / "exploded"
    if request.param.startswith("torch"):
        torch.save({"w": Bomb(fuse)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(fuse), protocol=0 if "protocol 0" in request.param else 4))
    return path, fuse


def test_the_bomb_is_live(bomb):
    path, fuse = bomb
    if path.name.startswith("raw"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path.rename(path.with_suffix(".pth")), weights_only=False)  # by its name torch 2.13 tells safetensors
    assert fuse.exists()


def test_a_pickle_as_bundle_is_refused_and_does_not_run(bomb):
    path, fuse = bomb
    for read in (load_bundle, read_manifest):
        with pytest.raises(ArtifactError, match=r"looks like a pickle.*weights_only=True"):
            read(path)
    assert not fuse.exists()


def test_a_pickle_as_weights_is_refused_and_does_not_run(bomb):
    path, fuse = bomb
    with pytest.raises(ArtifactError, match=r"looks like a pickle.*save_file"):
        read_weights(path)
    assert not fuse.exists()


def test_a_pickle_within_a_bundle_is_refused_and_does_not_run(bomb, bundle):
    path, fuse = bomb
    content = path.read_bytes()
    (bundle / "model.safetensors").write_bytes(content)
    for changes in ({}, {"files": {"model.safetensors": sha256(content)}}):
        with pytest.raises(ArtifactError):
            load_bundle(edited(bundle, **changes))
    assert not fuse.exists()


@pytest.mark.parametrize("length", [1, 37, 64])
def test_a_safetensors_file_is_not_taken_for_a_pickle(length, tmp_path):
    """It begins with the length of its header, and a length of 128 or 384 begins like a pickle."""
    for size in range(length, length + 300):
        save_file({"w" * size: torch.zeros(2)}, tmp_path / "w.safetensors")
        if (tmp_path / "w.safetensors").read_bytes()[:1] == b"\x80":
            with pytest.raises(ArtifactError, match=r"a bundle is a folder.*--weights"):
                load_bundle(tmp_path / "w.safetensors")
            return
    raise AssertionError("no header of such a length")


def test_the_advice_for_a_pickle_works(tmp_path, model):
    torch.save(model.net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ArtifactError):
        read_weights(tmp_path / "w.pth")
    save_file(torch.load(tmp_path / "w.pth", weights_only=True), tmp_path / "weights.safetensors")
    tensors = read_weights(tmp_path / "weights.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in model.net.state_dict().items())


def header(entry):
    text = json.dumps({"w": entry}).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGUF" + bytes(100),
        (2**62).to_bytes(8, "little") + b"{}",
        header({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}) + bytes(4),
        header({"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}) + bytes(4),
        header({"dtype": "Q7", "shape": [4], "data_offsets": [0, 4]}) + bytes(4),
    ],
)
def test_what_is_no_safetensors_file_is_refused(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError, match="is no safetensors file"):
        read_weights(tmp_path / "w.safetensors")


def test_missing_weights_say_so(tmp_path):
    with pytest.raises(ArtifactError, match=r"No such file.*give a \.safetensors file"):
        read_weights(tmp_path / "w.safetensors")
