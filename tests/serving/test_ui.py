"""The monitor's page in a real browser, on a real server: it shows what the record says, and nothing runs in it but its own."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from martensite.serving import Batch, Reply, Share
from martensite.serving.access import ApiKey, Keys, new_secret
from martensite.serving.monitoring.snapshot import Alert, Drift, DriftTest
from martensite.serving.ui.files import POLICY, page_files

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
EVIL = "</script><img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def visit(browser):
    """Opens a server's page; ``trouble`` holds whatever went wrong on it."""
    opened = []

    def make(server, width=1180, scheme="light", wait="h1 .word", at="/ui"):
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        opened.append(page)
        trouble, asked = [], []
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(server.url + at)
        page.wait_for_selector(wait)
        return SimpleNamespace(page=page, trouble=trouble, asked=asked, ask=page.evaluate)

    yield make
    for page in opened:
        page.context.close()


def tell(live, model="tiny", n=40):
    """Figures as of traffic with flagged inputs, alerts and names that mean harm."""
    version = live.models[model].versions["primary"]
    rng = np.random.default_rng(0)
    decisions = ["flagged" if i % 3 == 0 else "answered" for i in range(n)]
    x, logits = rng.random((n, 1, 4, 4), np.float32), rng.normal(size=(n, 3)).astype(np.float32)
    p = np.linspace(0.0001, 1, n)
    shares = (Share(EVIL, "bob", 0, n, 0.01),)
    live.batch(Batch(model, "1", version.digest, "primary", x, logits, decisions, p, p, shares, 0.02, 5, 0.0))
    for status in (200,) * 20 + (429, 400):
        live.reply(Reply(model, "1", status, "", "bob", EVIL, 2, 0.012))


@pytest.fixture
def watched(listening):
    """A server with figures; what its record says can be changed on the way."""
    server = listening()
    live = server.fleet.live
    tell(live)
    shown = live.snapshot

    def change(how):
        live.snapshot = lambda: how(shown())

    server.change = change
    return server


def drifting(record):
    """With drift tests, one of which has rung."""
    tests = (
        DriftTest(name="ks", about="features", statistic=0.3, threshold=0.2, p_value=1e-5, alarm=True, since=record.time - 90,
                  detail=EVIL, history=tuple(i / 40 for i in range(60))),
        DriftTest(name="cusum", about="confidence", statistic=1.0, threshold=20.0, history=(0.1, 0.2)),
        DriftTest(name="mmd", about="embeddings"),
    )  # fmt: skip
    drift = Drift(watched=True, samples=900, alarm=True, tests=tests, labelled=50, accuracy=0.9, accuracy_low=0.8,
                  accuracy_high=0.95, expected=0.97)  # fmt: skip
    alerts = (
        Alert(time=record.time, name=EVIL, status="firing", model="tiny", severity="critical", summary=EVIL, outcome="told"),
    )
    (model,) = record.models
    (version,) = model.versions
    alarms = version.alarms.model_copy(update={"detects": True})
    version = version.model_copy(update={"drift": drift, "alarms": alarms, "classes": (EVIL, "b", "c" * 60)})
    return record.model_copy(update={"models": (model.model_copy(update={"versions": (version,)}),), "alerts": alerts})


@needs_browser
class TestPage:
    @pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1180, "dark")])
    def test_it_opens_cleanly_whatever_names_say(self, watched, visit, width, scheme):
        watched.change(drifting)
        seen = visit(watched, width, scheme)
        seen.page.wait_for_selector("#evidence")
        assert seen.trouble == []
        assert {url.removeprefix(watched.url).split("?")[0] for url in seen.asked if not url.startswith("data:")} == {
            "/ui", "/ui/monitor.css", "/ui/monitor.js", "/ui/dom.js", "/ui/charts.js", "/ui/sections.js", "/ui/words.js",
            "/v1/monitor",
        }  # fmt: skip
        assert seen.ask("document.documentElement.scrollWidth <= innerWidth")
        assert seen.ask("[...document.images].length > 0 && [...document.images].every(one => one.naturalWidth > 0)")
        assert "owned" not in seen.page.title()
        assert seen.ask("document.querySelectorAll('img[src=x]').length") == 0
        assert EVIL in seen.page.inner_text("#board")

    def test_what_it_shows_is_what_the_record_says(self, watched, visit):
        watched.change(drifting)
        record = watched.fleet.live.snapshot()
        seen = visit(watched)
        text = seen.page.inner_text
        assert text("h1 .word") == record.models[0].standing.word
        assert text(".lead") == record.models[0].standing.lead
        assert text("section[aria-labelledby=traffic] tbody tr >> nth=0").split() == ["200", "answered", "20", "90.9%"]
        assert len(seen.page.query_selector_all(".caught li")) == len(record.models[0].versions[0].flagged) == 14
        assert [row.inner_text() for row in seen.page.query_selector_all(".tests .mark")] == ["ALARM", "CALM", "WAITS"]
        assert "FIRING" in text("section[aria-labelledby=alerts]")
        shares = [float(one) for one in seen.ask("[...document.querySelectorAll('section[aria-labelledby=predictions] .share-bar')].map(one => one.style.getPropertyValue('--share'))")]  # fmt: skip  # noqa: E501
        counts = record.models[0].versions[0].predictions
        assert shares == pytest.approx([n / max(counts) for n in counts])

    def test_it_follows_the_record_and_keeps_the_place_of_who_reads(self, watched, visit):
        seen = visit(watched)
        seen.page.focus("section[aria-labelledby=traffic] .scroll")
        before = seen.page.inner_text("section[aria-labelledby=traffic] tbody")
        seen.ask("document.querySelector('h1').mark = 'kept'")
        watched.fleet.live.reply(Reply("tiny", "1", 200, "", "", "", 1, 0.01))
        seen.page.wait_for_function(
            "before => document.querySelector('section[aria-labelledby=traffic] tbody').innerText !== before", arg=before
        )
        assert seen.ask("document.activeElement.getAttribute('aria-label')") == "Requests by status"
        assert seen.ask("document.querySelector('h1').mark") == "kept"

    def test_a_model_that_was_taken_out_says_so_and_why(self, watched, visit, here):
        claims = here.one.with_name("one.claims.jsonl")
        claims.write_text("")
        line = watched.fleet.slots["tiny"].lines["primary"]
        line.loaded.sealed._seen.clear()
        line.loaded.sealed.claims.write_bytes(b"")
        watched.fleet.slots["tiny"].judge_again("primary")
        seen = visit(watched)
        assert seen.page.inner_text("h1 .word") == "Taken out"
        assert "approval" in seen.page.inner_text(".lead")
        assert seen.page.title().startswith("Taken out")
        assert seen.ask("getComputedStyle(document.querySelector('h1 .word')).color") == "rgb(166, 30, 23)"

    def test_a_server_that_is_gone_is_never_shown_as_serving(self, watched, visit):
        seen = visit(watched)
        watched.server.should_exit = True
        watched.thread.join(30)
        seen.page.wait_for_selector(".pulse.lost")
        assert "Not live" in seen.page.inner_text("#pulse")
        assert seen.page.title().startswith("Not live")
        assert float(seen.ask("getComputedStyle(document.querySelector('#board')).opacity")) < 0.6

    def test_theme_time_and_pause_work_by_keyboard(self, watched, visit):
        seen = visit(watched)
        keys = seen.page.keyboard
        keys.press("Tab")
        assert seen.ask("document.activeElement.textContent") == "Skip to content"
        keys.press("Tab")
        assert seen.ask("document.activeElement.id") == "pause"
        keys.press("Enter")
        seen.page.wait_for_selector("#pause[aria-pressed=true]")
        assert "Paused" in seen.page.inner_text("#pulse")
        keys.press("Tab")
        keys.press("ArrowRight")
        keys.press("ArrowRight")
        assert seen.ask("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        keys.press("Tab")
        keys.press("ArrowRight")
        seen.page.wait_for_selector("text=Requests each minute")
        assert seen.ask("document.activeElement.value") == "hour"

    def test_several_models_are_tabs_of_which_one_is_open(self, listening, here, visit):
        server = listening(more=[{"name": "other", "bundle": str(here.two), "evidence": here.evidence}])
        seen = visit(server, at="/ui#model-tiny")
        assert seen.page.inner_text(".subject") == "tiny version 1"
        seen.page.click("text=other")
        seen.page.wait_for_function("document.querySelector('.subject').innerText === 'other version 2'")
        assert seen.ask("document.querySelector('.tabs [aria-current]').innerText.includes('other')")


@pytest.fixture
def keys(here):
    """keys.yaml with one key a scope: scope to token."""
    tokens, made = {}, Keys()
    for scope in ("infer", "monitor"):
        tokens[scope], digest = new_secret(scope)
        made = made.with_key(ApiKey(name=scope, hashes=(digest,), scopes=(scope,)))
    made.save(here.folder / "keys.yaml")
    return tokens


class TestDoor:
    @needs_browser
    def test_nothing_is_shown_without_the_right_key(self, listening, here, keys, visit):
        server = listening(access={"keys": str(here.folder / "keys.yaml")})
        seen = visit(server, wait="#door:not([hidden])")
        assert seen.trouble == []
        assert not any(url.endswith("/v1/monitor") for url in seen.asked)
        assert "tiny" not in seen.page.content()
        for token, said in (("mt_monitor." + "A" * 43, "no API key that is known"), (keys["infer"], "this key may not monitor")):
            seen.page.fill("#key", token)
            seen.page.keyboard.press("Enter")
            seen.page.wait_for_function("said => document.getElementById('refused').innerText.includes(said)", arg=said)
            assert seen.page.inner_text("#board") == ""
        seen.page.fill("#key", keys["monitor"])
        seen.page.keyboard.press("Enter")
        seen.page.wait_for_selector("h1 .word")
        assert keys["monitor"] not in seen.page.content()
        seen.page.reload()
        seen.page.wait_for_selector("h1 .word")
        seen.page.click("#leave")
        seen.page.wait_for_selector("#door:not([hidden])")
        assert seen.page.inner_text("#board") == ""
        assert seen.ask("sessionStorage.length + localStorage.length + document.cookie.length") == 0

    def test_the_record_takes_a_key_of_its_scope(self, served, here, keys):
        ask = served(access={"keys": str(here.folder / "keys.yaml")}).get
        headers = {scope: {"Authorization": f"Bearer {token}"} for scope, token in keys.items()}
        assert ask("/v1/monitor").status_code == 401
        assert ask("/v1/monitor", headers=headers["infer"]).status_code == 403
        answer = ask("/v1/monitor", headers=headers["monitor"])
        assert answer.json()["models"][0]["name"] == "tiny"
        assert answer.headers["cache-control"] == "no-store"

    def test_a_key_for_some_models_sees_no_others(self, served, here):
        token, digest = new_secret("partner")
        Keys(keys=(ApiKey(name="partner", hashes=(digest,), scopes=("monitor",), models=("other",)),)).save(
            here.folder / "keys.yaml"
        )
        more = [{"name": "other", "bundle": str(here.two), "evidence": here.evidence}]
        client = served(access={"keys": str(here.folder / "keys.yaml")}, more=more)
        tell(client.fleet.live)
        client.fleet.live.alert(Alert(time=1.0, name="Errors", status="firing", model="tiny"))
        bearing = {"Authorization": f"Bearer {token}"}
        assert client.get("/metrics", headers=bearing).status_code == 403
        answer = client.get("/v1/monitor", headers=bearing)
        assert [one["name"] for one in answer.json()["models"]] == ["other"]
        assert "tiny" not in answer.text
        assert answer.json()["traffic"]["requests"] == {}

    def test_an_open_server_shows_its_record_to_nobody(self, served):
        client = served(access={"open": True})
        assert client.get("/v1/monitor").status_code == 403
        assert client.get("/v2/models/tiny").status_code == 200

    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[::2]:80", "10.0.0.1"])
    def test_without_keys_another_name_for_this_machine_is_refused(self, served, host):
        client = served()
        for path in ("/v1/monitor", "/v2/models/tiny"):
            assert client.get(path, headers={"host": host}).status_code == 403

    @pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
    def test_this_machines_own_names_are_not(self, served, host):
        assert served().get("/v1/monitor", headers={"host": host}).status_code == 200


class TestFiles:
    def test_every_answer_of_the_page_has_the_policy(self, served):
        client = served()
        for name in page_files(False):
            answer = client.get(f"/ui/{name}" if name else "/ui")
            assert answer.status_code == 200
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "unsafe" not in POLICY
        assert client.get("/ui/../app.py").status_code == 404
        assert client.get("/ui/page.html.j2").status_code == 404

    def test_the_page_holds_no_script_style_or_picture_of_its_own(self):
        page = page_files(True)[""].content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert "javascript:" not in page
        assert page.count("<script") == page.count('<script type="module" src=') == 1

    def test_scripts_never_turn_text_into_markup(self):
        for name, file in page_files(False).items():
            if name.endswith(".js"):
                for sink in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval(", b"Function("):
                    assert sink not in file.content, name

    def test_its_look_is_that_of_the_reports(self):
        css = page_files(False)["monitor.css"].content.decode()
        assert css.index("--hardened:") < css.index("What the monitor has beside the reports' stylesheet")
        own = css[css.index("What the monitor has") :]
        assert "#" not in own.replace("#refused", "")  # no colour but the reports'


class TestInputs:
    def test_pictures_are_shown_only_where_inputs_may_be_kept(self, served):
        for kept in (True, False):
            fleet = served(monitoring={"pictures": kept}).fleet
            tell(fleet.live)
            flagged = fleet.live.snapshot().models[0].versions[0].flagged
            assert len(flagged) == 14
            assert all(bool(one.picture) == kept for one in flagged)

    def test_the_record_is_json_whatever_the_numbers(self, served):
        client = served()
        tell(client.fleet.live)
        version = client.fleet.live.models["tiny"].versions["primary"]
        version.caught[0] = replace(version.caught[0], confidence=float("nan"), p_value=float("nan"), score=float("inf"))
        document = json.loads(client.get("/v1/monitor").content, parse_constant=lambda name: pytest.fail(name))
        assert document["models"][0]["versions"][0]["flagged"][-1]["p_value"] is None


def test_the_slash_leads_to_the_page(listening):
    server = listening()
    with httpx.Client(follow_redirects=True) as client:
        answer = client.get(server.url + "/ui/")
    assert str(answer.url) == server.url + "/ui"
    assert answer.status_code == 200
