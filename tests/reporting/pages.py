"""Every kind of page, rendered once for all tests."""

from collections.abc import Callable
from functools import cache

from martensite.reporting import (
    render_certificates,
    render_comparison,
    render_leaderboard,
    render_robustness,
    render_run,
    render_union,
)

from . import samples

LONG = "a-class-name-without-any-place-to-break-" * 4
PAGES: dict[str, Callable[[], str]] = {
    "run": lambda: render_run(samples.rich_run(), samples.pairs()),
    "robustness": lambda: render_robustness(samples.rich(), samples.pairs(3, clean_confidence=None)),
    "union": lambda: render_union(samples.union()),
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
