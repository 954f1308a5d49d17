"""martensite monitor against a real server: what it prints is what the server knows, and no name moves the cursor."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from martensite.cli import monitor
from martensite.cli.main import main
from martensite.cli.monitor_view import Spark, clean, duration, percent, rate, view
from martensite.core.errors import UnreachableError
from martensite.serving.monitoring.snapshot import (
    Alarms,
    Alert,
    Drift,
    DriftTest,
    Evidence,
    Flagged,
    Model,
    Snapshot,
    Traffic,
    Version,
)
from martensite.serving.monitoring.standing import stand

NOW = 1_795_000_000.0
ESCAPE = "\x1b[2J\x1b]0;owned\x07\u202e"


def record(name="digits", reason="", **changes):
    test = DriftTest(
        name="ks", about="features", statistic=0.3, threshold=0.2, p_value=1e-5, alarm=True, since=NOW - 9, history=(0.5, None)
    )
    given = {
        "version": "3", "digest": "sha256:a", "route": "primary", "state": "serving", "since": NOW,
        "evidence": Evidence(verdict="PASS", policy="strict", judged=NOW - 16, oldest=NOW - 90),
        "alarms": Alarms(detects=True, flagged=7, decisions={"answered": 93, "flagged": 7}, share=0.07, flagged_history=(0, 3)),
        "drift": Drift(watched=True, samples=100, alarm=True, tests=(test,)),
        "classes": (ESCAPE, "b"), "predictions": (3, 1), "confidence": 0.9,
        "flagged": (Flagged(time=NOW, id=ESCAPE, row=2, key="bob", prediction=0, confidence=None, p_value=0.001, score=1.0,
                            decision="flagged"),),
    }  # fmt: skip
    version = Version(**{**given, **changes})
    alerts = (Alert(time=NOW, name="Errors", status="firing", model=name, summary=ESCAPE),)
    traffic = Traffic(requests={"200": 9}, requests_per_second=1.5, p99=0.0123, history=tuple(range(60)))
    standing = stand(name, reason, (version,), alerts, None, NOW)
    model = Model(name=name, ready=not reason, reason=reason, standing=standing, traffic=traffic, versions=(version,))
    return Snapshot(time=NOW, started=NOW - 60, traffic=traffic, models=(model,), alerts=alerts)


def printed(shown, width=110):
    out = StringIO()
    Console(file=out, width=width, legacy_windows=False, force_terminal=False).print(shown)
    return out.getvalue()


@pytest.fixture
def serving():
    """Serves a document at /v1/monitor, to whoever bears the token; its address."""
    running = []

    def start(document, token=None, status=200):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                known = token is None or self.headers.get("authorization") == f"Bearer {token}"
                found = self.path == "/v1/monitor"
                body = (document if known else '{"error": "no API key that is known"}').encode()
                self.send_response((status if found else 404) if known else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


def run(*words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["monitor", *words])
    return ended.value.code, capsys.readouterr()


def test_json_is_the_servers_record(serving, capsys):
    url = serving(record().model_dump_json())
    code, out = run(url, "--json", capsys=capsys)
    assert code == 0
    assert Snapshot.model_validate_json(out.out) == record()


def test_once_says_what_matters(serving, capsys):
    code, out = run(serving(record().model_dump_json()), "--once", capsys=capsys)
    assert code == 0
    for wanted in ("digits version 3", "ALARM", "strict", "1.50/s", "12.3 ms", "features", "bob"):
        assert wanted in out.out


def test_a_model_that_does_not_serve_is_exit_code_one(serving, capsys):
    url = serving(record(reason="it expired", state="out").model_dump_json())
    for how in ("--once", "--json"):
        code, out = run(url, how, capsys=capsys)
        assert code == 1
        assert "it expired" in out.out.lower()


def test_the_key_comes_from_the_environment(serving, capsys, monkeypatch):
    url = serving(record().model_dump_json(), token="mt_ops.secret")
    monkeypatch.delenv(monitor.TOKEN, raising=False)
    code, out = run(url, "--once", capsys=capsys)
    assert code == 2
    assert monitor.TOKEN in out.err
    monkeypatch.setenv(monitor.TOKEN, "mt_ops.secret")
    assert run(url, "--once", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [("<html>", 200, "no record"), ("[]", 200, "no record"), ('{"models": [3]}', 200, "no record"), ("{}", 500, "answers 500")],
)
def test_what_is_no_record_is_refused(serving, capsys, document, status, words):
    code, out = run(serving(document, status=status), "--once", capsys=capsys)
    assert code == 2
    assert words in out.err


def test_a_record_of_another_version_is_still_json(serving, capsys):
    url = serving(record().model_dump_json().replace('"started"', '"begun"', 1))
    code, out = run(url, "--once", capsys=capsys)
    assert code == 2
    assert "of one version" in out.err
    code, out = run(url, "--json", capsys=capsys)
    assert code == 0
    assert json.loads(out.out)["begun"] == NOW - 60


def test_nobody_there(capsys):
    code, out = run("http://127.0.0.1:9", "--once", capsys=capsys)
    assert code == 2
    assert "can't be reached" in out.err
    assert run("127.0.0.1:8080", "--once", capsys=capsys)[0] == 2


def test_a_model_by_name(serving, capsys):
    url = serving(record().model_dump_json())
    assert run(url, "--once", "--model", "digits", capsys=capsys)[0] == 0
    code, out = run(url, "--once", "--model", "digit", capsys=capsys)
    assert code == 2
    assert "digits" in out.err
    assert run(url, "--json", "--model", "digit", capsys=capsys)[0] == 2


def test_names_from_outside_never_reach_the_terminal_raw():
    text = printed(view(record(), "http://" + ESCAPE, "live", ESCAPE))
    assert not any(one in text for one in "\x1b\x07\u202e")
    assert "owned" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_it_fits_its_terminal(width):
    assert max(len(line) for line in printed(view(record(), "http://h"), width).splitlines()) <= width


def test_a_server_that_is_gone_is_not_shown_as_live():
    text = printed(view(record(), "http://h", "live", "can't be reached"))
    assert "NOT LIVE" in text
    assert "NOT LIVE" not in printed(view(record(), "http://h", "live"))


def test_it_goes_on_where_a_server_was_away_and_ends_with_ctrl_c(monkeypatch):
    answers = iter([UnreachableError("away"), record().model_dump(mode="json"), KeyboardInterrupt()])

    def look(names):
        found = next(answers)
        if isinstance(found, dict):
            return found
        raise found

    out = StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    window = SimpleNamespace(url="http://h", look=look)
    monkeypatch.setattr(monitor.time, "sleep", lambda seconds: None)
    assert monitor._watch(window, record(), None, 2.0, console) == 0
    before, after = out.getvalue().split("NOT LIVE")
    assert "live" in before
    assert "live" in after
    assert "\x1b[?25h" in after  # the cursor is back


def test_a_spark_is_as_high_as_its_numbers():
    assert printed(Spark((0, 1, 2, 4, 8)), 5).strip("\n") == " ▁▂▄█"
    assert printed(Spark(()), 5).strip() == ""
    assert len(printed(Spark(tuple(range(60))), 12).strip("\n")) == 12


def test_figures():
    assert [rate(one) for one in (0, 0.001, 1.234, 12.34, 1234.5)] == ["0", "<0.01", "1.23", "12.3", "1,234"]
    assert [percent(one) for one in (None, 0.0, 1e-5, 0.5, 0.99999, 1.0)] == ["-", "0.0%", "<0.1%", "50.0%", ">99.9%", "100.0%"]
    assert [duration(one) for one in (None, 0.0123, 2.5)] == ["-", "12.3 ms", "2.5 s"]
    assert clean("a\nb\u202ec") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
