"""Schemathesis against our own description: whatever it makes up, no answer is a 500, and each is one that is described."""

import json
import warnings

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
OURS = (
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/{model}",
    "/v2/models/{model}/infer",
    "/v2/models/{model}/ready",
    "/v2/models/{model}/versions/{version}",
    "/v2/models/{model}/versions/{version}/infer",
    "/v2/models/{model}/versions/{version}/ready",
    "/v2/repository/index",
    "/v2/repository/models/{model}/load",
)


@pytest.fixture(scope="module")
def description(plain):
    return plain.get("/openapi.json").json()


def test_every_path_of_ours_is_described(description):
    assert set(OURS) <= set(description["paths"])


def send(plain, case):
    """A case of schemathesis to the application, without a socket."""
    request = case.as_transport_kwargs(base_url="http://localhost")
    known = {name: request[name] for name in ("headers", "cookies", "params", "json") if name in request}
    if "data" in request:
        data = request["data"]
        known["content"] = data if isinstance(data, (bytes, str)) else json.dumps(data)
    return plain.request(httpx.Request(request["method"], request["url"], **known))


def try_path(plain, description, path, examples):
    """The statuses of so many requests to a path, half of them to a model that is there."""
    schema = schemathesis.openapi.from_dict({**description, "paths": {path: description["paths"][path]}})
    (operation,) = (result.ok() for result in schema.get_all_operations())
    seen = []

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy())
    def attempt(case):
        if "model" in case.path_parameters and len(seen) % 2:
            case.path_parameters["model"] = "tiny"
        response = send(plain, case)
        seen.append(response.status_code)
        case.validate_response(schemathesis.Response.from_httpx(response, verify=False), checks=CHECKS)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt()
    return seen


INPUT = {"name": "input", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": [0.5] * 16}


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({}, True),
        ({"id": None}, False),
        ({"id": "x" * 257}, False),
        ({"outputs": None}, False),
        ({"outputs": []}, True),
        ({"parameters": None}, False),
        ({"parameters": {"more": 1}}, True),
        ({"parameters": {"binary_data_output": 1}}, False),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}]}, False),
        ({"inputs": []}, False),
        ({"inputs": [INPUT, INPUT]}, False),
        ({"inputs": [{**INPUT, "datatype": "BYTES"}]}, False),
        ({"inputs": [{**INPUT, "data": None}]}, False),
        ({"inputs": [{**INPUT, "shape": [-1, 1, 4, 4]}]}, False),
        ({"inputs": [{**INPUT, "shape": [1] * 17}]}, False),
        ({"inputs": [{**INPUT, "parameters": {"binary_data_size": -1}}]}, False),
    ],
)
def test_the_description_takes_what_the_server_takes(plain, description, changes, right):
    jsonschema = pytest.importorskip("jsonschema")
    document = {"inputs": [INPUT], **changes}
    schema = {"$ref": "#/components/schemas/InferRequest", "components": description["components"]}
    assert jsonschema.Draft202012Validator(schema).is_valid(document) == right
    assert plain.post("/v2/models/tiny/infer", json=document).status_code == (200 if right else 400)


@pytest.mark.parametrize("path", OURS)
def test_no_answer_is_a_server_error(plain, description, path):
    seen = try_path(plain, description, path, 12)
    assert seen
    assert max(seen) < 500


@pytest.mark.slow
@pytest.mark.parametrize("path", OURS)
def test_no_answer_is_a_server_error_at_length(plain, description, path):
    seen = try_path(plain, description, path, 500)
    assert seen
    assert max(seen) < 500
