"""The page in a real browser: nothing fails, charts draw, nothing sticks out, both themes."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from martensite.reporting import render_robustness, render_run

from . import samples

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    long = "a-class-name-without-any-place-to-break-" * 4
    awkward = samples.run(name=long, hardened=samples.hardened(warnings=(long,), data=samples.data("test", 360, name=long)))
    pages = {
        "run": render_run(samples.run(), samples.pairs()),
        "robustness": render_robustness(samples.hardened(), samples.pairs(3)),
        "awkward": render_run(awkward, samples.pairs(2, label=long, adversarial_prediction=long, attack=long)),
    }
    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in pages}


class Visit:
    """An open page and everything that went wrong on it."""

    def __init__(self, browser: Any, path: Path, width: int, scheme: str) -> None:
        self.page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("requestfailed", lambda request: self.trouble.append(request.url))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def ask(self, expression: str) -> Any:
        return self.page.evaluate(expression)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1180])
@pytest.mark.parametrize("name", ["run", "robustness", "awkward"])
def test_it_opens_cleanly(browser: Any, files: dict[str, Path], name: str, width: int, scheme: str) -> None:
    visit = Visit(browser, files[name], width, scheme)
    assert visit.trouble == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [files[name].as_uri()]
    assert visit.ask("document.documentElement.scrollWidth <= innerWidth")
    assert visit.ask("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    visit.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1180])
def test_charts_are_drawn_in_the_colours_of_the_theme(browser: Any, files: dict[str, Path], width: int, scheme: str) -> None:
    visit = Visit(browser, files["run"], width, scheme)
    charts = visit.ask(
        """[...document.querySelectorAll('.drawing')].map(drawing => {
            const shown = [...drawing.querySelectorAll('svg')].filter(svg => svg.getBoundingClientRect().width > 0);
            const line = shown[0].querySelector('.mark-line path'), label = shown[0].querySelector('text');
            return {
                shown: shown.length, width: line.getBoundingClientRect().width, stroke: getComputedStyle(line).stroke,
                label: getComputedStyle(label).fill, size: label.getBoundingClientRect().height,
                paper: getComputedStyle(document.body).backgroundColor,
            };
        })"""
    )
    assert len(charts) == 2
    for chart in charts:
        assert chart["shown"] == 1
        assert chart["width"] > 200
        assert chart["size"] >= 11
        assert len({chart["stroke"], chart["label"], chart["paper"], "none", "rgb(0, 0, 0)"}) == 5
    visit.page.context.close()


def test_the_theme_switch_works_by_keyboard(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["run"], 1180, "light")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = visit.ask(ground)
    visit.page.keyboard.press("Tab")
    assert visit.ask("document.activeElement.textContent") == "Skip to content"
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("ArrowRight")
    assert visit.ask("document.activeElement.id") == "theme-light"
    visit.page.keyboard.press("ArrowRight")
    assert visit.ask("document.activeElement.id") == "theme-dark"
    assert visit.ask(ground) != before
    visit.page.context.close()


def test_on_paper_it_is_light_and_complete(browser: Any, files: dict[str, Path]) -> None:
    visit = Visit(browser, files["run"], 680, "dark")
    visit.page.emulate_media(media="print")
    assert visit.ask("getComputedStyle(document.body).color") == "rgb(21, 25, 29)"
    assert visit.ask("document.querySelector('details table').getBoundingClientRect().height > 100")
    assert visit.ask("getComputedStyle(document.querySelector('.theme')).display") == "none"
    visit.page.context.close()
