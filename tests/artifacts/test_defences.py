"""A defended bundle: what comes back, and what was altered."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from martensite.artifacts import load_bundle, read_manifest, save_bundle
from martensite.artifacts.attest.subject import Subject
from martensite.core.errors import ArtifactError, ConfigError, ModelError
from martensite.core.files import sha256
from martensite.data import Dataset
from martensite.defenses import JPEG, Defence, Defended, Energy, InputRules, Mahalanobis, Voting, defend
from martensite.models import build
from martensite.threat import ThreatModel

LEARNT = "defence.safetensors"


def clean(n=120):
    chance = torch.Generator().manual_seed(0)
    return Dataset(torch.rand(n, 1, 8, 8, generator=chance), torch.arange(n) % 3, 3)


@pytest.fixture
def defended():
    plan = Defence(
        transforms=(JPEG(quality=60),),
        detectors=(Energy(), Mahalanobis()),
        false_alarms=0.1,
        rules=InputRules(shape=(1, 8, 8)),
        hardened=True,
    )
    return defend(build("small_cnn", (1, 8, 8), 3, mean=0.3, std=0.5), plan, clean())


@pytest.fixture
def bundle(defended, tmp_path):
    return save_bundle(defended, tmp_path / "one", threat=ThreatModel(eps=0.1), class_names=("a", "b", "c"))


def rewrite(bundle, change):
    """Alter model.json as somebody would who knows how digests are taken."""
    document = json.loads((bundle / "model.json").read_text())
    change(document)
    (bundle / "model.json").write_text(json.dumps(document))


def test_all_of_it_comes_back(defended, bundle):
    manifest, back = read_manifest(bundle), load_bundle(bundle)
    assert isinstance(back, Defended)
    assert not back.training
    assert manifest.defences == ("rules", "energy", "mahalanobis", "jpeg") == back.defence.names
    assert back.defence == defended.defence
    assert set(manifest.files) == {"model.safetensors", LEARNT}
    assert "rules, energy, mahalanobis, jpeg" in (bundle / "card.md").read_text()
    mine, theirs = defended.respond(clean().x), back.respond(clean().x)
    for name in ("logits", "p_value", "flagged"):
        assert torch.equal(getattr(mine, name), getattr(theirs, name))
    again = save_bundle(back, bundle.parent / "two", threat=manifest.threat, class_names=manifest.class_names)
    assert (again / "model.json").read_bytes() == (bundle / "model.json").read_bytes()


def test_a_vote_has_no_file_of_its_own(tmp_path):
    save_bundle(Defended(build("mlp", (6,), 3), Defence(voting=Voting(sigma=0.2))), tmp_path / "v")
    assert not (tmp_path / "v" / LEARNT).exists()
    assert load_bundle(tmp_path / "v").defence.voting.sigma == 0.2


def test_claims_name_the_defences(bundle):
    assert Subject.of(bundle).serving.defences == ("rules", "energy", "mahalanobis", "jpeg")


def test_a_bundle_without_defences_is_as_before(tmp_path):
    save_bundle(build("mlp", (6,), 3), tmp_path / "plain")
    manifest = read_manifest(tmp_path / "plain")
    assert (manifest.defences, manifest.defence) == ((), None)
    assert not isinstance(load_bundle(tmp_path / "plain"), Defended)


def weaker(document):
    document["defence"]["transforms"][0]["quality"] = 100


def louder(document):
    document["defence"]["false_alarms"] = 0.5


def without(document):
    document["defence"], document["defences"] = None, []
    del document["files"][LEARNT]


def fewer(document):
    document["defence"]["transforms"] = []
    document["defences"].remove("jpeg")


def unhardened(document):
    document["defence"]["hardened"] = False


@pytest.mark.parametrize("change", [weaker, louder, without, fewer, unhardened])
def test_a_defence_that_was_changed_is_another_model(bundle, change):
    rewrite(bundle, change)
    with pytest.raises(ArtifactError, match="has model digest"):
        load_bundle(bundle)


def unknown(document):
    document["defence"]["transforms"][0]["kind"] = "magic"
    document["defences"][-1] = "magic"


def renamed(document):
    document["defences"][-1] = "magic"


def parameter(document):
    document["defence"]["transforms"][0]["strength"] = 3


@pytest.mark.parametrize("change", [unknown, renamed, parameter])
def test_a_defence_that_is_not_known_here_is_refused_by_name(bundle, change):
    rewrite(bundle, change)
    with pytest.raises(ArtifactError, match="needs the defences"):
        load_bundle(bundle)


def relearnt(bundle, change):
    tensors = load_file(bundle / LEARNT)
    change(tensors)
    save_file(tensors, bundle / LEARNT)
    rewrite(bundle, lambda document: document["files"].update({LEARNT: sha256((bundle / LEARNT).read_bytes())}))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: t.pop("0.clean"), "energy has no scores"),
        (lambda t: t.update({"0.clean": t["0.clean"].flip(0)}), "don't rise"),
        (lambda t: t.update({"0.clean": t["0.clean"] * float("nan")}), "don't rise"),
        (lambda t: t.update({"0.clean": t["0.clean"].float()}), "energy has no scores"),
        (lambda t: t.update({"7.clean": t["0.clean"].clone()}), "belongs to no detector"),
        (lambda t: t.pop("1.means"), "doesn't fit"),
        (lambda t: t.update({"1.whitener": t["1.whitener"][:2].clone()}), "doesn't fit"),
        (lambda t: t.update({"0.clean": t["0.clean"][:3].clone()}), "could never ring"),
        (lambda t: t.update({"1.means": t["1.means"] + 1}), "has model digest"),
        (lambda t: t.update({"0.clean": t["0.clean"] + 1}), "has model digest"),
    ],
)
def test_what_detectors_learnt_is_checked(bundle, change, why):
    relearnt(bundle, change)
    with pytest.raises((ArtifactError, ConfigError), match=why) as refused:
        load_bundle(bundle)
    assert refused.value.exit_code == 2


def test_bytes_that_were_altered_are_refused_before_anything(bundle):
    content = bytearray((bundle / LEARNT).read_bytes())
    content[-1] ^= 1
    (bundle / LEARNT).write_bytes(content)
    with pytest.raises(ArtifactError, match="altered or truncated"):
        load_bundle(bundle)


def test_detectors_of_other_weights_are_not_saved(defended, tmp_path):
    with torch.no_grad():
        next(defended.base.parameters()).add_(0.1)
    with pytest.raises(ModelError, match="fitted to other weights"):
        save_bundle(defended, tmp_path / "stale")
    assert not (tmp_path / "stale").exists()
