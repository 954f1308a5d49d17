"""Documents of the protocol, as the OpenAPI page shows them. Inference requests are read by `request`, without these."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]


class Document(BaseModel):
    """Base: further keys are allowed, as the protocol's extensions add some."""

    model_config = ConfigDict(frozen=True)


class Error(Document):
    """Why a request was turned away."""

    error: str


class Live(Document):
    """The process answers."""

    live: bool


class Ready(Document):
    """Whether all models serve, and why not."""

    ready: bool
    reasons: dict[str, str] = Field(default_factory=dict)


class ServerMetadata(Document):
    """This server."""

    name: str
    version: str
    extensions: list[str]


class Tensor(Document):
    """A tensor that a model takes or gives; -1: any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Document):
    """A model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    parameters: dict[str, Any] = Field(default_factory=dict)


class InputTensor(Document):
    """A tensor with its numbers, row by row, flat or nested; or in binary after the JSON, with binary_data_size."""

    name: str
    datatype: Datatype
    shape: list[int] = Field(min_length=1)
    data: list[Any] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class WantedOutput(Document):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferRequest(Document):
    """An inference request."""

    id: str | None = None
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class OutputTensor(Document):
    """A tensor of the answer."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: list[Any] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


class InferResponse(Document):
    """An answer.

    ``parameters`` holds the gravest decision among the samples; where detectors are installed, also the least p-value and its
    score.
    """

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    outputs: list[OutputTensor]
