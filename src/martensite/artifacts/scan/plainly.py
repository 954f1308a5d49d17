"""A pickle with joblib's arrays in it, as who doesn't know of them reads it: the arrays' bytes are opcodes then.

In an honest file such a reader soon comes to a byte that is no opcode, or to an import of a name that the memo mixed up and that
is no module of anyone's. What counts is an import that would do something, and one that might succeed.
"""

import importlib.util
import sys

from martensite.artifacts.scan.imports import IDENTIFIER, judge
from martensite.artifacts.scan.record import Walk
from martensite.artifacts.scan.symbols import Global
from martensite.artifacts.scan.visit import Visit
from martensite.artifacts.scan.walk import walk


def report_plain(visit: Visit, walks: list[Walk]) -> None:
    """Say what a plain unpickler imports that joblib does not come to.

    Args:
        visit: The file.
        walks: Its pickles, as joblib reads them.
    """
    known, start = {thing for found in walks for thing in found.imports}, 0
    for found in walks:
        plain = walk(visit.source, start)
        start = found.end
        named = next((one for one in plain.reached if one not in known and _works(one)), None)
        if named is None and plain.computed <= found.computed:
            continue
        what = str(named) if named is not None else "a name that it computes"
        reason = f"who loads it without joblib takes the bytes of its arrays for opcodes, and imports {what}"
        visit.report("pickle-import", "dangerous", reason, "don't load it; get the weights as safetensors from whoever made it")


def _works(thing: Global) -> bool:
    severity, _ = judge(thing.module, thing.name)
    if severity != "suspicious" or not IDENTIFIER.fullmatch(thing.module) or not IDENTIFIER.fullmatch(thing.name):
        return severity == "dangerous"
    top = thing.module.split(".")[0]
    try:
        return top in sys.stdlib_module_names or importlib.util.find_spec(top) is not None
    except (ImportError, ValueError, AttributeError):
        return False
