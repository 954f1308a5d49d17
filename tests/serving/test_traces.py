"""Traces: what belongs to one request lies in one trace, within its span, and a stranger can't have all of them recorded."""

import ast
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from martensite.core.errors import ConfigError, SignatureError
from martensite.serving import Fleet, create_app, traces
from martensite.serving.traces import Tracer, Traces

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def traced(here, portals):
    """A fleet that is loaded, its client, and the spans that ended."""

    def make(share=1.0, **changes):
        provider, memory = TracerProvider(sampler=ALWAYS_ON), InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(memory))
        fleet = Fleet(here.config(**changes), tracer=Tracer(provider, share))
        return fleet, portals(create_app(fleet)), memory

    return make


@pytest.fixture
def portals():
    from .conftest import Portal

    made = []

    def make(app):
        made.append(Portal(app))
        return made[-1]

    yield make
    for portal in made:
        portal.client._transport.app.state.fleet.close()
        portal.close()


def spans(memory, name):
    return [one for one in memory.get_finished_spans() if one.name == name]


def test_queue_and_batch_lie_in_the_request_and_in_the_clients_trace(traced, x):
    fleet, portal, memory = traced()
    fleet.load()
    assert portal.infer(x, headers={"traceparent": PARENT}, id="seven").status_code == 200
    fleet.close()  # a batch is told of once its answers are on their way
    (request,) = spans(memory, "POST /v2/models/{model}/infer")
    (waiting,), (computed,) = spans(memory, "queue"), spans(memory, "batch")
    assert f"{request.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    for one in (waiting, computed):
        assert one.context.trace_id == request.context.trace_id
        assert one.parent.span_id == request.context.span_id
    assert request.start_time <= waiting.start_time + 2_000_000 <= waiting.end_time + 2_000_000  # two clocks
    assert waiting.end_time == computed.start_time < computed.end_time
    assert computed.attributes["martensite.samples"] == len(x)
    about = request.attributes
    assert about["http.response.status_code"] == 200
    assert (about["martensite.model"], about["martensite.key"], about["martensite.request"]) == ("tiny", "anyone", "seven")


def test_requests_of_one_batch_keep_their_own_traces(traced, x):
    fleet, portal, memory = traced(model={"batching": {"max_wait": 0.2}})
    fleet.load()
    body = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 1, 4, 4], "data": [0.5] * 16}]}
    going = [portal.start(portal.client.post("/v2/models/tiny/infer", json={**body, "id": str(n)})) for n in range(4)]
    assert {one.result(60).status_code for one in going} == {200}
    fleet.close()
    requests = spans(memory, "POST /v2/models/{model}/infer")
    assert len({one.context.trace_id for one in requests}) == 4
    assert {one.parent.span_id for one in spans(memory, "batch")} == {one.context.span_id for one in requests}


def test_refusals_are_spans_without_a_batch(traced, x):
    fleet, portal, memory = traced()
    fleet.load()
    assert portal.infer(x, model="none").status_code == 404
    assert portal.infer(x + 9).status_code == 400
    statuses = [one.attributes["http.response.status_code"] for one in spans(memory, "POST /v2/models/{model}/infer")]
    assert statuses == [404, 400]
    assert not spans(memory, "batch")


def test_probes_have_no_spans(traced):
    _, portal, memory = traced()
    assert portal.get("/v2/health/live").status_code == 200
    assert memory.get_finished_spans() == ()


def test_a_verification_is_a_span_and_a_refusal_its_error(traced, here):
    fleet, _, memory = traced()
    fleet.load()
    fleet.slots["tiny"].judge_again("primary")
    first, second = spans(memory, "verify")
    assert first.status.is_unset and second.status.is_unset  # noqa: PT018
    assert first.attributes["martensite.verdict"] == "PASS"
    assert first.end_time > first.start_time
    (here.one / "model.json").write_text("{}")
    with pytest.raises(SignatureError):
        fleet.load()
    assert "model.json" in spans(memory, "verify")[-1].status.description


@pytest.mark.parametrize("trace", ["f" * 32, "1".rjust(32, "0"), "1" + "0" * 31], ids=["high", "low", "zero"])
def test_a_client_cannot_have_its_requests_recorded(traced, x, trace):
    fleet, portal, memory = traced(share=1e-9)
    fleet.load()
    assert portal.infer(x, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}).status_code == 200
    fleet.close()
    assert not spans(memory, "POST /v2/models/{model}/infer")
    assert not spans(memory, "batch")


@pytest.mark.parametrize("trace", ["f" * 32, "1".rjust(32, "0")], ids=["high", "low"])
def test_a_client_cannot_keep_its_requests_from_being_recorded(traced, x, trace):
    fleet, portal, memory = traced(share=1 - 1e-9)
    fleet.load()
    assert portal.infer(x, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-00"}).status_code == 200
    fleet.close()
    assert spans(memory, "POST /v2/models/{model}/infer")


def test_a_collector_is_sent_them(here, fleets, x):
    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            import gzip

            raw = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}/v1/traces"
    fleet = fleets(here.config(traces={"endpoint": endpoint, "service": "here"}))
    fleet.close()
    server.shutdown()
    thread.join()
    server.server_close()
    (resource,) = got[0].resource_spans
    assert ("service.name", "here") in [(one.key, one.value.string_value) for one in resource.resource.attributes]
    assert [one.name for one in resource.scope_spans[0].spans] == ["verify"]


def test_a_collector_that_is_away_costs_no_answer(here, fleets, portals, x):
    fleet = fleets(here.config(traces={"endpoint": "http://127.0.0.1:9/v1/traces"}))
    assert portals(create_app(fleet)).infer(x).status_code == 200


def test_without_the_setting_nothing_of_the_sdk_is_imported():
    for path in Path(traces.__file__).parent.rglob("*.py"):
        top = [one for one in ast.parse(path.read_text()).body if isinstance(one, ast.Import | ast.ImportFrom)]
        assert "opentelemetry" not in " ".join(ast.unparse(one) for one in top), path


def test_an_address_is_one_of_http():
    with pytest.raises(ConfigError, match="http://"):
        Traces(endpoint="collector:4318")
