"""Reference statistics, and the watch that compares traffic with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from martensite.artifacts import load_bundle, save_bundle
from martensite.artifacts.reference import REFERENCE, add_reference, read_reference
from martensite.core.errors import ArtifactError, DataError
from martensite.data import load_data
from martensite.defenses import Defence, Energy, defend
from martensite.models import build
from martensite.models.digest import model_digest
from martensite.serving.monitoring.drift.embedding import WIDTH, Embedding
from martensite.serving.monitoring.drift.reference import Reference
from martensite.serving.monitoring.drift.settings import DriftSettings
from martensite.serving.monitoring.drift.views import names, view
from martensite.serving.monitoring.drift.watch import DriftWatch
from martensite.threat import ThreatModel


@pytest.fixture(scope="module")
def data():
    """In random order: the digits' own is by writers, which is a drift."""
    digits = load_data("digits", split="all")
    return digits.subset(torch.randperm(len(digits), generator=torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def model(data):
    """A few steps of training, so that classes differ."""
    torch.manual_seed(0)
    model = build({"kind": "mlp", "hidden": [32]}, data.shape, data.classes, seed=0)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(data.x[:600]), data.y[:600]).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def reference(model, data):
    return Reference.of(model, data.subset(slice(600, 1200)))


def watch_of(model, reference, seed=0, **settings):
    given = DriftSettings(**{"window": 100, "embedded_window": 40, "embedded_share": 0.5, **settings})
    return DriftWatch(reference, given, Embedding(model), np.random.default_rng(seed))


def feed(watch, model, x, parts=8):
    with torch.inference_mode():
        logits = model(x).numpy()
    p = np.full(len(x), np.nan)
    for rows in np.array_split(np.arange(len(x)), parts):
        watch.see(x.numpy()[rows], logits[rows], p[rows], 1.0)
    return {(one.name, one.about): one for one in watch.show().tests}


class TestReference:
    def test_it_comes_back_from_its_bytes(self, model, reference):
        again = Reference.from_bytes(reference.to_bytes(), model_digest(model))
        assert again.about == reference.about
        assert np.array_equal(again.features, reference.features)
        assert again.to_bytes() == reference.to_bytes()
        assert len(reference.to_bytes()) < 2**20

    def test_the_same_seed_gives_the_same_bytes(self, model, data, reference):
        assert Reference.of(model, data.subset(slice(600, 1200))).to_bytes() == reference.to_bytes()

    def test_no_sample_can_be_put_together_again(self, reference):
        assert (np.diff(reference.features, axis=0) >= 0).all()

    def test_figures_are_the_data_s_own(self, model, data, reference):
        part = data.subset(slice(600, 1200))
        right = (model(part.x).argmax(1) == part.y).float().mean().item()
        assert reference.accuracy == pytest.approx(right)
        assert reference.confusion.sum() == 600
        assert reference.features[:, -3].mean() == pytest.approx(part.x.mean().item(), rel=1e-4)

    def test_another_model_s_is_refused(self, data, reference):
        with pytest.raises(ArtifactError, match="of the model"):
            Reference.from_bytes(reference.to_bytes(), "sha256:" + "0" * 64)

    @pytest.mark.parametrize("spoil", ["cut", "text", "shape", "nan", "class", "order"])
    def test_spoilt_bytes_are_refused(self, model, reference, spoil):
        content = reference.to_bytes()
        if spoil == "cut":
            content = content[:-5]
        elif spoil == "text":
            content = b"{}"
        else:
            tensors = {name: one.copy() for name, one in load(content).items()}
            if spoil == "shape":
                tensors["labels"] = tensors["labels"][:5]
            elif spoil == "nan":
                tensors["confidence"][0] = np.nan
            elif spoil == "class":
                tensors["predicted"][0] = 99
            else:
                tensors["features"] = tensors["features"][::-1].copy()
            content = save(tensors, {"about": json.dumps(reference.about.model_dump(mode="json"))})
        with pytest.raises(ArtifactError, match="no reference statistics"):
            Reference.from_bytes(content, model_digest(model))

    def test_too_little_data_is_refused(self, model, data):
        with pytest.raises(DataError, match="at least 100"):
            Reference.of(model, data.subset(slice(0, 99)))

    def test_detectors_are_part_of_it(self, model, data):
        defended = defend(model, Defence(detectors=(Energy(),), false_alarms=0.05), data.subset(slice(1200, 1797)))
        reference = Reference.of(defended, data.subset(slice(600, 1200)))
        assert reference.p_values.shape == (600,)
        assert (reference.p_values <= 0.05).mean() == pytest.approx(0.05, abs=0.05)


class TestInTheBundle:
    def test_it_is_listed_and_the_model_stays_the_same(self, model, reference, tmp_path):
        save_bundle(model, tmp_path / "m", threat=ThreatModel(norm="linf", eps=0.1))
        before = model_digest(load_bundle(tmp_path / "m"))
        assert read_reference(tmp_path / "m") is None
        add_reference(tmp_path / "m", reference.to_bytes())
        assert read_reference(tmp_path / "m") == reference.to_bytes()
        assert model_digest(load_bundle(tmp_path / "m")) == before

    def test_an_altered_file_is_refused(self, model, reference, tmp_path):
        save_bundle(model, tmp_path / "m")
        add_reference(tmp_path / "m", reference.to_bytes())
        content = bytearray((tmp_path / "m" / REFERENCE).read_bytes())
        content[-1] ^= 1
        (tmp_path / "m" / REFERENCE).write_bytes(content)
        with pytest.raises(ArtifactError, match="altered"):
            read_reference(tmp_path / "m")

    def test_a_signed_bundle_is_left_alone(self, model, reference, tmp_path):
        save_bundle(model, tmp_path / "m")
        (tmp_path / "m.sig").touch()
        with pytest.raises(ArtifactError, match="signed"):
            add_reference(tmp_path / "m", reference.to_bytes())

    def test_a_bundle_with_one_can_be_replaced(self, model, reference, tmp_path):
        save_bundle(model, tmp_path / "m")
        add_reference(tmp_path / "m", reference.to_bytes())
        save_bundle(model, tmp_path / "m")
        assert not (tmp_path / "m" / REFERENCE).exists()


class TestViews:
    def test_cells_are_means(self):
        x = np.random.default_rng(0).random((3, 2, 16, 16), dtype=np.float32)
        found = view(x)
        assert found.shape == (3, len(names((2, 16, 16))))
        assert found[1, 8 * 8 + 9] == pytest.approx(x[1, 1, 2:4, 2:4].mean(), rel=1e-5)
        assert found[:, -3] == pytest.approx(x.mean((1, 2, 3)), rel=1e-5)

    def test_sharpness_grows_with_noise_of_mean_zero(self):
        x = np.full((1, 1, 28, 28), 0.5, np.float32)
        noise = np.random.default_rng(0).choice([-0.1, 0.1], x.shape).astype(np.float32)
        assert view(x)[0, -1] == 0
        assert view(x + noise)[0, -1] == pytest.approx(0.1, rel=0.1)

    def test_a_table_has_its_columns_and_a_wide_one_some(self):
        x = np.arange(12, dtype=np.float32).reshape(2, 6)
        assert np.array_equal(view(x), x)
        assert view(np.zeros((2, 5000), np.float32)).shape == (2, 512)
        assert names((5000,))[-1] == "column 4999"


class TestEmbedding:
    def test_it_is_what_the_last_layer_takes(self, model, data):
        found = Embedding(model)(data.x[:5].numpy())
        last = [one for one in model.net.modules() if isinstance(one, torch.nn.Linear)][-1]
        assert last(torch.from_numpy(found)).detach().numpy() == pytest.approx(model(data.x[:5]).detach().numpy(), abs=1e-4)

    def test_wide_features_are_projected_alike_each_time(self, data):
        wide = build({"kind": "mlp", "hidden": [300]}, data.shape, 10, seed=1).eval()
        one, other = Embedding(wide)(data.x[:4].numpy()), Embedding(wide)(data.x[:4].numpy())
        assert one.shape == (4, WIDTH)
        assert np.array_equal(one, other)


class TestWatch:
    def test_traffic_like_the_reference_rings_nothing(self, model, data, reference):
        tests = feed(watch_of(model, reference), model, data.x[1200:])
        assert len(tests) == 3 + 2 * 3
        assert [one.detail for one in tests.values() if one.alarm] == []

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda x: (x + 0.15 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1),
             {("ks", "features"), ("sequential", "inputs")}),
            (lambda x: (0.5 * x).clamp(0, 1), {("ks", "features"), ("mmd", "embeddings")}),
        ],
        ids=["noise", "darker"],
    )  # fmt: skip
    def test_changed_inputs_ring(self, model, data, reference, change, expected):
        tests = feed(watch_of(model, reference), model, change(data.x[1200:]))
        assert expected <= {name for name, one in tests.items() if one.alarm}
        assert tests["ks", "features"].since == 1.0

    def test_a_shift_of_classes_rings_and_says_which(self, model, data, reference):
        rows = torch.cat([torch.arange(1200, 1797)[data.y[1200:] == 3]] * 5)
        tests = feed(watch_of(model, reference), model, data.x[rows])
        assert tests["classes", "predictions"].alarm
        assert "predicted 3" in tests["classes", "predictions"].detail

    def test_an_alarm_stays(self, model, data, reference):
        watch = watch_of(model, reference)
        feed(watch, model, torch.zeros_like(data.x[:300]))
        tests = feed(watch, model, data.x[1200:])
        assert tests["ks", "features"].alarm

    def test_errors_ring_once_labels_come(self, model, reference):
        watch, chance = watch_of(model, reference), np.random.default_rng(10)
        watch.label(chance.random(400) < reference.accuracy, 1.0)
        assert not watch.show().alarm
        watch.label(chance.random(300) < 0.6, 2.0)
        rang = [(one.name, one.about) for one in watch.show().tests if one.alarm]
        assert ("sequential", "accuracy") in rang

    def test_detectors_that_ring_more_often_are_noticed(self, model, data, reference):
        chance = np.random.default_rng(1)
        watch = watch_of(model, replace(reference, p_values=chance.random(600).astype(np.float32)))
        with torch.inference_mode():
            logits = model(data.x[1200:1500]).numpy()
        p = np.where(chance.random(300) < 0.2, 0.001, chance.random(300))
        watch.see(data.x[1200:1500].numpy(), logits, p, 1.0)
        assert next(one for one in watch.show().tests if one.about == "detectors").alarm

    def test_rows_that_failed_are_passed_over(self, model, data, reference):
        watch = watch_of(model, reference)
        logits = np.full((3, 10), np.nan, np.float32)
        logits[1] = 1.0
        watch.see(data.x[:3].numpy(), logits, np.full(3, np.nan), 1.0)
        assert watch.show().samples == 1

    @pytest.mark.slow
    def test_false_alarms_of_all_tests_together(self, data, model, reference):
        """200 servers of 20 windows each at a rate of 20 % for ever, each with a reference and traffic of its own draw."""
        rang, chance, servers = 0, np.random.default_rng(2), 200
        with torch.inference_mode():
            logits = model(data.x).numpy()
        x = data.x.numpy()
        for server in range(servers):
            order = chance.permutation(len(x))
            own = Reference.of(model, data.subset(torch.from_numpy(order[:300].copy())))
            watch = watch_of(model, own, server, false_alarms=0.2, window=60, embedded_window=30, embedded_share=0.3)
            rows = order[300:1500]
            watch.see(x[rows], logits[rows], np.full(len(rows), np.nan), 1.0)
            rang += any(one.alarm for one in watch.show().tests if one.name != "cusum")
        # 40 are expected at most; 55 or more would come by chance once in a hundred times.
        assert rang < 55
