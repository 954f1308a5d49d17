"""What every page is made of: one HTML file that holds everything it shows, asks nothing of the network and runs no code.

Names of classes, files and models come from outside, so the templates escape everything; a policy inside the page forbids
scripts and requests even if that should fail. Tabs, theme and sorting are CSS alone (`:target`, `:checked`, `:has`): the policy
can stay absolute, and the page works where scripts are stripped, as in mail and in the artefact viewers of most CIs.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from martensite.evaluation.report import Environment as Versions
from martensite.evaluation.report import Report
from martensite.reporting import formats, reasons, words

LIMIT = 2 * 1024 * 1024 - 1  # bytes of a page
# One entry a sample: what is left out first where a report is too large for its page.
BY_SAMPLE = frozenset({"outcomes", "broken_by", "distances", "radius", "agreement", "margins"})


@dataclass(frozen=True)
class Tab:
    """A part of a page that is shown alone on a screen, and with all others on paper.

    Attributes:
        at: Its id, by which an address can name it.
        label: What the row of tabs calls it.
        parts: Templates under ``parts/``, without their ending; one that has nothing to show is left out.
    """

    at: str
    label: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Panel:
    """A tab with its content."""

    at: str
    label: str
    body: Markup


@dataclass(frozen=True)
class Embedded:
    """A report's JSON, safe inside a script element.

    Attributes:
        text: The JSON; None if there was no room for it.
        whole: Nothing was left out.
    """

    text: Markup | None
    whole: bool = True


def render_page(
    template: str, report: Report | None, versions: Versions, tabs: Sequence[Tab | Panel] = (), **context: Any
) -> str:
    """A whole HTML document below 2 MiB.

    Args:
        template: Of the page.
        report: To embed.
        versions: What it was made with.
        tabs: Of the page, drawn already or to be drawn; those with nothing to show are left out.
        context: Whatever else its templates need.
    """
    jinja, context = environment(), {"environment": versions, **context}
    context["css"] = Markup(files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8"))
    context["panels"] = panels(jinja, tabs, context)
    for embedded in embeddings(report):
        page = jinja.get_template(template).render(embedded=embedded, **context)
        if len(page.encode()) <= LIMIT:
            break
    return page


def panels(jinja: Environment, tabs: Sequence[Tab | Panel], context: dict[str, Any]) -> list[Panel]:
    """The tabs that have something to show."""
    found = []
    for tab in tabs:
        if isinstance(tab, Panel):
            found.append(tab)
            continue
        body = "".join(jinja.get_template(f"parts/{part}.html.j2").render(context) for part in tab.parts)
        if body.strip():
            found.append(Panel(tab.at, tab.label, Markup(body)))
    return found


@cache
def environment() -> Environment:
    """Jinja with this package's templates, filters and words."""
    found = Environment(
        loader=PackageLoader("martensite.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (
        formats.percent,
        formats.interval,
        formats.points,
        formats.number,
        formats.p_value,
        formats.count,
        formats.cost,
        formats.seconds,
        formats.settings,
        formats.kind,
        formats.stage_name,
        words.norm_name,
        words.eps_text,
        words.threat_sentence,
        words.robust_sentence,
        words.verdict_sentence,
        words.certified_sentence,
        words.check_name,
        words.sentence,
        words.method_name,
        words.calibration_sentence,
    )
    found.filters |= {function.__name__: function for function in shown}
    found.globals |= {
        "limits": words.limits,
        "certificate_limits": words.certificate_limits,
        "reasons": reasons.reasons,
        "at": "",
    }
    return found


def embeddings(report: Report | None) -> Iterator[Embedded]:
    """The JSON of a report, then without its single samples, then none: the first for which there is room is taken."""
    if report is not None:
        yield Embedded(Markup(_safe(report.model_dump_json())))
        short = json.dumps(_without_samples(report.model_dump(mode="json")), separators=(",", ":"))
        yield Embedded(Markup(_safe(short)), whole=False)
    yield Embedded(None)


def _safe(text: str) -> str:
    # Inside JSON these characters occur in strings only, where \u escapes mean the same.
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _without_samples(document: Any) -> Any:
    """The same document, still a report, with every list of one entry a sample empty."""
    if isinstance(document, dict):
        emptied: dict[str, Any] = {key: [] for key, value in document.items() if key in BY_SAMPLE and isinstance(value, list)}
        return {key: _without_samples(value) for key, value in document.items()} | emptied
    return [_without_samples(entry) for entry in document] if isinstance(document, list) else document
