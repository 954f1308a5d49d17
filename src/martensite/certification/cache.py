"""Designs on disk: worked out once for their parameters, read back ever after.

A file is named by its parameters and the version of the method. It holds its own digest: one that is truncated, altered or of
something else is worked out again and replaced. A disk that refuses the file costs time, nothing else.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from martensite.certification.anytime import anytime_design
from martensite.certification.design import Design, fixed_design, sequential_design
from martensite.core.config import canonical_json
from martensite.core.errors import StorageError
from martensite.core.files import sha256, write_text

VERSION = 1  # of the designs: raise it with any change of what they are
Test = Literal["sequential", "fixed", "anytime"]
MAKERS = {"sequential": sequential_design, "fixed": fixed_design, "anytime": anytime_design}


def folder() -> Path:
    """``$MARTENSITE_CACHE/designs``, by default under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    home = os.environ.get("MARTENSITE_CACHE")
    if home:
        return Path(home) / "designs"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "martensite" / "designs"


def design(test: Test, q: float, alpha: float, n: int) -> Design:
    """The design of a test, from the disk if it is there and whole."""
    parameters = {"version": VERSION, "test": test, "q": q.hex(), "alpha": alpha.hex(), "n": n}
    file = folder() / f"{sha256(canonical_json(parameters).encode()).removeprefix('sha256:')[:32]}.json"
    found = _read(file, parameters, q, alpha)
    if found is None:
        found = MAKERS[test](q, alpha, n)
        with suppress(StorageError):
            write_text(file, canonical_json(_document(parameters, found)) + "\n")
    return found


def digest(designs: tuple[Design, ...]) -> str:
    """``"sha256:..."`` of looks and thresholds, for the record of a certificate."""
    return sha256(canonical_json([_body(one) | {"q": one.q.hex(), "alpha": one.alpha.hex()} for one in designs]).encode())


def _body(one: Design) -> dict[str, Any]:
    return {"looks": one.looks, "reject": one.reject, "futile": one.futile, "spent": one.spent.hex()}


def _document(parameters: dict[str, Any], one: Design) -> dict[str, Any]:
    content = {"parameters": parameters, "design": _body(one)}
    return {**content, "digest": sha256(canonical_json(content).encode())}


def _read(file: Path, parameters: dict[str, Any], q: float, alpha: float) -> Design | None:
    try:
        document = json.loads(file.read_bytes())
        content = {"parameters": document["parameters"], "design": document["design"]}
        if document["digest"] != sha256(canonical_json(content).encode()) or document["parameters"] != parameters:
            return None
        body = document["design"]
        looks, reject, futile = (tuple(int(value) for value in body[name]) for name in ("looks", "reject", "futile"))
        return Design(q, alpha, looks, reject, futile, float.fromhex(body["spent"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
