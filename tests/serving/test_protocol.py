"""The protocol on the wire, against numpy: whatever can be written is read back, and nothing malformed gets further."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from martensite.serving.protocol.request import Query, read_query
from martensite.serving.protocol.response import write_answer
from martensite.serving.protocol.tensors import DATATYPES
from martensite.serving.refusal import Refusal

FINITE = {"allow_nan": False, "allow_infinity": False}


def arrays():
    shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=4)
    return st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            shapes.flatmap(
                lambda shape: hnp.arrays(
                    np.dtype(DATATYPES[kind]), shape, elements=FINITE if DATATYPES[kind].endswith(("f2", "f4", "f8")) else None
                )
            ),
        )
    )


def as_json(kind, x, data):
    return json.dumps({"inputs": [{"name": "input", "datatype": kind, "shape": list(x.shape), "data": data}]}).encode()


@given(arrays(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_json_tensors_are_read_as_numpy_has_them(pair, nested):
    kind, x = pair
    query = read_query(as_json(kind, x, x.tolist() if nested else x.ravel().tolist()), None)
    assert query.x.dtype == np.dtype(DATATYPES[kind])
    np.testing.assert_array_equal(query.x, x)


@pytest.mark.parametrize("numbers", [[0, 2**63], [2**64 - 1, 1], [[1, 2**63 + 1], [2, 3]]])
def test_whole_numbers_on_both_sides_of_the_sign_bit_are_read_exactly(numbers):
    x = np.array(numbers, dtype="<u8")
    np.testing.assert_array_equal(read_query(as_json("UINT64", x, numbers), None).x, x)


@pytest.mark.parametrize("numbers", [[0, 2**64], [2**63, 0.5], [2**63, -1]])
def test_what_is_no_unsigned_number_is_refused(numbers):
    with pytest.raises(Refusal):
        read_query(as_json("UINT64", np.zeros(2), numbers), None)


@given(arrays(), st.text(max_size=8))
@settings(max_examples=60, deadline=None)
def test_binary_tensors_are_read_as_numpy_has_them(pair, identity):
    kind, x = pair
    raw = x.tobytes()
    head = json.dumps({
        "id": identity,
        "inputs": [{"name": "input", "datatype": kind, "shape": list(x.shape), "parameters": {"binary_data_size": len(raw)}}],
    }).encode()  # fmt: skip
    query = read_query(head + raw, str(len(head)))
    np.testing.assert_array_equal(query.x, x)
    assert query.id == identity


@given(st.lists(st.integers(-1, 9), min_size=1, max_size=5), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_answers_hold_what_was_given_in_json_and_in_binary(labels, scores_binary, words_binary):
    scores = np.random.default_rng(0).random((len(labels), 3)).astype(np.float32)
    words = [f"wörd{one}" for one in labels]
    wanted = {"scores": scores_binary, "label": False, "words": words_binary}
    values = {"scores": scores, "label": np.array(labels), "words": words}
    body, head = write_answer(Query(scores, "", "input", wanted), "m", "1", "q", values, {"decision": "answered"})
    document = json.loads(body[:head])
    found = {one["name"]: one for one in document["outputs"]}
    assert found["label"]["data"] == labels
    rest = body[head:] if head is not None else b""
    if scores_binary:
        size = found["scores"]["parameters"]["binary_data_size"]
        np.testing.assert_array_equal(np.frombuffer(rest[:size], "<f4").reshape(scores.shape), scores)
        rest = rest[size:]
    else:
        np.testing.assert_array_equal(np.array(found["scores"]["data"], np.float32).reshape(scores.shape), scores)
    if words_binary:
        read = []
        while rest:
            (length,) = struct.unpack("<I", rest[:4])
            read.append(rest[4 : 4 + length].decode())
            rest = rest[4 + length :]
        assert read == words
    else:
        assert found["words"]["data"] == words


GOOD = {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [0.0, 1.0]}


def body(**changes):
    return json.dumps({"inputs": [{**GOOD, **changes}]}).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"inputs": {}}',
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        json.dumps({"inputs": [GOOD, GOOD]}).encode(),
        body(datatype="FP128"),
        body(datatype="BYTES"),
        body(datatype=None),
        body(name=3),
        body(shape=[]),
        body(shape=[1, -2]),
        body(shape=[1, 2.0]),
        body(shape=[True, 2]),
        body(shape="12"),
        body(shape=[2**31, 2**31, 2**31]),
        body(shape=[1] * 40),
        body(shape=[1, 3]),
        body(data=None),
        body(data="ab"),
        body(data=["0", "1"]),
        body(data=[[0.0], [1.0, 2.0]]),
        body(data=[[0.0], [1.0]]),
        body(data=[{}, {}]),
        body(data=[None, 1.0]),
        body(data=[[[[0.0, 1.0]]]]),
        body(datatype="UINT8", data=[0, 256]),
        body(datatype="UINT8", data=[0, 1.5]),
        body(datatype="INT64", data=[0, 2**64]),
        body(data=[0.0, 10**400]),
        body(parameters=[]),
        body(parameters={"binary_data_size": 8}),
        b'{"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [NaN, 1.0]}]}',
        b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        json.dumps({"id": 3, "inputs": [GOOD]}).encode(),
        json.dumps({"id": "x" * 300, "inputs": [GOOD]}).encode(),
        json.dumps({"outputs": "label", "inputs": [GOOD]}).encode(),
        json.dumps({"outputs": [{}], "inputs": [GOOD]}).encode(),
        json.dumps({"parameters": {"binary_data_output": 1}, "inputs": [GOOD]}).encode(),
        body() + b"trailing",
    ],
)
def test_a_malformed_request_is_400_and_nothing_worse(raw):
    with pytest.raises(Refusal) as refused:
        read_query(raw, None)
    assert refused.value.status == 400
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("length", ["x", "-1", "99999", "1e3", "9" * 30, "²", ""])
def test_a_wrong_length_of_the_json_part(length):
    with pytest.raises(Refusal, match="Inference-Header-Content-Length"):
        read_query(body(), length)


@pytest.mark.parametrize(
    ("parameters", "tail"),
    [
        ({"binary_data_size": 8}, b"1234567"),
        ({"binary_data_size": 7}, b"1234567"),
        ({"binary_data_size": True}, b"1"),
        ({}, b"12345678"),
    ],
)
def test_bytes_that_do_not_fit(parameters, tail):
    tensor = {name: value for name, value in GOOD.items() if name != "data"} | {"parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    with pytest.raises(Refusal):
        read_query(head + tail, str(len(head)))


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 300).map(str)))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_request_or_a_refusal(raw, length):
    try:
        query = read_query(raw, length)
    except Refusal:
        return
    assert query.x.dtype in {np.dtype(kind) for kind in DATATYPES.values()}


def test_texts_among_the_data_are_refused_before_they_take_memory():
    """numpy would give each of the thousand elements four bytes for every character of the longest: 2.4 GB."""
    body = as_json("FP32", np.zeros(1000), ["a" * 600_000, *[""] * 999])
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="no array of numbers"):
            read_query(body, None)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("data", [["1.5"], [None], [{}], [[1, "a"]], [1, [2]], [[1], 2]], ids=str)
def test_data_that_hold_anything_but_numbers_are_refused(data):
    with pytest.raises(Refusal, match="no array of numbers"):
        read_query(as_json("FP32", np.zeros(len(data)), data), None)
