"""The JSON Schemas of the predicates, as they are shipped in ``schemas/``: for readers in other languages.

After a change of a predicate: ``python -m martensite.artifacts.attest.schemas`` writes them anew.
"""

import json
from importlib.resources import files
from pathlib import Path

from martensite.artifacts.attest.predicates import KINDS


def schema_text(kind: str) -> str:
    """The schema of a predicate, as a file holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": KINDS[kind].uri()}
    return json.dumps(schema | KINDS[kind].model_json_schema(mode="serialization"), indent=2) + "\n"


def shipped(kind: str) -> str:
    """The shipped file."""
    return (files("martensite.artifacts.attest") / "schemas" / f"{kind}.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    for name in KINDS:
        Path(__file__).with_name("schemas").joinpath(f"{name}.json").write_text(schema_text(name), encoding="utf-8")
