"""serve.yaml: everything that a server is told."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.serving.backends import Kind
from martensite.serving.batching import Batching
from martensite.serving.body import Limits
from martensite.serving.evidence import Evidence
from martensite.serving.gatekeeper import LOCAL, Access
from martensite.serving.ledger import Audit
from martensite.serving.monitoring.settings import Monitoring
from martensite.serving.output import Output
from martensite.serving.queries import Queries
from martensite.serving.traces import Traces

NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$"


class Beside(Config):
    """A bundle beside the one that serves.

    Args:
        bundle: The folder.
        evidence: What is asked of it; None: what is asked of the other, of this bundle's own claims and signature.
    """

    bundle: Path
    evidence: Evidence | None = None

    @field_validator("bundle", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value


class Canary(Beside):
    """A version that answers a part of the requests.

    Args:
        share: Of the requests, in (0, 1).
    """

    share: float = Field(gt=0.0, lt=1.0)


class ModelConfig(Config):
    """One model.

    Args:
        name: In URLs.
        bundle: The folder.
        evidence: What is asked of it before it serves, and while it does.
        canary: Another version, for a share of the requests.
        shadow: Another version that is asked the same and whose answers go to nobody but the observers.
        backend: ``torch`` or ``onnxruntime``.
        batching: How requests are put together.
        output: What of an answer is given away.
        outside: Inputs outside the box are refused, or clipped to it.
        flagged: What becomes of a sample that a detector flags: it is answered, with the decision ``flagged``; or refused; or
            routed to the second model.
        second: Name of that model.
        queries: Watch for queries that look like a search for adversarials; None: don't.
        reload: Load a new version as soon as the folder holds one, or on SIGHUP and on request only.
    """

    name: str = Field(default="model", pattern=NAME)
    bundle: Path
    evidence: Evidence = Field(default_factory=Evidence)
    canary: Canary | None = None
    shadow: Beside | None = None
    backend: Kind = "torch"
    batching: Batching = Field(default_factory=Batching)
    output: Output = Field(default_factory=Output)
    outside: Literal["refuse", "clip"] = "refuse"
    flagged: Literal["answer", "refuse", "route"] = "answer"
    second: str | None = None
    queries: Queries | None = None
    reload: Literal["watch", "asked"] = "watch"

    @field_validator("bundle", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.flagged == "route") != (self.second is not None):
            raise ConfigError("flagged: route and second", "one needs the other", "give both, or neither")
        if self.second == self.name:
            raise ConfigError(f"the second model of {self.name} is itself", "it is another one", "name another model")
        return self


class Tls(Config):
    """TLS by files.

    Args:
        certificate: PEM, with the chain.
        key: PEM.
        clients: PEM of the authorities whose clients may connect; None: any client.
    """

    certificate: Path
    key: Path
    clients: Path | None = None

    @field_validator("certificate", "key", "clients", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value


class ServeConfig(Config):
    """A server.

    Args:
        host: Address that it listens on; others than this machine's own need API keys.
        port: TCP port; 0: any that is free.
        models: One or several.
        access: API keys.
        tls: None: plain HTTP.
        audit: The audit log; None: none is written.
        traces: OpenTelemetry; None: no traces.
        monitoring: What is watched, and what follows from it.
        limits: Of requests.
        connections: Most at a time.
        keep_alive: Seconds that a connection without a request stays open.
        grace: Seconds that requests have left when the server is told to stop.
        threads: Of torch; None: as many as torch takes.
        fail: A model that isn't proven ends the server, or leaves it running, not ready, with the reason.
        insecure_no_evidence: Serve whatever the folders hold. For development: nothing is verified.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    models: tuple[ModelConfig, ...] = Field(min_length=1)
    access: Access = Field(default_factory=Access)
    tls: Tls | None = None
    audit: Audit | None = None
    traces: Traces | None = None
    monitoring: Monitoring = Field(default_factory=Monitoring)
    limits: Limits = Field(default_factory=Limits)
    connections: PositiveInt = 512
    keep_alive: PositiveFloat = 15.0
    grace: NonNegativeFloat = 20.0
    threads: PositiveInt | None = None
    fail: Literal["exit", "open-port"] = "exit"
    insecure_no_evidence: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        names = [one.name for one in self.models]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"two models have the name {repeated!r}", "a name is one model's", "rename one of them")
        for one in self.models:
            if one.second is not None and one.second not in names:
                raise ConfigError(f"the second model of {one.name} is {one.second!r}", f"there are {', '.join(names)}")
        self.access.check(self.host)
        if self.insecure_no_evidence and self.host not in LOCAL:
            rule = "without evidence a server is for development, on this machine alone"
            raise ConfigError(f"insecure_no_evidence with the host {self.host}", rule, "sign the bundle, or serve on 127.0.0.1")
        return self
