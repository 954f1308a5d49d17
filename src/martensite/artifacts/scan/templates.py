"""Jinja templates, as chat templates have them: parsed and never rendered.

A template that is rendered outside a sandbox reaches any Python object by attributes (``''.__class__.__mro__``).
"""

import re

from jinja2 import Environment, TemplateError, nodes

from martensite.artifacts.scan.visit import Visit

LONGEST = 1 << 18  # characters
INTERNAL = re.compile(
    r"__\w+|\b(mro|func_globals|gi_frame|gi_code|cr_frame|f_globals|f_builtins|tb_frame|popen|subprocess|builtins)\b|\\x5f|\\u005f|\|\s*attr\b",
    re.IGNORECASE,
)
HARMLESS_DUNDERS = re.compile(r"__(content|role|name|tool\w*|system\w*|eos\w*|bos\w*|image\w*|video\w*|audio\w*)__")
EXTENSIONS = ("jinja2.ext.loopcontrols", "jinja2.ext.do")
GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")  # a tag of transformers, which marks a part and does nothing
BY_ATTRIBUTE = frozenset({"selectattr", "rejectattr", "groupby"})
TELLING = frozenset({"_", "mro", "popen", "func_globals", "gi_frame", "f_globals"})
DOORS = frozenset({"lipsum", "cycler", "joiner", "self", "request", "config", "url_for", "get_flashed_messages", "os", "sys"})
REMEDY = "render it in a sandbox only (jinja2.sandbox.ImmutableSandboxedEnvironment), or replace it"


def judge_template(visit: Visit, text: str) -> None:
    """Report what a template reaches for."""
    if len(text) > LONGEST:
        visit.report("template-size", "suspicious", f"its template has {len(text):,} characters", REMEDY)
        return
    try:
        tree = Environment(extensions=EXTENSIONS).parse(GENERATION.sub("", text))
    except (TemplateError, RecursionError, ValueError):
        if found := INTERNAL.search(HARMLESS_DUNDERS.sub("", text)):
            _reaches(visit, found[0])
        return  # an extension's tag, most likely, and no name that leads anywhere
    for node in tree.find_all((nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Name, nodes.Const, nodes.Call)):
        if isinstance(node, nodes.Getattr) and INTERNAL.fullmatch(node.attr):
            _reaches(visit, node.attr)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const) and _internal(node.arg.value):
            _reaches(visit, str(node.arg.value))
        elif isinstance(node, nodes.Filter) and node.name == "attr":
            _reaches(visit, "an attribute that it computes (attr)")
        elif isinstance(node, nodes.Filter) and _computes(node):
            _reaches(visit, f"an attribute that it computes ({node.name})")
        elif isinstance(node, nodes.Name) and node.ctx == "load" and node.name in DOORS:
            visit.report(
                "template-name", "suspicious", f"its template uses {node.name}, which leads to Python's internals", REMEDY
            )
        elif isinstance(node, nodes.Const) and isinstance(node.value, str) and _internal(HARMLESS_DUNDERS.sub("", node.value)):
            visit.report("template-text", "suspicious", f"its template holds the text {node.value[:60]!r}", REMEDY)
    for _ in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        visit.report("template-file", "suspicious", "its template reads another template", REMEDY)


def _internal(value: object) -> bool:
    return isinstance(value, str) and ("__" in value or "%c" in value or value.strip() in TELLING)


def _computes(node: nodes.Filter) -> bool:
    """Whether a filter takes an attribute whose name isn't written in the template, or is Python's own."""
    names = [one.value for one in node.kwargs if one.key == "attribute"]
    if node.name in BY_ATTRIBUTE:
        names += node.args[:1]
    if node.name == "map" and node.args and getattr(node.args[0], "value", "attr") == "attr":
        return True
    return any(not isinstance(name, nodes.Const) or _internal(name.value) for name in names)


def _reaches(visit: Visit, what: str) -> None:
    visit.report("template-attribute", "dangerous", f"its template reaches {what}, a way into Python's internals", REMEDY)
