"""Every kind of page in a real browser: nothing fails, charts draw, nothing sticks out; tabs, theme and sorting work by keys."""

from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .pages import LONG, PAGES, page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
SCRIPT = spec_from_file_location("screenshot", Path(__file__).parents[2] / "scripts" / "screenshot.py")
screenshot = module_from_spec(SCRIPT)
SCRIPT.loader.exec_module(screenshot)
pytestmark = pytest.mark.skipif(screenshot.chromium() is None, reason="chromium is not installed")

CHARTS = {"run": 2 + 3 + 2, "robustness": 1 + 3 + 2, "union": 3 + 2, "comparison": 2, "certificates": 1, "leaderboard": 0}
ON_SCREEN = "[...document.querySelectorAll('.panel')].filter(one => one.getBoundingClientRect().height > 0).map(one => one.id)"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=screenshot.chromium(), args=list(screenshot.ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name in PAGES:
        (folder / f"{name}.html").write_text(page(name), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture
def visit(browser: Any, files: dict[str, Path]) -> Iterator[Callable[..., "Visit"]]:
    opened: list[Visit] = []

    def go(name: str, width: int = 1180, scheme: str = "light", at: str = "") -> Visit:
        opened.append(Visit(browser, files[name], width, scheme, at))
        return opened[-1]

    yield go
    for one in opened:
        assert one.trouble == []
        one.page.context.close()


class Visit:
    """An open page and everything that went wrong on it."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str, at: str) -> None:
        self.page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("requestfailed", lambda request: self.trouble.append(request.url))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri() + at)

    def ask(self, expression: str) -> Any:
        return self.page.evaluate(expression)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def tab_to(self, text: str) -> None:
        """Press Tab until what has the focus says this."""
        for _ in range(80):
            self.press("Tab")
            if self.ask("document.activeElement.textContent") == text:
                return
        raise AssertionError(f"no key leads to {text!r}")


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1180, "dark")])
@pytest.mark.parametrize("name", PAGES)
def test_it_opens_cleanly(visit: Callable[..., Visit], files: dict[str, Path], name: str, width: int, scheme: str) -> None:
    opened = visit(name, width, scheme, "#everything")
    assert {url.partition("#")[0] for url in opened.requests if not url.startswith("data:")} == {files[name].as_uri()}
    assert opened.ask("document.documentElement.scrollWidth <= innerWidth")
    assert opened.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    panels = opened.ask("[...document.querySelectorAll('.panel')].map(one => one.id)")
    assert opened.ask(ON_SCREEN) == panels
    for panel in panels:  # each alone, as its tab shows it
        opened.ask(f"location.hash = '#{panel}'")
        assert opened.ask("document.documentElement.scrollWidth <= innerWidth"), panel


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1180, "light")])
@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_drawn_in_the_colours_of_the_theme(visit: Callable[..., Visit], name: str, width: int, scheme: str) -> None:
    charts = visit(name, width, scheme, "#everything").ask(
        """[...document.querySelectorAll('.drawing')].map(drawing => {
            const shown = [...drawing.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0);
            const mark = shown[0].querySelector('.mark-line path, .mark-symbol path'), label = shown[0].querySelector('text');
            return {
                shown: shown.length, width: shown[0].getBoundingClientRect().width, stroke: getComputedStyle(mark).stroke,
                drawn: mark.getBoundingClientRect().width, said: drawing.getAttribute('aria-label').length,
                label: getComputedStyle(label).fill, size: label.getBoundingClientRect().height,
                paper: getComputedStyle(document.body).backgroundColor,
            };
        })"""
    )
    assert len(charts) == CHARTS[name]
    for chart in charts:
        assert chart["shown"] == 1
        assert chart["width"] > 200
        assert chart["drawn"] > 5
        assert chart["size"] >= 11
        assert chart["said"] > 40
        assert len({chart["stroke"], chart["label"], chart["paper"], "none", "rgb(0, 0, 0)"}) == 5


def test_tabs_work_by_keyboard_and_have_addresses(visit: Callable[..., Visit]) -> None:
    opened = visit("run")
    assert opened.ask(ON_SCREEN) == ["overview"]
    opened.tab_to("Attacks")
    opened.press("Enter")
    assert opened.ask(ON_SCREEN) == ["attacks"]
    assert opened.ask("location.hash") == "#attacks"
    current = opened.ask("getComputedStyle(document.querySelector('.tabs a[href=\"#attacks\"]')).borderBottomColor")
    assert current != opened.ask("getComputedStyle(document.querySelector('.tabs a')).borderBottomColor")
    opened.page.go_back()
    assert opened.ask(ON_SCREEN) == ["overview"]


def test_an_address_inside_a_tab_opens_it(visit: Callable[..., Visit]) -> None:
    opened = visit("run", at="#certificates")
    opened.page.get_by_role("link", name="these conditions").click()
    assert opened.ask(ON_SCREEN) == ["trust"]
    below = opened.ask("document.getElementById('limits').getBoundingClientRect().top")
    assert opened.ask("document.querySelector('.tabs').getBoundingClientRect().bottom") <= below + 1 < 900


def test_the_theme_switch_works_by_keyboard(visit: Callable[..., Visit]) -> None:
    opened = visit("robustness")
    before = opened.ask(GROUND)
    opened.press("Tab")
    assert opened.ask("document.activeElement.textContent") == "Skip to content"
    opened.press("Tab", "ArrowRight")
    assert opened.ask("document.activeElement.id") == "theme-light"
    opened.press("ArrowRight")
    assert opened.ask("document.activeElement.id") == "theme-dark"
    assert opened.ask(GROUND) != before


def test_a_leaderboard_is_sorted_by_keyboard(visit: Callable[..., Visit]) -> None:
    opened = visit("leaderboard")
    first = "[...document.querySelectorAll('tbody th')].find(one => one.getBoundingClientRect().height > 0).textContent"
    assert opened.ask(first) == LONG
    opened.page.locator("input.by-robust").focus()
    opened.press("ArrowRight")
    assert opened.ask("document.activeElement.className") == "by-clean"
    assert opened.ask(first) == "a"
    tables = "[...document.querySelectorAll('table')].filter(one => one.getBoundingClientRect().height > 0).length"
    assert opened.ask(tables) == 1


def test_on_paper_it_is_light_and_complete(visit: Callable[..., Visit]) -> None:
    opened = visit("run", 680, "dark", "#attacks")
    opened.page.emulate_media(media="print")
    assert opened.ask("getComputedStyle(document.body).color") == "rgb(21, 25, 29)"
    assert opened.ask(ON_SCREEN) == opened.ask("[...document.querySelectorAll('.panel')].map(one => one.id)")
    assert opened.ask("document.querySelector('details table').getBoundingClientRect().height > 100")
    hidden = "['.switch', '.tabs'].map(one => getComputedStyle(document.querySelector(one)).display)"
    assert opened.ask(hidden) == ["none", "none"]


def test_a_screenshot_is_small_and_shows_something(browser: Any, files: dict[str, Path], tmp_path: Path) -> None:
    for picture in (tmp_path / "run.png", Path(__file__).parents[2] / "docs" / "report.png"):
        if picture.parent == tmp_path:
            screenshot.take(browser, files["run"], picture)
        assert 20_000 < picture.stat().st_size <= screenshot.LARGEST
        with Image.open(picture) as image:
            assert image.size == (screenshot.WIDTH, screenshot.HEIGHT)
            assert len(image.convert("RGB").getcolors(1 << 16) or ()) > 20
