"""preprocess.json: what it computes, and that it is checked like the weights; card.md: for people only."""

import json

import pytest
import torch

from martensite.artifacts import Preprocess, load_bundle, read_manifest, read_preprocess, save_bundle
from martensite.core.errors import ArtifactError, ConfigError, DataError
from martensite.threat import ThreatModel


def test_levels_are_mapped_onto_the_box():
    raw = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    assert torch.allclose(Preprocess().apply(raw, (0.0, 1.0)), torch.tensor([[0.0, 0.2, 1.0]]))
    assert torch.allclose(Preprocess(levels=(0, 51)).apply(raw, (-1.0, 1.0)), torch.tensor([[-1.0, 1.0, 1.0]]))


@pytest.mark.parametrize("how", ["nearest", "bilinear", "bicubic"])
def test_a_constant_image_stays_constant_at_any_size(how):
    raw = torch.full((2, 3, 9, 7), 51.0)
    out = Preprocess(size=(4, 5), interpolation=how).apply(raw, (0.0, 1.0))
    assert out.shape == (2, 3, 4, 5)
    assert torch.allclose(out, torch.tensor(0.2), atol=1e-6)


def test_halving_is_the_mean_of_neighbours_in_the_middle():
    """Antialiased bilinear at half size weighs the 4 nearest pixels 1:3:3:1 along each axis, away from the border."""
    raw = torch.arange(64.0).reshape(1, 1, 8, 8).square()
    weights = torch.tensor([1.0, 3, 3, 1]) / 8
    expected = weights @ raw[0, 0, 1:5, 1:5] @ weights
    out = Preprocess(size=(4, 4), levels=(0, 4096)).apply(raw, (0.0, 1.0))
    assert torch.allclose(out[0, 0, 1, 1], expected / 4096, atol=1e-5)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="below"):
        Preprocess(levels=(1, 1))
    with pytest.raises(DataError, match="images"):
        Preprocess(size=(2, 2)).apply(torch.zeros(3, 4), (0.0, 1.0))


@pytest.fixture
def bundle(model, tmp_path):
    save_bundle(model, tmp_path / "m", preprocess=Preprocess(size=(8, 8)), threat=ThreatModel(norm="linf", eps=0.15))
    return tmp_path / "m"


def test_it_comes_back(bundle, model, tmp_path):
    assert read_preprocess(bundle) == Preprocess(size=(8, 8))
    load_bundle(bundle)
    save_bundle(model, tmp_path / "without")
    assert read_preprocess(tmp_path / "without") is None


def test_an_altered_one_is_noticed_by_loading(bundle):
    place = bundle / "preprocess.json"
    place.write_text(place.read_text().replace("255", "128"))
    with pytest.raises(ArtifactError, match="altered"):
        load_bundle(bundle)


def test_a_missing_one_is_noticed_by_loading(bundle):
    (bundle / "preprocess.json").unlink()
    with pytest.raises(ArtifactError, match="can't be read"):
        load_bundle(bundle)


def test_one_that_is_not_listed_is_not_read(model, tmp_path):
    save_bundle(model, tmp_path / "m")
    (tmp_path / "m" / "preprocess.json").write_text("{broken")
    load_bundle(tmp_path / "m")
    assert read_preprocess(tmp_path / "m") is None


@pytest.mark.parametrize("name", ["../outside", "evil.py", "card.md", "/etc/passwd"])
def test_a_manifest_that_lists_other_files_is_refused(name, bundle):
    place = bundle / "model.json"
    document = json.loads(place.read_text())
    document["files"][name] = "sha256:0"
    place.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="lists"):
        load_bundle(bundle)


def test_a_defence_that_is_not_known_is_not_left_out(bundle):
    place = bundle / "model.json"
    document = json.loads(place.read_text()) | {"defences": ["jpeg"]}
    place.write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="jpeg"):
        load_bundle(bundle)


def test_the_card_says_what_the_manifest_says_and_is_never_read(bundle):
    text = (bundle / "card.md").read_text()
    manifest = read_manifest(bundle)
    for fact in (manifest.digest, "small_cnn", "linf, eps 0.15", "1 x 8 x 8", "float32"):
        assert fact in text
    (bundle / "card.md").write_bytes(b"\xff\0")
    load_bundle(bundle)
    (bundle / "card.md").unlink()
    load_bundle(bundle)


def test_bundles_of_before_still_load(model, tmp_path):
    """Two files, and no word of defences."""
    save_bundle(model, tmp_path / "m")
    place = tmp_path / "m" / "model.json"
    document = json.loads(place.read_text())
    del document["defences"]
    place.write_text(json.dumps(document))
    (tmp_path / "m" / "card.md").unlink()
    load_bundle(tmp_path / "m")
