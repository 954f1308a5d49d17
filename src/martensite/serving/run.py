"""Starting the server and ending it: uvicorn with limits that it has no setting for."""

import asyncio
import gc
import logging
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn

from martensite.core.errors import ConfigError
from martensite.core.heap import keep
from martensite.serving.app import create_app
from martensite.serving.config import ServeConfig, Tls
from martensite.serving.fleet import Fleet
from martensite.serving.handshake import behind_tls
from martensite.serving.observer import Observer
from martensite.serving.patience import patient

SWITCH = 0.0005  # seconds

log = logging.getLogger("martensite.serving")


def serve(config: ServeConfig, observers: Sequence[Observer] = (), started: Callable[[str], None] = lambda url: None) -> None:
    """Load, verify, listen, until SIGTERM or Ctrl-C; what is being answered then is answered.

    Args:
        config: What to serve, and where.
        observers: See `Fleet`.
        started: Told the URL once the address is bound.

    Raises:
        MartensiteError: a model isn't proven (``fail: exit``), or the address can't be bound.
    """
    keep()  # before the threads that compute
    fleet = Fleet(config, observers)
    fleet.load()
    listener = bind(config)
    scheme = "https" if config.tls is not None else "http"
    host, port = listener.getsockname()[:2]
    started(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
    # The event loop and the thread that computes take turns in the interpreter; at the usual 5 ms either waits too long for it.
    sys.setswitchinterval(SWITCH)
    server = Server(uvicorn_config(config, fleet), fleet)
    # What is there now stays: a full collection that walks all of torch's objects would stop the server for 200 ms.
    gc.collect()
    gc.freeze()
    try:
        server.run(sockets=[listener])
    finally:
        gc.unfreeze()


def bind(config: ServeConfig) -> socket.socket:
    """The listening socket: from now on connections wait in it. Raises `ConfigError` where the address is taken."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((config.host, config.port))
        listener.listen(config.connections)
    except OSError as error:
        listener.close()
        raise ConfigError(f"{config.host}:{config.port} can't be bound: {error.strerror}", "", "choose another --port") from None
    return listener


def uvicorn_config(config: ServeConfig, fleet: Fleet) -> uvicorn.Config:
    """What uvicorn is told."""
    protocol: Any = patient(config.limits.head_seconds, config.limits.body_seconds, config.connections)
    if config.tls is not None:
        protocol = behind_tls(protocol, _context(config.tls), config.limits.head_seconds, config.connections)
    return uvicorn.Config(
        create_app(fleet),
        http=protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=round(config.keep_alive),
        timeout_graceful_shutdown=round(config.grace),
    )


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.clients is not None:
            context.load_verify_locations(tls.clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"the TLS files can't be used: {error}", "they are PEM", "look at tls: in serve.yaml") from None
    return context


class Server(uvicorn.Server):
    """uvicorn, which on SIGHUP loads everything anew and says that it isn't ready as soon as it is told to stop."""

    def __init__(self, config: uvicorn.Config, fleet: Fleet) -> None:
        super().__init__(config)
        self._fleet = fleet

    def handle_exit(self, sig: int, frame: Any) -> None:
        # Unlike uvicorn's own, the signal is not raised again afterwards: a server that was told to stop and did so ends with 0.
        self._fleet.stopping = True
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python takes no signals
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._fleet.ask_reload)
        await super().serve(sockets)
