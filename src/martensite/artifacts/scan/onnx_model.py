"""ONNX: weights in other files, which must lie beside the model, and operators that need somebody's library.

https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3 and docs/ExternalData.md: a location is relative to the model's folder.
"""

from collections.abc import Iterator
from itertools import chain

from martensite.artifacts.scan.protobuf import fields, inside, text
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.zips import escapes

NAME = "onnx"
GRAPH, FUNCTION, TRAINING = 7, 25, 20
KNOWN = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview")
DEEPEST = 32  # graphs within graphs


def plausible(source: Source) -> bool:
    """A graph with nodes, inputs, outputs or weights, or a function."""
    graph = next(chain(inside(source, GRAPH), inside(source, FUNCTION)), None)
    if graph is None:
        return False
    found = {number for number, _ in fields(graph)}
    return bool(found) and found <= set(range(1, 16))


def inspect(visit: Visit) -> None:
    """Every tensor and node, in functions and in the branches of If and Loop as well."""
    domains: set[str] = set()
    for graph, is_function in _graphs(visit.source):
        visit.tick()
        for node in inside(graph, 7 if is_function else 1):
            domains.update(text(value) for number, value in fields(node) if number == 7 and isinstance(value, Source))
            for attribute in inside(node, 5):
                for number, value in fields(attribute):
                    if number in (5, 10) and isinstance(value, Source):
                        _tensor(visit, value)
        if not is_function:
            for tensor in inside(graph, 5):
                _tensor(visit, tensor)
            for sparse in inside(graph, 15):
                for number, value in fields(sparse):
                    if number in (1, 2) and isinstance(value, Source):
                        _tensor(visit, value)
    own = {text(value) for function in inside(visit.source, FUNCTION) for number, value in fields(function)
           if number in (3, 10) and isinstance(value, Source)}  # fmt: skip
    for domain in sorted(domains - set(KNOWN) - own):
        reason = f"its operators of {domain} need a library, which runs as native code"
        remedy = "register no library that came with the model"
        visit.report("onnx-operators", "suspicious", reason, remedy)


def _graphs(source: Source) -> Iterator[tuple[Source, bool]]:
    waiting: list[tuple[Source, bool, int]] = [(graph, False, 0) for graph in inside(source, GRAPH)]
    waiting += [(graph, False, 0) for step in (1, 2) for graph in inside(source, TRAINING, step)]
    waiting += [(function, True, 0) for function in inside(source, FUNCTION)]
    while waiting:
        graph, is_function, depth = waiting.pop()
        yield graph, is_function
        if depth < DEEPEST:
            for number in (6, 11):
                waiting += [(inner, False, depth + 1) for inner in inside(graph, 7 if is_function else 1, 5, number)]


def _tensor(visit: Visit, tensor: Source) -> None:
    for entry in inside(tensor, 13):
        pair = {number: text(value, 4096) for number, value in fields(entry) if isinstance(value, Source)}
        if pair.get(1) != "location":
            continue
        place = pair.get(2, "")
        if escapes(place.replace("\\", "/")) or "://" in place:
            reason = f"it reads weights from {place}, outside its folder"
            visit.report("onnx-external", "dangerous", reason, "don't load it; ask for a model with its weights inside")
        elif visit.depth == 0:
            visit.run.references.add(place)
