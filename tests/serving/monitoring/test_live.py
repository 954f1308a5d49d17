"""What the live figures say is what was done."""

import base64
import gc
import io
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from martensite.serving import Batch, Change, Reply, Share
from martensite.serving.monitoring.labels import Answers
from martensite.serving.monitoring.lately import Lately
from martensite.serving.monitoring.live import Live
from martensite.serving.monitoring.picture import picture
from martensite.serving.monitoring.settings import Monitoring
from martensite.serving.monitoring.snapshot import Snapshot
from martensite.serving.monitoring.tally import Tally


class Clock:
    def __init__(self, now=1_000_000.0):
        self.now = now

    def __call__(self):
        return self.now


def batch(digest="sha256:a", decisions=("answered", "flagged"), logits=((0.0, 2.0), (1.0, 0.0)), x=None, route="primary"):
    n = len(decisions)
    x = np.zeros((n, 1, 2, 2), np.float32) if x is None else x
    logits = np.asarray(logits, np.float32)
    p = np.full(n, 0.001)
    return Batch("m", "1", digest, route, x, logits, decisions, p, p, (Share("r1", "bob", 0, n, 0.01),), 0.02, 5, 0.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def live(served, clock):
    """Live figures of a model that is in memory."""
    fleet = served(model={"name": "m"}).fleet
    loaded = fleet.slots["m"].lines["primary"].loaded
    live = Live(Monitoring(), ["m"], {"m": 50}, clock)
    live.change(Change("m", "1", "sha256:a", "serving", loaded=loaded))
    return live


class TestLive:
    def test_a_batch_is_counted_row_by_row(self, live):
        logits = [[0.0, 2.0, 0.0], [1.0, 0.0, 0.0], [np.nan, 0.0, 0.0]]
        live.batch(batch(decisions=("answered", "flagged", "failed"), logits=logits))
        version = live.snapshot().models[0].versions[0]
        assert version.predictions == (1, 1, 0)
        assert version.alarms.decisions == {"answered": 1, "failed": 1, "flagged": 1}
        assert version.alarms.flagged == 1
        (caught,) = version.flagged
        assert (caught.id, caught.row, caught.key, caught.prediction) == ("r1", 1, "bob", 0)
        assert caught.confidence == pytest.approx(float(torch.tensor(logits[1]).softmax(0).max()))

    def test_rates_are_of_the_last_minute(self, live, clock):
        for _ in range(30):
            clock.now += 1
            live.reply(Reply("m", "1", 200, "", "", "", 2, 0.004))
        assert live.snapshot().models[0].traffic.requests_per_second == pytest.approx(1.0)
        clock.now += 30
        traffic = live.snapshot().models[0].traffic
        assert traffic.requests_per_second == pytest.approx(0.5)
        assert sum(traffic.history) == 30
        clock.now += 61
        traffic = live.snapshot().models[0].traffic
        assert (traffic.requests_per_second, traffic.samples, traffic.p50) == (0.0, 60, None)

    def test_figures_that_nobody_fetches_take_no_more_memory(self, live, clock):
        """Prometheus is down: hours of traffic, with errors, alarms and ids that never come twice, leave what minutes do."""
        live.settings = Monitoring(remembered=64, flagged=4)
        for model in live.models.values():
            model.answers = Answers(64)

        def hours(first, n):
            for turn in range(first, first + n):
                clock.now += 40
                live.batch(replace(batch(), shares=(Share(f"id {turn}", f"key {turn}", 0, 2, 0.01),)))
                live.reply(Reply("m", "1", (200, 429, 503)[turn % 3], "", f"key {turn}", f"id {turn}", 2, 0.01))
                live.reply(Reply(f"m {turn}", "", 404, "", "", "", 0, 0.0))

        tracemalloc.start()  # before anything is kept: what is replaced later has to be known to it
        hours(0, 800)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        hours(800, 600)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert grown < 12_000  # a number kept for each request would be 19,200 and more
        assert live.snapshot().traffic.requests["404"] == 1400

    def test_latencies_are_those_of_answers_alone(self, live):
        for _ in range(99):
            live.reply(Reply("m", "1", 200, "", "", "", 1, 0.004))
        live.reply(Reply("m", "1", 429, "busy", "", "", 0, 9.0))
        traffic = live.snapshot().traffic
        assert traffic.requests == {"200": 99, "429": 1}
        assert 0.0025 <= traffic.p50 <= traffic.p99 <= 0.005
        assert traffic.errors_per_second > 0

    def test_requests_to_unknown_models_are_counted_together(self, live):
        for name in ("x", "y", "z"):
            live.reply(Reply(name, "", 404, "", "", "", 0, 0.0))
        shown = live.snapshot()
        assert [one.name for one in shown.models] == ["m"]
        assert shown.traffic.requests == {"404": 3}

    def test_suspicious_are_replies_from_the_limit_on(self, live):
        for near in (0, 49, 50, 80):
            live.reply(Reply("m", "1", 200, "", "", "", 1, 0.0, near))
        assert live.snapshot().models[0].versions[0].alarms.suspicious == 2

    def test_a_batch_of_a_replaced_version_is_passed_over(self, live):
        live.batch(batch(digest="sha256:b"))
        assert sum(live.snapshot().models[0].versions[0].predictions) == 0

    def test_out_and_back_in_keeps_the_figures_and_a_new_version_begins_anew(self, live):
        loaded = live.models["m"].versions["primary"].loaded
        live.batch(batch(decisions=("answered",), logits=[[0.0, 1.0, 0.0]]))
        live.change(Change("m", "1", "sha256:a", "out", "it expired", loaded=loaded))
        model = live.snapshot().models[0]
        assert (model.ready, model.reason) == (False, "it expired")
        live.change(Change("m", "1", "sha256:a", "serving", loaded=loaded))
        model = live.snapshot().models[0]
        assert model.ready
        assert model.versions[0].predictions == (0, 1, 0)
        live.change(Change("m", "2", "sha256:b", "serving"))
        assert live.snapshot().models[0].versions[0].predictions == ()

    def test_a_refused_version_beside_one_that_serves_is_no_trouble(self, live):
        live.change(Change("m", "", "", "refused", "bad signature"))
        assert live.snapshot().models[0].ready
        assert "bad signature" in live.snapshot().models[0].standing.reasons[1].text
        live.change(Change("m", "2", "sha256:b", "serving"))
        assert "bad signature" not in live.snapshot().model_dump_json()
        other = Live(Monitoring(), ["m"])
        other.change(Change("m", "", "", "refused", "bad signature"))
        assert other.snapshot().models[0].reason == "bad signature"

    def test_only_so_many_flagged_are_remembered_and_no_inputs_if_not_asked(self, live):
        live.settings = Monitoring(pictures=False)
        for _ in range(30):
            live.batch(batch(decisions=("flagged",), logits=[[0.0, 1.0, 0.0]]))
        flagged = live.snapshot().models[0].versions[0].flagged
        assert len(flagged) == 24
        assert {one.picture for one in flagged} == {""}

    def test_a_snapshot_survives_json(self, live):
        live.batch(batch(decisions=("flagged",), logits=[[0.0, 1.0, 0.0]]))
        shown = live.snapshot()
        assert Snapshot.model_validate_json(shown.model_dump_json()) == shown

    def test_the_server_feeds_it(self, served):
        server = served()
        assert server.infer(torch.zeros(3, 1, 4, 4)).status_code == 200
        assert server.infer(torch.full((1, 1, 4, 4), 7.0)).status_code == 400
        shown = server.fleet.live.snapshot()
        model = shown.models[0]
        assert model.traffic.requests == {"200": 1, "400": 1}
        assert sum(model.versions[0].predictions) == model.traffic.samples == 3
        evidence = model.versions[0].evidence
        assert (evidence.verdict, evidence.policy.endswith("policy.yaml")) == ("PASS", True)
        assert evidence.oldest <= evidence.judged <= shown.time


class TestTally:
    def test_counts_as_numpy_does(self):
        values = np.random.default_rng(0).exponential(size=1000)
        tally = Tally((0.5, 1.0, 2.0))
        tally.add(np.append(values, [np.nan, np.inf]))
        assert tally.counts.tolist() == np.histogram(values, [0, 0.5, 1, 2, np.inf])[0].tolist()
        assert tally.sum == pytest.approx(values.sum())

    def test_a_quantile_lies_in_the_bucket_of_the_true_one(self):
        values = np.random.default_rng(1).uniform(size=1000)
        bounds = tuple(np.linspace(0.1, 1, 10))
        tally = Tally(bounds)
        tally.add(values)
        for q in (0.01, 0.5, 0.99):
            assert abs(tally.quantile(q) - np.quantile(values, q)) <= 0.1
        assert Tally(bounds).quantile(0.5) is None

    def test_a_value_on_a_bound_lies_below_it(self):
        tally = Tally((1.0, 2.0))
        tally.add_one(1.0)
        assert tally.counts.tolist() == [1, 0, 0]


class TestLately:
    def test_seconds_fall_out_after_a_minute(self):
        lately = Lately(1, 100.0)
        lately.add(100.2, 1)
        lately.add(130.7, 2)
        assert lately.seconds(130.9)[:, 0].tolist() == [0.0] * 29 + [1.0] + [0.0] * 29 + [2.0]
        assert lately.sums(159.9) == [3.0]
        assert lately.sums(160.0) == [2.0]
        assert lately.sums(1e6) == [0.0]

    def test_a_clock_set_back_loses_nothing(self):
        lately = Lately(1, 100.0)
        lately.add(110.0, 1)
        lately.add(90.0, 1)
        assert lately.sums(110.0) == [2.0]


class TestPicture:
    def test_it_shows_the_levels(self):
        x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 4)
        found = Image.open(io.BytesIO(base64.b64decode(picture(x, (-1.0, 1.0)).partition(",")[2])))
        assert np.asarray(found).tolist() == np.rint((x[0] + 1) / 2 * 255).tolist()

    @pytest.mark.parametrize("shape", [(4,), (2, 3, 3), (1, 1, 5)])
    def test_what_is_no_picture(self, shape):
        assert picture(np.zeros(shape, np.float32), (0.0, 1.0)) == ""


class TestHour:
    def test_it_is_minute_by_minute_and_older_minutes_fall_out(self, live, clock):
        clock.now = 1_000_020.0  # the beginning of a minute
        for minute in range(70):
            for _ in range(3):
                live.reply(Reply("m", "1", 200, "", "", "", 1, 0.004 if minute < 69 else 0.4))
            live.reply(Reply("m", "1", 429, "busy", "", "", 0, 0.0))
            clock.now += 60 if minute < 69 else 0
        traffic = live.snapshot().models[0].traffic
        assert traffic.hour == (4,) * 60
        assert traffic.errors_hour == (1,) * 60
        assert len(traffic.p99_hour) == 60
        assert all(0.0025 <= one <= 0.005 for one in traffic.p99_hour[:-1])
        assert 0.25 <= traffic.p99_hour[-1] <= 0.5
        clock.now += 120
        traffic = live.snapshot().models[0].traffic
        assert traffic.hour[-2:] == (0, 0)
        assert traffic.p99_hour[-3] > 0.25
        assert traffic.p99_hour[-2:] == (None, None)

    def test_flags_and_errors_are_in_their_seconds(self, live, clock):
        live.batch(batch())
        live.reply(Reply("m", "1", 429, "busy", "", "", 0, 0.0))
        clock.now += 5
        model = live.snapshot().models[0]
        assert (model.versions[0].alarms.flagged_hour[-1], sum(model.versions[0].alarms.flagged_hour)) == (1, 1)
        assert model.traffic.errors_history[-6:] == (1, 0, 0, 0, 0, 0)


def test_a_picture_is_drawn_once_and_while_nobody_waits(live, monkeypatch):
    from martensite.serving.monitoring import figures

    locked = []

    def draw(x, box):
        locked.append(live.lock.locked())
        return "data:,"

    monkeypatch.setattr(figures, "picture", draw)
    live.batch(batch(decisions=("flagged", "flagged")))
    for _ in range(3):
        assert [one.picture for one in live.snapshot().models[0].versions[0].flagged] == ["data:,"] * 2
    assert locked == [False, False]
