"""Labels that come later."""

import time

import numpy as np
import pytest
import torch

from martensite.core.errors import DataError
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.monitoring.labels import Accuracy, Answers


def wait_for(holds, what):
    """What another thread does in a moment."""
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.01)


class TestAnswers:
    def test_a_label_counts_once(self):
        answers = Answers(100)
        answers.note("a", "bob", "d", [1, 2])
        assert answers.take("a", "bob", 2).labels == [1, 2]
        with pytest.raises(DataError, match="no requests"):
            answers.take("a", "bob", 2)

    def test_an_id_that_is_used_again_is_the_latest_answer_s(self):
        answers = Answers(3)
        answers.note("a", "bob", "d", [1, 2])
        answers.note("a", "bob", "d", [3])
        with pytest.raises(DataError, match="2 labels for 1 samples"):
            answers.take("a", "bob", 2)
        answers.note("b", "bob", "d", [0, 0])
        assert answers.take("a", "bob", 1).labels == [3]

    def test_one_client_s_label_never_meets_another_s_answer(self):
        answers = Answers(100)
        answers.note("a", "bob", "d", [1])
        answers.note("a", "eve", "d", [2])
        with pytest.raises(DataError, match="2 requests"):
            answers.take("a", None, 1)
        assert answers.take("a", "eve", 1).labels == [2]
        assert answers.take("a", None, 1).labels == [1]

    def test_the_oldest_are_forgotten(self):
        answers = Answers(10)
        for one in range(30):
            answers.note(str(one), "bob", "d", [one])
        with pytest.raises(DataError):
            answers.take("19", "bob", 1)
        assert answers.take("20", "bob", 1).labels == [20]


class TestAccuracy:
    def test_of_the_latest(self):
        accuracy = Accuracy()
        assert accuracy.latest is None
        accuracy.add(np.zeros(500, dtype=bool))
        accuracy.add(np.ones(900, dtype=bool))
        value, low, high = accuracy.latest
        assert (accuracy.n, accuracy.right, value) == (1400, 900, 0.9)
        assert low < 0.9 < high


class TestFeedback:
    def post(self, server, **document):
        return server.post("/v2/models/tiny/feedback", json=document)

    def test_right_and_wrong(self, served):
        server = served()
        answer = server.infer(torch.rand(4, 1, 4, 4), id="r1").json()
        predicted = next(one for one in answer["outputs"] if one["datatype"] == "INT64")["data"]
        labels = [(predicted[0] + 1) % 3, *predicted[1:]]
        assert self.post(server, id="r1", labels=labels).json() == {"labelled": 4, "right": 3, "unanswered": 0}
        drift = server.fleet.live.snapshot().models[0].versions[0].drift
        assert (drift.labelled, drift.accuracy) == (4, 0.75)
        assert self.post(server, id="r1", labels=labels).status_code == 400

    @pytest.mark.parametrize(
        "document",
        [{}, {"id": "r1", "labels": []}, {"id": "r1", "labels": [7]}, {"id": "r1", "labels": [-1]}, {"id": "zz", "labels": [0]},
         {"id": "r1", "labels": ["a"]}, {"id": "r1", "labels": [0], "more": 1}, {"id": "r1", "labels": [0, 0]}],
    )  # fmt: skip
    def test_what_is_refused(self, served, document):
        server = served()
        server.infer(torch.zeros(1, 1, 4, 4), id="r1")
        assert self.post(server, **document).status_code == 400

    def test_a_body_that_is_no_json(self, served):
        assert served().post("/v2/models/tiny/feedback", content=b"\xff{").status_code == 400
        assert served().post("/v2/models/none/feedback", json={"id": "a", "labels": [0]}).status_code == 404

    def test_who_asks_labels_nobody_elses_answers(self, served, here):
        """A rival that may ask and label can't have another client's right answers counted wrong; a labeller may say whose."""
        tokens, keys = {}, Keys()
        for name, scopes in {"app": ("infer",), "rival": ("infer", "feedback"), "people": ("feedback",)}.items():
            tokens[name], digest = new_secret(name)
            keys = keys.with_key(ApiKey(name=name, hashes=(digest,), scopes=scopes))
        keys.save(here.folder / "keys.yaml")
        server = served(access={"keys": str(here.folder / "keys.yaml")})

        def bearing(name):
            return {"Authorization": f"Bearer {tokens[name]}"}

        def label(name, **document):
            return server.post("/v2/models/tiny/feedback", json={"id": id, "labels": [0], **document}, headers=bearing(name))

        id = server.infer(torch.zeros(1, 1, 4, 4), headers=bearing("app")).json()["id"]
        assert label("rival").status_code == 400
        refused = label("rival", client="app")
        assert refused.status_code == 403
        assert "its own answers" in refused.json()["error"]
        assert label("people", client="app").status_code == 200

    def test_ids_that_the_server_makes_are_not_guessed_from_one_another(self, served):
        server = served()
        ids = [server.infer(torch.zeros(1, 1, 4, 4)).json()["id"] for _ in range(3)]
        assert len({one[:8] for one in ids}) == 3


class TestWithheldAndRouted:
    """What labels say is held against what the client got, and against nothing else."""

    @pytest.fixture
    def flagging(self, battle, guard, served):
        """Makes a server of the bundle with detectors, and flagged inputs with some that aren't."""

        def make(**changes):
            return served(model={**guard, **changes.pop("model", {})}, **changes)

        return make, torch.cat([battle.clean[:30], battle.adversarial[:30]])

    @staticmethod
    def ask(server, x, id="q"):
        return {one["name"]: one["data"] for one in server.infer(x, model="guard", id=id).json()["outputs"]}

    @staticmethod
    def label(server, labels, id="q"):
        return server.post("/v2/models/guard/feedback", json={"id": id, "labels": labels}).json()

    def test_labels_are_no_way_to_ask_for_what_was_withheld(self, flagging):
        make, x = flagging
        server = make(model={"flagged": "refuse"})
        found = self.ask(server, x)
        refused = found["label"].count(-1)
        assert 0 < refused < len(x)
        row = found["label"].index(-1)
        for guess in range(10):
            assert self.ask(server, x[row : row + 1], f"g{guess}")["label"] == [-1]
            assert self.label(server, [guess], f"g{guess}") == {"labelled": 0, "right": 0, "unanswered": 1}
        said = self.label(server, [max(one, 0) for one in found["label"]])
        assert said == {"labelled": len(x) - refused, "right": len(x) - refused, "unanswered": refused}
        drift = server.fleet.live.snapshot().models[0].versions[0].drift
        assert (drift.labelled, drift.accuracy) == (len(x) - refused, 1.0)

    def test_what_a_second_model_answered_is_its_own(self, flagging, here):
        make, x = flagging
        model = here.made("careful", (1, 8, 8), 10, seed=5)
        second = {"name": "second", "bundle": str(model), "evidence": here.evidence}
        server = make(model={"flagged": "route", "second": "second"}, more=[second])
        found = self.ask(server, x)
        routed = found["decision"].count("routed")
        assert 0 < routed < len(x)
        live = server.fleet.live
        first = live.models["guard"].versions["primary"]
        wait_for(lambda: sum(first.decisions.values()) == len(x), "the batch")
        assert first.decisions == {"answered": len(x) - routed, "routed": routed}
        said = self.label(server, found["label"])
        assert said == {"labelled": len(x), "right": len(x), "unanswered": 0}
        other = live.models["second"].versions["primary"]
        assert (first.accuracy.n, first.accuracy.right) == (len(x) - routed, len(x) - routed)
        assert (other.accuracy.n, other.accuracy.right) == (routed, routed)
        text = server.get("/metrics").text
        (line,) = [one for one in text.splitlines() if one.startswith("martensite_decisions_total{") and '"routed"' in one]
        assert float(line.split()[-1]) == routed

    def test_what_the_second_model_can_not_answer_is_refused_and_counted_so(self, flagging, here):
        make, x = flagging
        second = {"name": "second", "bundle": str(here.two), "evidence": here.evidence}  # of another shape
        server = make(model={"flagged": "route", "second": "second"}, more=[second])
        refused = self.ask(server, x)["decision"].count("refused")
        first = server.fleet.live.models["guard"].versions["primary"]
        wait_for(lambda: sum(first.decisions.values()) == len(x), "the batch")
        assert first.decisions["refused"] == refused > 0
        assert self.label(server, [0] * len(x))["unanswered"] == refused

    def test_a_second_model_that_routes_itself_counts_what_it_flags(self, battle, guard, served, here):
        ring = [{**guard, "name": "guard2", "flagged": "route", "second": "guard"}]
        server = served(model={**guard, "flagged": "route", "second": "guard2"}, more=ring)
        found = self.ask(server, battle.adversarial[:30])
        routed, other = found["decision"].count("routed"), server.fleet.live.models["guard2"].versions["primary"]
        wait_for(lambda: sum(other.decisions.values()) == routed, "the batch")
        assert other.decisions == {"flagged": routed}
