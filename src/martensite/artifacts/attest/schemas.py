"""The JSON Schemas of the predicates, as they are shipped in ``schemas/``: for readers in other languages."""

import json
from importlib.resources import files

from martensite.artifacts.attest.predicates import KINDS


def schema_text(kind: str) -> str:
    """The schema of a predicate, as a file holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": KINDS[kind].uri()}
    return json.dumps(schema | KINDS[kind].model_json_schema(mode="serialization"), indent=2) + "\n"


def shipped(kind: str) -> str:
    """The shipped file."""
    return (files("martensite.artifacts.attest") / "schemas" / f"{kind}.json").read_text(encoding="utf-8")
