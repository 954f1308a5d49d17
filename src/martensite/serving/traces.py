"""OpenTelemetry traces: a span for each request, for its time in the queue and in a batch, and for each verification.

Spans are told to a collector by OTLP over HTTP, from a thread of its own; one that is away costs spans and never an answer.
Without the setting no SDK is imported, and nothing is done for a request.
"""

from contextvars import ContextVar
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.serving.observer import Batch, Judged, Observer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

TRACED = ("/v2/models/", "/v2/repository/")  # probes and pages would drown them
NANO = 1_000_000_000

# The span of the request that this task answers, as a context of OpenTelemetry; None: it isn't traced.
ORIGIN: ContextVar[Any] = ContextVar("origin", default=None)


class Traces(Config):
    """Where spans go.

    Args:
        endpoint: Of a collector: OTLP over HTTP.
        share: Of the requests that are traced, in (0, 1]; drawn by chance, whatever a client wishes and whatever trace it names.
        service: Name under which they are found.
    """

    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    share: float = Field(default=1.0, gt=0.0, le=1.0)
    service: str = "martensite"

    @field_validator("endpoint")
    @classmethod
    def _address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ConfigError(f"the endpoint {value!r}", "a collector has an http:// or https:// address", "e.g. .../v1/traces")
        return value


class Tracer(Observer):
    """Makes the spans.

    Args:
        provider: Takes them; see `Tracer.to` for one that sends them to a collector.
        share: Of the requests that are traced.
    """

    def __init__(self, provider: "TracerProvider", share: float = 1.0) -> None:
        from opentelemetry.propagators.textmap import Getter
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        class Headers(Getter[Any]):
            def get(self, carrier: Any, key: str) -> list[str] | None:
                wanted = key.encode()
                return [value.decode("latin-1") for name, value in carrier if name == wanted] or None

            def keys(self, carrier: Any) -> list[str]:
                return [name.decode("latin-1") for name, _ in carrier]

        self._provider, self._tracer = provider, provider.get_tracer("martensite.serving")
        self._share, self._chance = share, SystemRandom()
        self._propagator, self._headers = TraceContextTextMapPropagator(), Headers()

    @classmethod
    def to(cls, settings: Traces) -> "Tracer":
        """One that sends spans to a collector.

        Raises:
            ConfigError: the extra isn't installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON
        except ImportError:
            raise ConfigError("traces need an extra", "", "pip install 'martensite[otel]'") from None
        provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create({"service.name": settings.service}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint, timeout=2)))
        return cls(provider, settings.share)

    def begin(self, method: str, headers: Any) -> "Span":
        """The span of a request, in the trace that the client says it belongs to."""
        from opentelemetry.trace import INVALID_SPAN, SpanKind

        if self._chance.random() >= self._share:  # OpenTelemetry's samplers go by the trace's id, which a client chooses
            return INVALID_SPAN
        context = self._propagator.extract(headers, getter=self._headers)
        return self._tracer.start_span(method, context=context, kind=SpanKind.SERVER, attributes={"http.request.method": method})

    def batch(self, batch: Batch) -> None:
        """The queue and the batch of every request that is traced."""
        begun, ended = round(batch.started * NANO), round((batch.started + batch.seconds) * NANO)
        about: dict[str, Any] = {
            "martensite.model": batch.model, "martensite.version": batch.version, "martensite.route": batch.route,
        }  # fmt: skip
        for share in batch.shares:
            if share.origin is None:
                continue
            came = begun - round(share.waited * NANO)
            waiting = self._tracer.start_span("queue", context=share.origin, start_time=came, attributes=about)
            waiting.set_attribute("martensite.queued", batch.queued)
            waiting.end(begun)
            computed = self._tracer.start_span("batch", context=share.origin, start_time=begun, attributes=about)
            computed.set_attributes({
                "martensite.batch.samples": len(batch.x),
                "martensite.batch.requests": len(batch.shares),
                "martensite.samples": share.stop - share.start,
            })  # fmt: skip
            computed.end(ended)

    def judged(self, judged: Judged) -> None:
        """A verification, of which one that refuses is an error."""
        from opentelemetry.trace import StatusCode

        begun = round(judged.started * NANO)
        about = {
            "martensite.model": judged.model, "martensite.version": judged.version, "martensite.digest": judged.digest,
            "martensite.route": judged.route, "martensite.verdict": str(judged.verdict.get("verdict", "")),
        }  # fmt: skip
        span = self._tracer.start_span("verify", start_time=begun, attributes=about)
        if judged.reason:
            span.set_status(StatusCode.ERROR, judged.reason[:2000])
        span.end(begun + round(judged.seconds * NANO))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


class Traced:
    """ASGI: a span around every request for a model.

    Args:
        app: What answers.
        tracer: Makes the span.
    """

    def __init__(self, app: Any, tracer: Tracer) -> None:
        self._app, self._tracer = app, tracer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(TRACED):
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import StatusCode, set_span_in_context

        span, status = self._tracer.begin(scope["method"], scope["headers"]), 500

        async def noting(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        token = ORIGIN.set(set_span_in_context(span) if span.is_recording() else None)
        try:
            await self._app(scope, receive, noting)
        finally:
            ORIGIN.reset(token)
            route = _template(scope)
            if route:
                span.update_name(f"{scope['method']} {route}")
            said = scope.get("state", {})
            found = {
                "http.response.status_code": status, "http.route": route,
                "martensite.model": scope.get("path_params", {}).get("model", ""),
                "martensite.key": said.get("key", ""), "martensite.request": said.get("id", ""),
            }  # fmt: skip
            span.set_attributes({name: value for name, value in found.items() if value})
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            span.end()


def _template(scope: Any) -> str:
    if found := getattr(scope.get("route"), "path", ""):
        return str(found)
    taken = scope.get("path_params") or {}  # without a route: the short way to inference
    return f"/v2/models/{{model}}{'/versions/{version}' if 'version' in taken else ''}/infer" if "model" in taken else ""
