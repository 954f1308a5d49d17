"""Charts as inline SVG: altair draws, vl-convert renders, the page's own CSS colours them.

Every colour in a chart is a CSS custom property, which Vega hands through untouched, so one drawing follows the page from light
to dark and onto paper. A large chart is drawn twice, for wide and for narrow screens, because a scaled-down chart has text that
nobody can read; the stylesheet shows one of the two.

Altair is slow to load: functions that draw import it, so that a page without charts, or no page, waits for nothing.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import vl_convert
from markupsafe import Markup

if TYPE_CHECKING:
    import altair as alt

Size = tuple[int, int]
WIDE: Size = (720, 320)
NARROW: Size = (340, 260)
SMALL: Size = (320, 170)  # one of several
LAYOUT = {
    "autosize": {"type": "fit", "contains": "padding"},
    "padding": {"left": 2, "right": 14, "top": 8, "bottom": 2},
    "background": "transparent",
}
AXIS = {
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "labelFontSize": 12,
    "titleFontSize": 12,
    "titleFontWeight": "normal",
    "titlePadding": 10,
    "labelPadding": 6,
    "domainColor": "var(--rule)",
    "tickColor": "var(--rule)",
    "gridColor": "var(--line)",
    "tickSize": 4,
}
CONFIG = {
    "aria": False,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": AXIS,
    "axisY": {"domain": False, "ticks": False},
}


@dataclass(frozen=True)
class Key:
    """An entry of a legend: ``"baseline"`` or ``"hardened"`` names colour, dash and marker, ``"band"`` an interval."""

    key: str
    label: str


@dataclass(frozen=True)
class Chart:
    """A drawn chart with everything that someone who can't see it needs.

    Attributes:
        svg: The drawing, or the wide and the narrow one.
        legend: What is drawn.
        description: The text alternative.
        head: Names of the columns of the same figures as a table.
        rows: Of that table; a cell is a figure and what stands small beside it.
        title: Above it, where there are several.
    """

    svg: Markup
    legend: tuple[Key, ...]
    description: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, str], ...], ...]
    title: str = ""


def layers(parts: Sequence[Any], size: Size) -> Markup:
    """Altair's layers as one drawing of that size."""
    import altair as alt

    spec: dict[str, Any] = alt.layer(*parts).properties(width=size[0], height=size[1]).to_dict(validate=False)
    return finish(vl_convert.vegalite_to_svg(spec | LAYOUT | {"config": CONFIG}))


def wide_and_narrow(draw: Callable[[Size], Sequence[Any]]) -> Markup:
    """A large chart in both sizes, from its layers for a size."""
    sizes = {"wide": WIDE, "narrow": NARROW}
    return Markup("").join(
        Markup('<div class="{}">{}</div>').format(name, layers(draw(size), size)) for name, size in sizes.items()
    )


def table(rows: list[dict[str, Any]]) -> "alt.Data":
    """Rows for altair."""
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def finish(svg: str) -> Markup:
    """SVG for the inside of an HTML page: no namespaces, no fixed size, nothing for a screen reader to stumble over."""
    svg = re.sub(r' (?:xmlns(?::\w+)?|version|role|aria-[a-z]+)="[^"]*"', "", svg)
    return Markup(  # Vega escapes its text
        re.sub(r'<svg class="marks" width="[^"]*" height="[^"]*"', '<svg aria-hidden="true" focusable="false"', svg, count=1)
    )
