"""Labels that come later."""

import numpy as np
import pytest
import torch

from martensite.core.errors import DataError
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.monitoring.labels import Accuracy, Answers


class TestAnswers:
    def test_a_label_counts_once(self):
        answers = Answers(100)
        answers.note("a", "bob", "d", np.array([1, 2]))
        assert answers.take("a", "bob", 2).predictions == [1, 2]
        with pytest.raises(DataError, match="no requests"):
            answers.take("a", "bob", 2)

    def test_parts_of_a_large_request_are_joined(self):
        answers = Answers(100)
        answers.note("a", "bob", "d", np.array([1, 2]))
        answers.note("a", "bob", "d", np.array([3]))
        with pytest.raises(DataError, match="2 labels for 3 samples"):
            answers.take("a", "bob", 2)
        assert answers.take("a", "bob", 3).predictions == [1, 2, 3]

    def test_one_client_s_label_never_meets_another_s_answer(self):
        answers = Answers(100)
        answers.note("a", "bob", "d", np.array([1]))
        answers.note("a", "eve", "d", np.array([2]))
        with pytest.raises(DataError, match="2 requests"):
            answers.take("a", None, 1)
        assert answers.take("a", "eve", 1).predictions == [2]
        assert answers.take("a", None, 1).predictions == [1]

    def test_the_oldest_are_forgotten(self):
        answers = Answers(10)
        for one in range(30):
            answers.note(str(one), "bob", "d", np.array([one]))
        with pytest.raises(DataError):
            answers.take("19", "bob", 1)
        assert answers.take("20", "bob", 1).predictions == [20]


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
        assert self.post(server, id="r1", labels=labels).json() == {"labelled": 4, "right": 3}
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
