"""Records: the bytes that are hashed are canonical JSON, and nothing goes in that a database would give back otherwise."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from martensite.artifacts.audit.entry import COLUMNS, NOTHING, Entry, Record, line, payload_digest, sealed
from martensite.core.config import canonical_json
from martensite.core.errors import ConfigError

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))


@given(st.integers(1, 10**9), st.lists(TEXT, min_size=9, max_size=9), st.dictionaries(TEXT, JSON, max_size=3))
def test_a_line_is_canonical_json_of_the_record(number, texts, details):
    row = (number, *texts, canonical_json(details), "", NOTHING)
    document = dict(zip(COLUMNS[:13], row, strict=True)) | {"details": details}
    assert line(row) == canonical_json(document).encode()
    assert json.loads(line(row)) == document


def test_the_hash_is_a_leaf_of_rfc_6962():
    row = sealed((1, *["x"] * 9, "{}", "", NOTHING))
    assert row[-1] == hashlib.sha256(b"\x00" + line(row)).hexdigest()
    assert Record(*row).line() == line(row)


@pytest.mark.parametrize("place", range(1, 13))
def test_no_column_holds_anything_but_text(place):
    row = [1, *["x"] * 9, "{}", "", NOTHING]
    row[place] = None if place != 10 else row[place]
    if place == 10:  # details go in as they are, between two quoted texts
        return
    with pytest.raises(TypeError):
        line(tuple(row))


@pytest.mark.parametrize(
    "given",
    [
        {"action": "Train"},
        {"action": ""},
        {"action": "train", "kind": "model"},
        {"action": "train", "subject": "sha256:" + "0" * 64},
        {"action": "train", "kind": "model", "subject": "sha256:" + "g" * 64},
        {"action": "train", "name": "a\x00b"},
        {"action": "train", "name": "\ud800"},
        {"action": "train", "purpose": "x" * 1001},
        {"action": "train", "details": {"x": float("nan")}},
        {"action": "train", "details": {"x": b"bytes"}},
        {"action": "train", "details": {"x": "y" * 70_000}},
        {"action": "train", "payload": "text"},
    ],
)
def test_what_is_refused(given):
    with pytest.raises(ConfigError):
        Entry(**given)


def test_a_payloads_digest_says_nothing_without_its_salt():
    assert payload_digest(b"a" * 32, b"yes") != payload_digest(b"b" * 32, b"yes")
