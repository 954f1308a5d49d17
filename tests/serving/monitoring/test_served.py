"""The whole way: a signed bundle with detectors and reference statistics, served, asked, attacked."""

import torch


def test_drift_is_watched_and_seen_where_people_look(battle, guard, served):
    server = served(model=guard, monitoring={"drift": {"window": 100, "budget": 1.0}})
    for part in torch.split(battle.clean[:300], 50):
        assert server.infer(part, model="guard").status_code == 200
    assert server.fleet.live.desk.settle()
    version = server.fleet.live.snapshot().models[0].versions[0]
    assert version.drift.watched
    assert version.drift.samples == 300
    assert [one.name for one in version.drift.tests if one.alarm] == []
    assert version.alarms.detects
    for part in torch.split(battle.adversarial[:300], 50):
        server.infer(part, model="guard")
    assert server.fleet.live.desk.settle()
    version = server.fleet.live.snapshot().models[0].versions[0]
    rang = {(one.name, one.about) for one in version.drift.tests if one.alarm}
    assert {("ks", "features"), ("sequential", "detectors")} <= rang
    assert version.flagged[0].picture.startswith("data:image/png;base64,")
    text = server.get("/metrics").text
    assert 'martensite_drift_alarm{about="detectors",model="guard",route="primary",test="sequential"} 1.0' in text
    assert 'martensite_detector_false_alarms{model="guard",route="primary"} 0.02' in text


def test_what_labels_say_counts_where_drift_is_watched(battle, guard, served):
    server = served(model=guard, monitoring={"drift": {"budget": 1.0}})
    server.infer(battle.clean[:100], model="guard", id="q")
    answer = server.post("/v2/models/guard/feedback", json={"id": "q", "labels": battle.labels[:100].tolist()})
    drift = server.fleet.live.snapshot().models[0].versions[0].drift
    assert drift.accuracy == answer.json()["right"] / 100
    assert drift.accuracy_low < drift.expected + 0.1


def test_a_reference_that_is_altered_is_not_served(battle, guard, here, served):
    import pytest

    from martensite.artifacts.reference import REFERENCE
    from martensite.core.errors import MartensiteError

    path = here.folder / "guard" / REFERENCE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(MartensiteError, match="altered"):
        served(model=guard)
