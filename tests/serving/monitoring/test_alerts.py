"""Rules, routes and dashboard, by Prometheus' own programs; and an attack that a real Prometheus notices."""

import json
import shutil
import subprocess
import threading

import httpx
import pytest
import torch
import yaml
from jsonschema import Draft202012Validator

import martensite as mt
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.monitoring.catalogue import FAMILIES
from martensite.serving.monitoring.deploy.grafana import dashboard, queries
from martensite.serving.monitoring.deploy.prometheus import PrometheusFiles


def program(name):
    found = shutil.which(name)
    if found is None:
        package = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name]
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def run(*words, cwd):
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def files(tmp_path):
    (tmp_path / "key").write_text("mt_x.y\n")
    given = {"targets": ("127.0.0.1:1",), "webhook": "http://127.0.0.1:2/v1/alerts", "key": "key", "webhook_key": "key"}
    PrometheusFiles(**given).write(tmp_path)
    return tmp_path


class TestFiles:
    def test_promtool_takes_configuration_and_rules(self, files):
        promtool = program("promtool")
        assert "SUCCESS" in run(promtool, "check", "config", "prometheus.yml", cwd=files)
        assert "SUCCESS" in run(promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml", cwd=files)

    def test_the_rules_pass_their_own_tests(self, files):
        assert "SUCCESS" in run(program("promtool"), "test", "rules", "rules.test.yml", cwd=files)

    def test_every_rule_but_those_of_speed_has_a_test(self, files):
        rules = {one["alert"] for one in yaml.safe_load((files / "rules.yml").read_text())["groups"][0]["rules"]}
        tests = yaml.safe_load((files / "rules.test.yml").read_text())["tests"]
        tried = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one.get("exp_alerts")}
        assert rules - tried == {"MartensiteSaturated", "MartensiteSlow"}

    def test_amtool_takes_the_routes(self, files):
        amtool = program("amtool")
        run(amtool, "check-config", "alertmanager.yml", cwd=files)
        routed = run(amtool, "config", "routes", "test", "--config.file=alertmanager.yml", "severity=critical", cwd=files)
        assert routed.strip() == "martensite"

    def test_rules_name_metrics_that_there_are(self, files):
        import re

        text = (files / "rules.yml").read_text()
        named = set(re.findall(r"martensite_[a-z_]+", text))
        exported = {f"{one.name}_total" if one.kind == "counter" else one.name for one in FAMILIES}
        exported |= {f"{one.name}_bucket" for one in FAMILIES if one.kind == "histogram"}
        assert named <= exported


SCHEMA = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "panels", "templating", "time"],
    "properties": {
        "schemaVersion": {"type": "integer", "minimum": 36},
        "panels": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type", "title", "gridPos"],
                "properties": {
                    "id": {"type": "integer", "minimum": 1},
                    "gridPos": {
                        "type": "object",
                        "required": ["h", "w", "x", "y"],
                        "properties": {"x": {"minimum": 0, "maximum": 23}, "w": {"minimum": 1, "maximum": 24}},
                        "additionalProperties": {"type": "integer", "minimum": 0},
                    },
                },
                "if": {"properties": {"type": {"const": "timeseries"}}},
                "then": {
                    "required": ["datasource", "targets", "fieldConfig"],
                    "properties": {
                        "targets": {
                            "type": "array",
                            "minItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["refId", "expr", "datasource"],
                                "properties": {"refId": {"pattern": "^[A-Z]$"}, "expr": {"type": "string", "minLength": 1}},
                            },
                        }
                    },
                },
            },
        },
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {"list": {"type": "array", "items": {"required": ["name", "type"]}}},
        },
    },
}


class TestDashboard:
    def test_it_keeps_the_schema(self):
        assert not list(Draft202012Validator(SCHEMA).iter_errors(json.loads(json.dumps(dashboard()))))

    def test_every_metric_has_a_panel_and_every_panel_a_metric(self):
        panels = [one for one in dashboard()["panels"] if one["type"] == "timeseries"]
        assert sorted(one["description"] for one in panels) == sorted(one.name for one in FAMILIES)

    def test_panels_neither_share_a_number_nor_a_place(self):
        panels = dashboard()["panels"]
        assert len({one["id"] for one in panels}) == len(panels)
        cells = [
            (column, row)
            for one in panels
            for column in range(one["gridPos"]["x"], one["gridPos"]["x"] + one["gridPos"]["w"])
            for row in range(one["gridPos"]["y"], one["gridPos"]["y"] + one["gridPos"]["h"])
        ]
        assert len(set(cells)) == len(cells)

    def test_promtool_understands_every_query(self, tmp_path):
        texts = [text for family in FAMILIES for text, _ in queries(family)]
        clear = [one.replace("$__rate_interval", "1m").replace("$model", ".*") for one in texts]
        rules = [{"record": f"panel:{place}", "expr": text} for place, text in enumerate(clear)]
        (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
        said = run(program("promtool"), "check", "rules", "panels.yml", cwd=tmp_path)
        assert f"SUCCESS: {len(rules)} rules found" in said


def ask(url, tensor, x, headers=None, size=20):
    """Send samples, some a request; statuses."""
    with httpx.Client(base_url=url, headers=headers or {}, timeout=60) as client:
        return [
            client.post("/v2/models/guard/infer", json={"inputs": [tensor(part)]}).status_code for part in torch.split(x, size)
        ]


class TestRealPrometheus:
    def test_clean_traffic_raises_nothing_an_attack_raises_the_alert_and_the_alert_suspends(
        self, battle, guard, here, listening, tower, tensor, inbox, wait_for, free_port
    ):
        """Prometheus looks each second; the attack reaches the webhook, which is the server's own, and takes the model out."""
        ring, home = here.yard.ring, here.folder / "watch"
        from martensite.artifacts.signing import Keyring, Trust

        words = "a passphrase of words"
        ring = Keyring(home)
        ring.new("watch", words, role="monitor", owner="Wally")
        Trust.from_yaml(here.trust).with_record(ring.record("watch")).save(here.trust)
        (home / "passphrase").write_text(words)
        tokens = {}
        keys = []
        for name, scopes in {"user": ("infer",), "am": ("alerts",)}.items():
            tokens[name], digest = new_secret(name)
            keys.append(ApiKey(name=name, hashes=(digest,), scopes=scopes))
        Keys(keys=tuple(keys)).save(here.folder / "keys.yaml")
        (here.folder / "am.key").write_text(tokens["am"])
        suspend = {"alerts": ["MartensiteAttack"], "key": "watch", "home": str(home), "passphrase_file": str(home / "passphrase")}
        port = free_port()
        url = listening(
            here.config(model=guard, access={"keys": str(here.folder / "keys.yaml")},
                        monitoring={"metrics": {"port": port}, "suspend": suspend})
        ).url  # fmt: skip
        user = {"Authorization": f"Bearer {tokens['user']}"}
        tall = tower([f"127.0.0.1:{port}"], f"{url}/v1/alerts", webhook_key=str(here.folder / "am.key"))
        wait_for(lambda: tall.ask('martensite_ready{model="guard"} == 1'), "the first look")
        clean = torch.cat([battle.clean, battle.clean[:103]])[:500]
        assert set(ask(url, tensor, clean, user)) == {200}
        wait_for(lambda: tall.ask("martensite_samples_total == 500"), "the look at clean traffic")
        assert tall.firing() == []
        ask(url, tensor, battle.adversarial[:300], user)
        wait_for(lambda: "MartensiteAttack" in tall.firing(), "the alert")
        wait_for(lambda: ask(url, tensor, battle.clean[:1], user) == [503], "the suspension")
        wait_for(lambda: "MartensiteSuspended" in tall.firing(), "the alert about it")
        claims = (here.folder / "guard.claims.jsonl").read_text().splitlines()
        assert len(claims) == 3

    @pytest.mark.slow
    def test_ten_thousand_clean_requests_raise_nothing_and_an_attack_among_them_reaches_a_webhook(
        self, battle, guard, here, listening, tower, tensor, inbox, wait_for, free_port
    ):
        port = free_port()
        url = listening(here.config(model=guard, monitoring={"metrics": {"port": port}})).url
        tall = tower([f"127.0.0.1:{port}"], inbox.url)
        wait_for(lambda: tall.ask('martensite_ready{model="guard"} == 1'), "the first look")
        rows = torch.randint(len(battle.clean), (10_000,), generator=torch.Generator().manual_seed(1))
        with httpx.Client(base_url=url, timeout=60) as client:
            for row in rows.tolist():
                document = {"inputs": [tensor(battle.clean[row : row + 1])]}
                assert client.post("/v2/models/guard/infer", json=document).status_code == 200
        wait_for(lambda: tall.ask("martensite_samples_total == 10000"), "the look at clean traffic")
        assert [one["labels"]["alertname"] for one in inbox.alerts] == []
        assert tall.firing() == []
        ask(url, tensor, battle.adversarial, size=1)
        wait_for(lambda: any(one["labels"]["alertname"] == "MartensiteAttack" for one in inbox.alerts), "the alert")
        found = next(one for one in inbox.alerts if one["labels"]["alertname"] == "MartensiteAttack")
        assert (found["status"], found["labels"]["model"], found["labels"]["version"]) == ("firing", "guard", "7")

    @pytest.mark.slow
    def test_a_server_that_is_gone_is_told_of(self, guard, here, listening, tower, inbox, wait_for, free_port):
        """Its metrics stop coming; after a minute the alert reaches the webhook, and names who is missing."""
        port = free_port()
        server = listening(here.config(model=guard, monitoring={"metrics": {"port": port}}))
        tall = tower([f"127.0.0.1:{port}"], inbox.url)
        wait_for(lambda: tall.ask('up{job="martensite"} == 1'), "the first look")
        server.server.should_exit = True
        server.thread.join(60)
        assert not server.thread.is_alive()
        wait_for(lambda: tall.ask('ALERTS{alertname="MartensiteDown", alertstate="pending"}'), "the doubt")
        wait_for(lambda: tall.ask('up{job="martensite"} == 0') and not tall.ask('ALERTS{alertstate="pending"}'), "the minute")
        wait_for(lambda: any(one["labels"]["alertname"] == "MartensiteDown" for one in inbox.alerts), "the alert")
        found = next(one for one in inbox.alerts if one["labels"]["alertname"] == "MartensiteDown")
        assert (found["status"], found["labels"]["instance"]) == ("firing", f"127.0.0.1:{port}")

    @pytest.mark.slow
    def test_killed_under_load_it_holds_up_no_answer_and_catches_up(
        self, battle, guard, here, listening, tower, tensor, inbox, wait_for, free_port
    ):
        """kill -9 of Prometheus and Alertmanager; what was counted meanwhile is there at the first look after."""
        port = free_port()
        url = listening(here.config(model=guard, monitoring={"metrics": {"port": port}})).url
        tall = tower([f"127.0.0.1:{port}"], inbox.url)
        wait_for(lambda: tall.ask('martensite_ready{model="guard"} == 1'), "the first look")
        expected = mt.load_bundle(guard["bundle"])(battle.clean[:20]).argmax(1).tolist()
        answers, over = [], threading.Event()

        def load():
            with httpx.Client(base_url=url, timeout=60) as client:
                while not over.is_set():
                    answers.append(client.post("/v2/models/guard/infer", json={"inputs": [tensor(battle.clean[:20])]}))

        clients = [threading.Thread(target=load) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            wait_for(lambda: tall.ask("martensite_samples_total > 0"), "a look under load")
            tall.kill()
            before = len(answers)
            wait_for(lambda: len(answers) > before + 100, "answers while nobody looks")
            tall.again()
        finally:
            over.set()
            for client in clients:
                client.join(60)
        assert {one.status_code for one in answers} == {200}
        named = [{one["name"]: one["data"] for one in answer.json()["outputs"]} for answer in answers]
        assert all(one["label"] == expected for one in named)
        wait_for(lambda: tall.ask(f"martensite_samples_total == {20 * len(answers)}"), "all that was counted")
