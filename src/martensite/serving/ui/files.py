"""The files of the page, and what a browser is told about them.

The page itself holds nothing about the server, so anyone may have it; the record behind it takes a key. Names in the record (of
models, classes, keys, requests) come from outside: the script writes them as text only, and the policy forbids the browser any
script, style, picture or connection that isn't this server's own, and any way of turning text into code.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup

from martensite import __version__
from martensite.reporting.page import environment

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src data:", "base-uri 'none'",
    "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
))  # fmt: skip
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
KINDS = {"js": "text/javascript", "css": "text/css", "html": "text/html"}


@dataclass(frozen=True)
class File:
    """A file as it is sent.

    Attributes:
        content: Of it.
        kind: Its media type.
    """

    content: bytes
    kind: str


@cache
def page_files(keys: bool) -> dict[str, File]:
    """Name under ``/ui/`` to file; ``""`` is the page. The reports' stylesheet comes first, so that all pages are one family.

    Args:
        keys: An API key is asked for.
    """
    found = {"": File(_page("asked" if keys else "none").encode(), KINDS["html"])}
    for one in files(__package__).joinpath("static").iterdir():
        kind = KINDS[one.name.rpartition(".")[2]]
        found[one.name] = File(one.read_bytes(), kind)
    report = files("martensite.reporting").joinpath("templates", "report.css").read_bytes()
    found["monitor.css"] = File(report + b"\n" + found["monitor.css"].content, KINDS["css"])
    return found


def _page(keys: str) -> str:
    frame = environment()
    text = files(__package__).joinpath("page.html.j2").read_text(encoding="utf-8")
    status = Markup('<p id="pulse" class="pulse" role="status"></p>')
    return frame.from_string(text).render(version=__version__, what="monitor", beside=status, keys=keys)
