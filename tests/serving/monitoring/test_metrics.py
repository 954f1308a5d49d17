"""What Prometheus reads is what the server did."""

import urllib.request

import numpy as np
import prometheus_client
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families

from martensite.core.errors import ConfigError
from martensite.serving.monitoring.catalogue import BY_NAME, FAMILIES
from martensite.serving.monitoring.live import Live
from martensite.serving.monitoring.port import MetricsPort
from martensite.serving.monitoring.settings import Metrics, Monitoring


def parse(text):
    return {sample.name: [] for family in text_string_to_metric_families(text) for sample in family.samples} | {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read(server):
    response = server.get("/metrics")
    assert response.status_code == 200
    return parse(response.text)


class TestMetrics:
    def test_every_family_is_there_and_no_other(self, served):
        server = served()
        server.infer(torch.zeros(2, 1, 4, 4))
        families = {one.name: one for one in text_string_to_metric_families(server.get("/metrics").text)}
        assert set(families) == set(BY_NAME)
        for name, family in families.items():
            assert (family.type, family.documentation) == (BY_NAME[name].kind, BY_NAME[name].help)
            for sample in family.samples:
                assert set(sample.labels) - {"le"} == set(BY_NAME[name].labels)

    def test_counts(self, served):
        server = served()
        answers = server.infer(torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))).json()
        server.infer(torch.zeros(1, 2, 2))
        server.get("/v2/models/other/infer")
        found = read(server)
        tiny, place = ("model", "tiny"), (("model", "tiny"), ("route", "primary"))
        assert found["martensite_requests_total", tiny, ("status", "200")] == 1
        assert found["martensite_requests_total", tiny, ("status", "400")] == 1
        assert found["martensite_samples_total", tiny] == 5
        assert found["martensite_request_seconds_count", tiny] == 1
        assert found["martensite_batch_size_sum", *place] == 5
        assert found["martensite_confidence_count", *place] == 5
        classes = [found["martensite_predictions_total", ("class", str(one)), *place] for one in range(3)]
        assert sum(classes) == 5
        predicted = next(one for one in answers["outputs"] if one["datatype"] == "INT64")["data"]
        assert classes == np.bincount(predicted, minlength=3).tolist()

    def test_evidence(self, served):
        server = served()
        found = read(server)
        place = (("model", "tiny"), ("route", "primary"))
        digest = server.fleet.slots["tiny"].lines["primary"].loaded.digest
        assert found["martensite_model", ("digest", digest), *place, ("version", "1")] == 1
        assert found["martensite_verdict", *place, ("verdict", "PASS")] == 1
        assert found["martensite_verdict", *place, ("verdict", "FAIL")] == 0
        assert found["martensite_ready", ("model", "tiny")] == 1
        assert 0 <= found["martensite_evidence_age_seconds", ("claim", "release"), *place] < 3600

    def test_labels_stay_few_whatever_clients_send(self, served):
        server = served()
        for one in range(30):
            server.infer(torch.zeros(1, 1, 4, 4), model=f"guess{one}", headers={"x-model": f"{one}"})
            server.infer(torch.zeros(1, 1, 4, 4), id=f"id{one}")
        lines = [one for one in server.get("/metrics").text.splitlines() if not one.startswith("#")]
        assert not [one for one in lines if "guess" in one or "id1" in one]
        assert len(lines) < 200

    def test_many_classes_are_counted_together(self, served):
        server = served(monitoring={"classes": 1})
        server.infer(torch.rand(6, 1, 4, 4))
        found = read(server)
        place = (("model", "tiny"), ("route", "primary"))
        names = [one for one in found if one[0] == "martensite_predictions_total"]
        assert len(names) == 2
        assert sum(found["martensite_predictions_total", ("class", one), *place] for one in ("0", "others")) == 6

    @pytest.mark.parametrize("names", [("cat", "dog", "cat"), ("cat", "dog", "others")])
    def test_names_that_would_collide_are_numbers_instead(self, served, names):
        server = served()
        loaded = server.fleet.live.models["tiny"].versions["primary"].loaded
        loaded.manifest = loaded.manifest.model_copy(update={"class_names": names})
        server.infer(torch.rand(6, 1, 4, 4))
        classes = {dict(one[1:])["class"] for one in read(server) if one[0] == "martensite_predictions_total"}
        assert classes == {"0", "1", "2"}

    def test_nothing_is_registered_globally(self, served):
        served().get("/metrics")
        assert not [one for one in prometheus_client.REGISTRY._names_to_collectors if one.startswith("martensite")]

    def test_keys_are_asked_for(self, served, here):
        from martensite.serving.access import ApiKey, Keys, new_secret

        token, digest = new_secret("bob")
        other, second = new_secret("eve")
        keys = here.folder / "keys.yaml"
        Keys(keys=(ApiKey(name="bob", hashes=(digest,), scopes=("monitor",)), ApiKey(name="eve", hashes=(second,)))).save(keys)
        server = served(access={"keys": str(keys)})
        assert server.get("/metrics").status_code == 401
        assert server.get("/metrics", headers={"Authorization": f"Bearer {other}"}).status_code == 403
        assert server.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200


class TestPort:
    def test_the_metrics_answer_there(self):
        live = Live(Monitoring(), ["m"])
        port = MetricsPort(Metrics(port=0), live)
        try:
            host, number = port.address
            assert host == "127.0.0.1"
            with urllib.request.urlopen(f"http://{host}:{number}/metrics", timeout=10) as response:
                found = parse(response.read().decode())
            assert found["martensite_start_time_seconds",] == live.started
            with pytest.raises(ConfigError, match="can't be bound"):
                MetricsPort(Metrics(port=number), live)
        finally:
            port.close()

    def test_the_server_s_own_port_then_says_no(self, served):
        assert served(monitoring={"metrics": {"port": 0}}).get("/metrics").status_code == 404


class TestCatalogue:
    def test_names_keep_prometheus_rules(self):
        for one in FAMILIES:
            assert not one.name.endswith(("_total", "_count", "_sum", "_bucket"))
            assert one.help.endswith(".")
        assert len(BY_NAME) == len(FAMILIES)
