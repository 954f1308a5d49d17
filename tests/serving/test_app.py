"""The application: what each path answers, who hears of it, canaries, shadows, second models, defended bundles."""

import json
import re
import shutil
import threading

import numpy as np
import pytest
import torch

from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.preprocess import Preprocess
from martensite.core.errors import ConfigError, ModelError
from martensite.data import Dataset
from martensite.defenses import Defence, Defended, Energy, InputRules, defend
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.threat import Constraints

RISING = InputRules(shape=(1, 4, 4), table=Constraints(relations=("x0 <= x1",)))


def test_metadata_say_what_the_model_takes_and_gives(plain):
    server = plain
    assert server.get("/v2").json()["extensions"] == ["binary_tensor_data", "model_repository"]
    found = server.get("/v2/models/tiny").json()
    assert found["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1, 4, 4]}]
    assert [one["name"] for one in found["outputs"]] == ["probabilities", "label", "decision"]
    assert found["versions"] == ["1"]
    assert found["parameters"]["box"] == [0.0, 1.0]
    assert found["parameters"]["evidence"] == "PASS"
    assert server.get("/v2/models/tiny/versions/1").json() == found
    assert server.get("/v2/models/tiny/ready").json()["ready"]
    assert server.get("/v2/models/tiny/versions/1/ready").json()["ready"]


@pytest.mark.parametrize(
    "path", ["/v2/models/none", "/v2/models/tiny/versions/9", "/v2/models/tiny/versions/9/ready", "/x", "/v2/"]
)
def test_what_is_not_there_is_404_with_an_error(plain, path):
    answer = plain.get(path)
    assert answer.status_code == 404
    assert [*answer.json()] == ["error"]


def test_a_wrong_method_is_405(plain):
    answer = plain.get("/v2/models/tiny/infer")
    assert answer.status_code == 405
    assert "error" in answer.json()


def test_an_answer_in_binary_is_the_one_in_json(plain, x):
    server, plain = plain, plain.infer(x, id="q").json()
    raw = x.numpy().tobytes()
    head = json.dumps({
        "id": "q",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [5, 1, 4, 4], "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    answer = server.post("/v2/models/tiny/infer", content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))})
    length = int(answer.headers["Inference-Header-Content-Length"])
    document, tail = json.loads(answer.content[:length]), answer.content[length:]
    assert document["id"] == plain["id"] == "q"
    scores = np.frombuffer(tail[: 5 * 3 * 4], "<f4")
    np.testing.assert_array_equal(scores, np.array(plain["outputs"][0]["data"], np.float32))


def test_outputs_that_are_asked_for_and_one_that_is_not_there(plain, x):
    server = plain
    assert [one["name"] for one in server.infer(x, outputs=[{"name": "label"}]).json()["outputs"]] == ["label"]
    answer = server.infer(x, outputs=[{"name": "logits"}])
    assert answer.status_code == 400
    assert "probabilities" in answer.json()["error"]


@pytest.mark.parametrize(
    ("value", "says"),
    [(float("nan"), "NaN"), (float("inf"), "NaN or infinity"), (1e39, "infinity"), (1.1, "takes 0 to 1"), (-0.1, "takes 0 to 1")],
)
def test_inputs_that_are_none(plain, x, value, says):
    bad = x.double()
    bad[3, 0, 1, 1] = value
    tensor = {"name": "input", "datatype": "FP64", "shape": [5, 1, 4, 4], "parameters": {"binary_data_size": 640}}
    head = json.dumps({"inputs": [tensor]}).encode()
    answer = plain.post(
        "/v2/models/tiny/infer", content=head + bad.numpy().tobytes(), headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert answer.status_code == 400
    assert says in answer.json()["error"]


@pytest.mark.parametrize("shape", [(5, 1, 4, 3), (5, 16), (1, 4, 4), (0, 1, 4, 4), (5, 1, 4, 4, 1)])
def test_shapes_that_do_not_fit(plain, shape):
    answer = plain.infer(torch.zeros(shape))
    assert answer.status_code == 400
    assert "[-1, 1, 4, 4]" in answer.json()["error"]


def test_inputs_a_little_outside_are_clipped_as_rounding(served, here):
    inputs = torch.full((1, 1, 4, 4), 1.0 + 5e-6)
    server = served(model={"output": {"scores": "logits"}})
    found = torch.tensor(server.infer(inputs).json()["outputs"][0]["data"])
    torch.testing.assert_close(found, here.model(torch.ones(1, 1, 4, 4))[0])
    assert served(model={"outside": "clip"}).infer(5 * inputs).status_code == 200


def test_preprocessing_is_done_by_the_server(served, here, yard, x):
    place = here.folder / "raw"
    save_bundle(here.model, place, preprocess=Preprocess(size=(4, 4), levels=(0.0, 255.0)))
    yard.prove(place)
    server = served(model={"bundle": str(place), "output": {"scores": "logits"}})
    assert server.get("/v2/models/tiny").json()["inputs"][0]["shape"] == [-1, 1, -1, -1]
    raw = (x * 255).round()
    found = torch.tensor(server.infer(raw).json()["outputs"][0]["data"]).view(5, 3)
    torch.testing.assert_close(found, here.model(raw / 255))
    assert server.infer(torch.zeros(1, 1, 9, 7)).status_code == 200
    assert server.infer(torch.zeros(1, 2, 4, 4)).status_code == 400


# Keys


@pytest.fixture
def keyed(here):
    """Tokens by name, and the settings to serve with them."""

    def make(**keys):
        tokens, entries = {}, []
        for name, given in keys.items():
            tokens[name], digest = new_secret(name)
            entries.append(ApiKey.parse({"name": name, "hashes": [digest], **given}))
        Keys(keys=tuple(entries)).save(here.folder / "keys.yaml")
        headers = {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()}
        return headers, {"access": {"keys": str(here.folder / "keys.yaml")}}

    return make


def test_who_has_no_key_gets_health_and_nothing_else(served, keyed, x):
    headers, access = keyed(app={}, other={"models": ["else"]}, reader={"scopes": ["metadata"]})
    server = served(**access)
    assert server.get("/v2/health/ready").status_code == 200
    for path in ("/v2", "/v2/models/tiny", "/v2/models/secret"):
        answer = server.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.infer(x).status_code == 401
    assert server.infer(x, headers=headers["app"]).status_code == 200
    assert server.infer(x, headers=headers["other"]).status_code == 403
    assert server.infer(x, headers=headers["reader"]).status_code == 403
    assert server.get("/v2/models/tiny", headers=headers["reader"]).status_code == 200
    assert server.post("/v2/repository/models/tiny/load", headers=headers["app"]).status_code == 403


def test_rate_and_quota_answer_429_with_when_to_come_back(served, keyed, x):
    headers, access = keyed(slow={"rate": 0.001, "burst": 5}, few={"quota": 7})
    server = served(**access)
    for name in headers:
        assert server.infer(x, headers=headers[name]).status_code == 200
        answer = server.infer(x, headers=headers[name])
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
    assert {reply.key for reply in server.recorder.replies} == {"slow", "few"}


def test_what_is_turned_away_for_load_costs_no_quota(served, keyed, x, monkeypatch):
    headers, access = keyed(app={"quota": 10})
    server = served(model={"batching": {"max_queue": 8}}, **access)
    (slot,) = server.fleet.slots.values()
    with monkeypatch.context() as patch:
        patch.setattr(slot.lines["primary"]._batcher, "_waiting", 6)  # others wait
        for _ in range(3):
            answer = server.infer(x, headers=headers["app"])
            assert answer.status_code == 429
            assert "may" in answer.json()["error"]
    for status in (200, 200, 429):
        assert server.infer(x, headers=headers["app"]).status_code == status


def test_a_key_revoked_while_the_server_runs(served, keyed, here, x):
    headers, access = keyed(app={})
    server = served(**access)
    keys = Keys.from_yaml(here.folder / "keys.yaml")
    keys.revoked("app").save(here.folder / "keys.yaml")
    assert server.fleet.gatekeeper.refresh() == ""
    assert server.infer(x, headers=headers["app"]).status_code == 401


def test_no_page_of_another_origin_may_read(plain):
    answer = plain.get("/v2", headers={"Origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_loading_on_request(served, keyed, here, x):
    headers, access = keyed(boss={"scopes": ["admin", "infer", "metadata"]})
    server = served(**access)
    here.put(here.two)
    assert server.post("/v2/repository/models/tiny/load", headers=headers["boss"]).status_code == 200
    assert server.infer(x, headers=headers["boss"]).json()["model_version"] == "2"
    (here.one / "card.md").write_text("x")
    answer = server.post("/v2/repository/models/tiny/load", headers=headers["boss"])
    assert answer.status_code == 409
    assert "was altered" in answer.json()["error"]
    assert server.infer(x, headers=headers["boss"]).json()["model_version"] == "2"


def test_queries_that_look_like_a_search(served, here):
    noise = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 0.02
    settings = {"queries": {"window": 100, "limit": 20, "then": "refuse"}}
    server = served(model=settings)
    answers = [server.infer(one[None] + 0.5) for one in noise]
    codes = [one.status_code for one in answers]
    assert codes[:19] == [200] * 19
    assert set(codes[21:]) == {429}
    # What is refused is counted, too: the alert on query patterns goes by it.
    assert server.fleet.live.models["tiny"].suspicious >= codes.count(429) > 30
    said = served(model={"queries": {**settings["queries"], "then": "say"}})
    assert said.infer(noise + 0.5).json()["parameters"]["queries"] == "suspicious"


def test_a_reload_to_inputs_of_another_shape_is_watched_too(served, here):
    """The projection of the watch was the first version's for ever, and every request after the reload 500."""
    server = served(model={"queries": {"window": 100, "limit": 20, "then": "refuse"}})
    assert server.infer(torch.rand(1, 1, 4, 4)).status_code == 200
    here.put(here.made("wide"))
    server.fleet.slot("tiny").load("primary")
    noise = torch.rand(40, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 0.02
    codes = [server.infer(one[None] + 0.5).status_code for one in noise]
    assert codes[:19] == [200] * 19
    assert set(codes[21:]) == {429}


# Several models, canaries, shadows


def test_several_models_each_answer_for_themselves(served, here, x):
    more = [{"name": "other", "bundle": str(here.two), "evidence": here.evidence, "output": {"scores": "logits"}}]
    server = served(more=more)
    found = torch.tensor(server.infer(x, model="other").json()["outputs"][0]["data"]).view(5, 3)
    torch.testing.assert_close(found, load_bundle(here.two)(x))
    assert server.infer(x).json()["model_name"] == "tiny"
    with pytest.raises(ConfigError, match="two models"):
        here.config(more=[{"name": "tiny", "bundle": str(here.two)}])


def test_a_canary_gets_its_share_and_says_who_it_is(served, here, x):
    server = served(model={"canary": {"bundle": str(here.two), "share": 0.25}})
    versions = [server.infer(x[:1]).json()["model_version"] for _ in range(20)]
    assert versions.count("2") == 5
    assert server.get("/v2/models/tiny").json()["versions"] == ["1", "2"]
    assert server.infer(x, version="2").json()["model_version"] == "2"
    assert {batch.route for batch in server.recorder.batches} == {"primary", "canary"}


def test_a_canary_that_is_not_proven_gets_nothing(here, fleets, served, x):
    (here.two / "card.md").write_text("x")
    server = served(model={"canary": {"bundle": str(here.two), "share": 0.9}}, fail="open-port")
    assert {server.infer(x).json()["model_version"] for _ in range(5)} == {"1"}
    assert server.get("/v2/health/ready").status_code == 200


def test_a_shadow_hears_everything_and_answers_nobody(served, here, x):
    heard = threading.Event()
    server = served(model={"shadow": {"bundle": str(here.two)}})
    real = server.recorder.batch
    server.recorder.batch = lambda batch: (real(batch), heard.set() if batch.route == "shadow" else None)
    assert server.infer(x).json()["model_version"] == "1"
    assert heard.wait(30)
    (shadow,) = (batch for batch in server.recorder.batches if batch.route == "shadow")
    torch.testing.assert_close(torch.from_numpy(shadow.logits), load_bundle(here.two)(x))
    assert server.infer(x, version="2").status_code == 404


def test_a_shadow_that_fails_harms_nobody(served, here, x):
    server = served(model={"shadow": {"bundle": str(here.two)}})

    def broken(rows):
        raise RuntimeError("boom")

    server.fleet.slot("tiny").lines["shadow"].loaded.backend = broken
    assert [server.infer(x).status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("route", ["canary", "shadow"])
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"shape": (1, 6, 6)}, "takes [-1, 1, 6, 6] and the primary [-1, 1, 4, 4]"),
        ({"shape": (1, 4, 4), "classes": 4}, "4 classes"),
    ],
)
def test_what_clients_could_not_tell_apart_is_refused_beside_the_primary(served, here, x, route, asked, says):
    """Half the requests were 400 where the canary took another shape."""
    beside = {"bundle": str(here.made("odd", **asked)), **({"share": 0.5} if route == "canary" else {})}
    with pytest.raises(ModelError, match=re.escape(says)):
        served(model={route: beside})
    server = served(model={route: beside}, fail="open-port")
    assert [server.infer(x).status_code for _ in range(4)] == [200] * 4
    assert says in next(one.reason for one in server.recorder.changes if one.state == "refused")


def test_a_canary_with_the_primary_s_number_is_refused(served, here, x):
    """Requests for version 1 were answered by one model and the other in turn."""
    canary = {"bundle": str(here.made("twin", (1, 4, 4), version=1)), "share": 0.5}
    with pytest.raises(ModelError, match="version '1'"):
        served(model={"canary": canary})
    assert served(model={"canary": {**canary, "bundle": str(here.one)}}).infer(x, version="1").status_code == 200


def test_a_canary_steps_back_from_a_primary_that_it_does_not_go_with(served, here, x):
    server = served(model={"canary": {"bundle": str(here.two), "share": 0.5}, "shadow": {"bundle": str(here.two)}})
    slot, wide = server.fleet.slot("tiny"), here.made("wide")
    shutil.copytree(here.one, here.folder / "kept")
    for suffix in (".sig", ".claims.jsonl"):
        shutil.copy(here.folder / f"one{suffix}", here.folder / f"kept{suffix}")
    here.put(wide)
    slot.load("primary")
    assert [server.infer(torch.rand(1, 1, 6, 6)).status_code for _ in range(4)] == [200] * 4
    assert slot.versions == ["3"]
    assert [one.route for one in server.recorder.changes if one.state == "out"] == ["canary", "shadow"]
    here.put(here.folder / "kept")
    slot.load("primary")
    assert {server.infer(x).json()["model_version"] for _ in range(4)} == {"1", "2"}


def test_a_canary_that_was_refused_is_tried_beside_the_next_primary(served, here):
    server = served(model={"canary": {"bundle": str(here.made("wide")), "share": 0.5}}, fail="open-port")
    primary, canary = server.fleet._watches
    canary.look(False)
    assert server.fleet.slot("tiny").versions == ["1"]
    here.put(here.made("other", version=4, seed=4))
    primary.load()
    canary.look(False)
    assert server.fleet.slot("tiny").versions == ["4", "3"]


def test_a_load_on_request_replaces_all_or_nothing(served, keyed, here, x):
    """The primary was replaced before the canary turned out to be broken, and the answer was 409."""
    headers, access = keyed(boss={"scopes": ["admin", "infer", "metadata"]})
    server = served(model={"reload": "asked", "canary": {"bundle": str(here.two), "share": 0.5}}, **access)
    here.put(here.made("next", (1, 4, 4)))
    good = (here.two / "card.md").read_bytes()
    (here.two / "card.md").write_text("x")
    answer = server.post("/v2/repository/models/tiny/load", headers=headers["boss"])
    assert answer.status_code == 409
    assert {server.infer(x, headers=headers["boss"]).json()["model_version"] for _ in range(4)} == {"1", "2"}
    assert [(one.state, one.route) for one in server.recorder.changes[2:]] == [("refused", "canary")]
    (here.two / "card.md").write_bytes(good)
    assert server.post("/v2/repository/models/tiny/load", headers=headers["boss"]).status_code == 200
    assert {server.infer(x, headers=headers["boss"]).json()["model_version"] for _ in range(4)} == {"2", "3"}


@pytest.mark.parametrize("route", ["canary", "shadow"])
def test_what_stands_beside_does_its_own_preprocessing(served, here, route):
    """A shadow was fed what the primary's preprocessing had made of the query, and its figures were false."""
    raw = (torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).round()
    kinds = {"one": Preprocess(size=(4, 4)), "two": Preprocess(size=(4, 4), interpolation="nearest")}
    for name, preprocess in kinds.items():
        save_bundle(load_bundle(here.folder / name), here.folder / f"raw {name}", preprocess=preprocess)
        here.yard.prove(here.folder / f"raw {name}", 1 + (name == "two"))
    beside = {"bundle": str(here.folder / "raw two"), **({"share": 0.99} if route == "canary" else {})}
    server = served(model={"bundle": str(here.folder / "raw one"), route: beside})
    heard = threading.Event()
    real = server.recorder.batch
    server.recorder.batch = lambda batch: (real(batch), heard.set() if batch.route == route else None)
    for _ in range(2):
        assert server.infer(raw).status_code == 200
    assert heard.wait(30)
    found = next(batch for batch in server.recorder.batches if batch.route == route)
    np.testing.assert_allclose(found.x, kinds["two"].apply(raw, (0.0, 1.0)), rtol=1e-6)
    assert np.abs(found.x - kinds["one"].apply(raw, (0.0, 1.0)).numpy()).max() > 0.01


# What observers hear


def test_observers_hear_of_batches_and_replies(served, here, x):
    server = served()
    answer = server.infer(x, id="mine")
    server.infer(torch.zeros(1, 3))
    server.fleet.close()
    (batch,) = server.recorder.batches
    np.testing.assert_array_equal(batch.x, x.numpy())
    torch.testing.assert_close(torch.from_numpy(batch.logits), here.model(x))
    assert list(batch.decisions) == ["answered"] * 5
    assert [(share.id, share.key, share.start, share.stop) for share in batch.shares] == [("mine", "anyone", 0, 5)]
    assert batch.seconds > 0
    assert batch.digest == server.recorder.changes[0].digest
    good, bad = server.recorder.replies
    assert (good.status, good.samples, good.id, good.version) == (200, 5, "mine", "1")
    assert (bad.status, bad.samples) == (400, 0)
    assert answer.status_code == 200


def test_an_observer_that_fails_harms_no_answer(served, x, caplog):
    server = served()

    def broken(news):
        raise RuntimeError("boom")

    server.recorder.batch = server.recorder.reply = broken
    assert [server.infer(x).status_code for _ in range(3)] == [200] * 3
    assert "boom" in caplog.text


def test_a_backend_that_fails_is_500_and_the_next_request_is_answered(served, x):
    server = served()
    loaded = server.fleet.slot("tiny").pick().loaded
    real = loaded.backend

    def broken(rows):
        raise RuntimeError("secret detail")

    loaded.backend = broken
    answer = server.infer(x)
    assert answer.status_code == 500
    assert "secret" not in answer.text
    loaded.backend = real
    assert server.infer(x).status_code == 200


# Back ends and defences


def test_onnx_runtime_gives_what_torch_gives(served, here, x):
    pytest.importorskip("onnxruntime")
    server = served(model={"backend": "onnxruntime", "output": {"scores": "logits"}})
    found = torch.tensor(server.infer(x).json()["outputs"][0]["data"]).view(5, 3)
    torch.testing.assert_close(found, here.model(x), rtol=1e-4, atol=1e-5)
    assert server.get("/v2/models/tiny").json()["platform"] == "martensite_onnxruntime"


@pytest.fixture
def guarded(here, yard):
    """A bundle whose detector flags what the model is less sure of than of its calibration data, and some of those."""

    def make(name="guarded", **given):
        many = torch.rand(3000, 1, 4, 4, generator=torch.Generator().manual_seed(0))
        low = many[here.model(many).logsumexp(1).argsort(descending=True)[:300]]
        labels = here.model(low).argmax(1)
        labels[:3] = torch.arange(3)
        data = Dataset(low, labels, 3, name="low")
        place = here.folder / name
        save_bundle(defend(here.model, Defence(detectors=(Energy(),), false_alarms=0.05, **given), data), place)
        yard.prove(place)
        return place, low

    return make


def flags(model, x):
    flagged = model.respond(x).flagged
    assert 0 < int(flagged.sum()) < len(x)
    return flagged


def test_detection_is_part_of_the_answer(served, here, guarded, x):
    place, low = guarded()
    model = load_bundle(place)
    inputs = torch.cat([x, low[:20]])
    expected = model.respond(inputs)
    assert 0 < int(expected.flagged.sum()) < len(inputs)
    server = served(model={"bundle": str(place), "output": {"scores": "logits"}})
    answer = server.infer(inputs).json()
    found = {one["name"]: one["data"] for one in answer["outputs"]}
    assert found["decision"] == ["flagged" if one else "answered" for one in expected.flagged]
    np.testing.assert_allclose(found["p_value"], expected.p_value)
    np.testing.assert_allclose(found["score"], expected.scores["energy"], rtol=1e-5)
    torch.testing.assert_close(torch.tensor(found["logits"]).view(-1, 3), expected.logits)
    assert answer["parameters"]["decision"] == "flagged"
    assert answer["parameters"]["p_value"] == pytest.approx(float(expected.p_value.min()))
    hidden = served(model={"bundle": str(place), "output": {"detection": False}}).infer(inputs).json()
    assert "p_value" not in hidden["parameters"]
    assert [one["name"] for one in hidden["outputs"]] == ["probabilities", "label", "decision"]


def test_what_is_flagged_may_be_refused(served, guarded, x):
    place, low = guarded()
    inputs = torch.cat([x, low[:20]])
    flagged = flags(load_bundle(place), inputs)
    server = served(model={"bundle": str(place), "flagged": "refuse"})
    found = {one["name"]: one["data"] for one in server.infer(inputs).json()["outputs"]}
    assert [word == "refused" for word in found["decision"]] == flagged.tolist()
    assert [label == -1 for label in found["label"]] == flagged.tolist()
    assert not torch.tensor(found["probabilities"]).view(-1, 3)[flagged].any()


def test_what_is_flagged_may_be_answered_by_a_second_model(served, here, guarded, x):
    place, low = guarded()
    inputs = torch.cat([x, low[:20]])
    flagged = flags(load_bundle(place), inputs)
    second = [{"name": "second", "bundle": str(here.two), "evidence": here.evidence}]
    server = served(
        model={"bundle": str(place), "flagged": "route", "second": "second", "output": {"scores": "logits"}}, more=second
    )
    found = {one["name"]: one["data"] for one in server.infer(inputs).json()["outputs"]}
    assert [word == "routed" for word in found["decision"]] == flagged.tolist()
    first, other = load_bundle(place)(inputs), load_bundle(here.two)(inputs)
    torch.testing.assert_close(torch.tensor(found["logits"]).view(-1, 3), torch.where(flagged[:, None], other, first))
    server.fleet.slot("second").lines["primary"].out = "its evidence ended"
    found = {one["name"]: one["data"] for one in server.infer(inputs).json()["outputs"]}
    assert [word == "refused" for word in found["decision"]] == flagged.tolist()
    # A model of another box would answer numbers that it was never meant for.
    server.fleet.slot("second").lines["primary"].out = ""
    loaded = server.fleet.slot("second").lines["primary"].loaded
    for change in ({"box": (0.0, 255.0)}, {"class_names": ("c", "a", "b")}):
        first = server.fleet.slot("tiny").lines["primary"].loaded
        first.manifest = first.manifest.model_copy(update={"class_names": ("a", "b", "c")})
        loaded.manifest = loaded.manifest.model_copy(update=change)
        found = {one["name"]: one["data"] for one in server.infer(inputs).json()["outputs"]}
        assert [word == "refused" for word in found["decision"]] == flagged.tolist()
        loaded.manifest = first.manifest
    for wrong in ({"flagged": "route"}, {"second": "second"}, {"flagged": "route", "second": "tiny"}):
        with pytest.raises(ConfigError):
            here.config(model=wrong, more=second)


def test_the_second_model_does_its_own_preprocessing(served, here, guarded, yard):
    place, low = guarded()
    noise = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    raw = (
        torch.cat([low[:20], torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(2))])
        .repeat_interleave(2, 2)
        .repeat_interleave(2, 3)
        * 235
        + 20 * noise
    ).round()
    kinds = [Preprocess(size=(4, 4)), Preprocess(size=(4, 4), interpolation="nearest")]
    models = [load_bundle(place), load_bundle(here.two)]
    for name, model, preprocess in zip(("raw first", "raw second"), models, kinds, strict=True):
        save_bundle(model, here.folder / name, preprocess=preprocess)
        yard.prove(here.folder / name)
    second = [{"name": "second", "bundle": str(here.folder / "raw second"), "evidence": here.evidence}]
    output = {"scores": "logits"}
    first = {"bundle": str(here.folder / "raw first"), "flagged": "route", "second": "second", "output": output}
    found = {one["name"]: one["data"] for one in served(model=first, more=second).infer(raw).json()["outputs"]}
    mine, own = (preprocess.apply(raw, (0.0, 1.0)) for preprocess in kinds)
    flagged = flags(models[0], mine)
    assert [word == "routed" for word in found["decision"]] == flagged.tolist()
    expected = torch.where(flagged[:, None], models[1](own), models[0](mine))
    torch.testing.assert_close(torch.tensor(found["logits"]).view(-1, 3), expected)


def test_too_many_samples_are_413_before_the_key_pays_for_them(served, here, x, monkeypatch):
    server = served(model={"batching": {"max_queue": 8, "max_batch": 4}, "queries": {}})
    seen = []
    monkeypatch.setattr(server.fleet.gatekeeper.limits, "take", lambda key, n: seen.append(n))
    assert server.infer(x[:1].expand(9, -1, -1, -1)).status_code == 413
    assert server.infer(x[:1].expand(8, -1, -1, -1)).status_code == 200
    assert seen == [8]


def test_rules_of_the_defence_are_rules_of_the_server(served, here, guarded, x):
    place, _ = guarded("ruled", rules=InputRules(shape=(1, 4, 4), rows=2))
    server = served(model={"bundle": str(place)})
    assert server.infer(x[:2]).status_code == 200
    answer = server.infer(x[:3])
    assert answer.status_code == 400
    assert "1 to 2" in answer.json()["error"]


def test_the_second_model_keeps_its_own_rules(served, here, guarded, x):
    """What the first takes and the second's own rules refuse is refused; the other rows are routed."""
    place, low = guarded()
    inputs = torch.cat([x, low[:20]])
    flagged = flags(load_bundle(place), inputs)
    save_bundle(Defended(here.model, Defence(rules=RISING)), here.folder / "strict")
    here.yard.prove(here.folder / "strict")
    kept = inputs.flatten(1)[:, 0] <= inputs.flatten(1)[:, 1]
    assert 0 < int((flagged & kept).sum()) < int(flagged.sum())
    second = [{"name": "second", "bundle": str(here.folder / "strict"), "evidence": here.evidence}]
    server = served(model={"bundle": str(place), "flagged": "route", "second": "second"}, more=second)
    found = {one["name"]: one["data"] for one in server.infer(inputs).json()["outputs"]}
    expected = ["answered" if not rang else "routed" if fit else "refused" for rang, fit in zip(flagged, kept, strict=True)]
    assert found["decision"] == expected


# The page


def test_the_page_needs_no_script_and_names_every_path(plain):
    server = plain
    page = server.get("/docs")
    document = server.get("/openapi.json").json()
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in document["paths"]:
        assert path in page.text
    assert "InferRequest" in document["components"]["schemas"]
