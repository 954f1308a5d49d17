"""ONNX models and TensorFlow graphs: protocol buffers without magic bytes, told apart by the fields that they have."""

from martensite.artifacts.scan import onnx_model, tensorflow_graph
from martensite.artifacts.scan.protobuf import BadMessage, fields
from martensite.artifacts.scan.source import Source
from martensite.artifacts.scan.visit import Visit

NAME = "protobuf"
MOST = 5_000_000  # fields at the top: nodes of a frozen graph
KINDS = {
    # fields of the message: (with bytes, with a number, at least one of these)
    onnx_model.NAME: ({2, 3, 4, 6, 7, 8, 14, 20, 25, 26}, {1, 5}, {7, 25}),
    "savedmodel": ({2}, {1}, {2}),
    "keras-metadata": ({1}, set[int](), {1}),
    "graphdef": ({1, 2, 4}, {3}, {1}),
}


def recognises(visit: Visit) -> bool:
    """The whole file is one message, with the fields of a model and no others."""
    if visit.raw or visit.source.size < 4:
        return False
    texts, numbers = set[int](), set[int]()
    try:
        for count, (number, value) in enumerate(fields(visit.source)):
            (texts if isinstance(value, Source) else numbers).add(number)
            if number > 30 or count > MOST:
                return False
            if count % 1024 == 0:
                visit.tick()
    except BadMessage:
        return False
    fits = [
        name for name, (bytes_of, numbers_of, one) in KINDS.items() if texts <= bytes_of and numbers <= numbers_of and texts & one
    ]
    visit.kept["protobuf"] = fits = [name for name in fits if _plausible(name, visit.source)]
    return bool(fits)


def inspect(visit: Visit) -> None:
    """As each model that it may be."""
    kinds: list[str] = visit.kept["protobuf"]
    for name in kinds:
        visit.format = name
        try:
            if name == onnx_model.NAME:
                onnx_model.inspect(visit)
            else:
                tensorflow_graph.inspect(visit, name)
        except BadMessage:
            visit.report("protobuf-broken", "unjudged", f"it is no whole {name}", "fetch it again")


def _plausible(name: str, source: Source) -> bool:
    """A message that random bytes would hardly be: its submessages are messages as well."""
    try:
        if name == onnx_model.NAME:
            return onnx_model.plausible(source)
        return tensorflow_graph.plausible(source, name)
    except BadMessage:
        return False
