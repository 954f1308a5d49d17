"""The OpenAPI page: plain HTML made from the description, without a script and without a foreign host."""

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1c1e21;background:#fff}"
    "h2{font:600 1rem ui-monospace,monospace;margin:1.6rem 0 .2rem}b{color:#0b5cad;margin-right:.6rem}"
    "table{border-collapse:collapse}td{padding:.1rem 1rem .1rem 0;vertical-align:top}td:first-child{font-family:ui-monospace}"
    "pre{background:#f3f4f6;padding:.8rem;overflow:auto}"
    "@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181c}pre{background:#23262b}b{color:#7cb7ff}}"
)
EXAMPLE = """{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.0, 0.5, ...]}]}"""


@router.get("/docs", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """Every path, with its answers."""
    document: dict[str, Any] = request.app.openapi()
    parts = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            rows = "".join(
                f"<tr><td>{escape(status)}<td>{escape(answer['description'])}"
                for status, answer in sorted(operation["responses"].items())
            )
            text = escape(operation.get("description", ""))
            parts.append(f"<h2><b>{method.upper()}</b>{escape(path)}</h2><p>{text}</p><table>{rows}</table>")
    info = document["info"]
    html = (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(info['title'])}</title><style>{STYLE}</style><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        f"<p>{escape(info['description'])} The whole description: <a href=/openapi.json>openapi.json</a>.</p>"
        f"<pre>POST /v2/models/NAME/infer\n{escape(EXAMPLE)}</pre>{''.join(parts)}</html>"
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"})
