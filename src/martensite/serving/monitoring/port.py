"""A port for the metrics alone, in a thread of its own: it answers Prometheus when the server is busy."""

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from martensite.core.errors import ConfigError
from martensite.serving.monitoring.collector import registry_of
from martensite.serving.monitoring.live import Live
from martensite.serving.monitoring.settings import Metrics


class MetricsPort:
    """Listens from now on.

    Args:
        settings: With a port.
        live: What is shown.

    Attributes:
        address: Host and port.

    Raises:
        ConfigError: the address can't be bound.
    """

    def __init__(self, settings: Metrics, live: Live) -> None:
        server: WSGIServer
        thread: Thread
        try:
            server, thread = start_http_server(settings.port or 0, settings.host, registry_of(live))
        except OSError as error:
            value = f"{settings.host}:{settings.port} can't be bound: {error.strerror}"
            raise ConfigError(value, "", "choose another monitoring.metrics.port") from None
        self._server, self._thread = server, thread
        self.address: tuple[str, int] = (settings.host, server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
