"""Text: JSON, YAML, templates, source code. Text that names no code is clean."""

import codecs
import re

from martensite.artifacts.scan import torchscript
from martensite.artifacts.scan.configuration import judge_json
from martensite.artifacts.scan.templates import judge_template
from martensite.artifacts.scan.visit import Visit

NAME = "text"
CODE = (".py", ".sh", ".bat", ".cmd", ".ps1", ".js", ".rb", ".pl", ".lua", ".ipynb", ".pth", ".so", ".cu")
CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")
YAML_OBJECT = re.compile(r"!!python/|tag:yaml\.org,2002:py|^%TAG\s", re.MULTILINE)


def recognises(visit: Visit) -> bool:
    """UTF-8 without control characters, all of it."""
    if CONTROL.search(visit.head):
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in visit.source.chunks():
            if CONTROL.search(piece):
                return False
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def inspect(visit: Visit) -> None:
    """What it names."""
    text = visit.text()
    if text is None:
        visit.report("text-size", "unjudged", f"it is a text of {visit.source.size:,} bytes, more than is read", "leave it out")
        return
    if torchscript.SOURCE.search(visit.path):
        torchscript.judge_code(visit, text)
        return
    if text.lstrip()[:1] in ("{", "[") and judge_json(visit, text):
        visit.format = "json"
    elif YAML_OBJECT.search(text):
        reason = "its YAML tags build Python objects"
        visit.report("yaml-object", "dangerous", reason, "load it with yaml.safe_load, which refuses them")
    elif visit.name.endswith((".jinja", ".jinja2", ".j2")):
        judge_template(visit, text)
    if visit.name.endswith(CODE) or text.startswith("#!"):
        reason = "it is source code, which a loader may import or a person run"
        visit.report("source-code", "suspicious", reason, "read it, or leave it out; a model's weights need none")
