"""Every kind of page, rendered once for all tests, and how to read one."""

from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser

from martensite.reporting import (
    render_certificates,
    render_comparison,
    render_leaderboard,
    render_robustness,
    render_run,
    render_union,
)

from . import samples

VOID = {"meta", "link", "input", "img", "br", "hr", "line", "path", "rect", "circle"}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7 * 7 }}"
LONG = "a-class-name-without-any-place-to-break-" * 4
PAGES: dict[str, Callable[[], str]] = {
    "run": lambda: render_run(samples.rich_run(), samples.pairs()),
    "robustness": lambda: render_robustness(samples.rich(), samples.pairs(3, clean_confidence=None)),
    "union": lambda: render_union(samples.union(), [samples.pairs(5, model="")] * 3),
    "comparison": lambda: render_comparison(samples.comparison()),
    "certificates": lambda: render_certificates(samples.certification()),
    "leaderboard": lambda: render_leaderboard({"a": samples.baseline(), LONG: samples.hardened()}, {"a": "a/report.html"}),
    "awkward": lambda: render_run(
        samples.run(name=LONG, hardened=samples.rich(warnings=(LONG,), data=samples.data("test", 360, name=LONG))),
        samples.pairs(2, label=LONG, adversarial_prediction=LONG, attack=LONG),
    ),
}


@cache
def page(name: str) -> str:
    """The HTML of one of them."""
    return PAGES[name]()


class Document(HTMLParser):
    """Elements with their attributes and text, and whether every element was closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        """The visible text with single spaces."""
        return " ".join(" ".join(self.text).split())

    def attributes(self, name: str) -> Iterator[str]:
        return (found[name] for _, found in self.elements if name in found)
