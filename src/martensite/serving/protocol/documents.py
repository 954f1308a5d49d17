"""Documents of the protocol, as the OpenAPI page shows them. Inference requests are read by `request`, without these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from martensite.serving.protocol.request import DIMENSIONS, LONGEST

Number = Literal["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
Datatype = Number | Literal["BYTES"]
Side = Annotated[int, Field(ge=0)]


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


class InputParameters(Document):
    """Of an input."""

    binary_data_size: int = Field(default_factory=int, ge=0, description="Bytes after the JSON, in place of data.")


class InputTensor(Document):
    """A tensor with its numbers, row by row, flat or nested; or in binary after the JSON, with binary_data_size."""

    name: str
    datatype: Number
    shape: list[Side] = Field(min_length=1, max_length=DIMENSIONS)
    data: list[Any] = Field(default_factory=list)
    parameters: InputParameters = Field(default_factory=InputParameters)


class OutputParameters(Document):
    """Of an output that is asked for."""

    binary_data: bool = Field(default_factory=bool, description="It comes in binary, whatever the request says of all.")


class WantedOutput(Document):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters = Field(default_factory=OutputParameters)


class RequestParameters(Document):
    """Of a request."""

    binary_data_output: bool = Field(default_factory=bool, description="Outputs come in binary.")


class InferRequest(Document):
    """An inference request."""

    id: str = Field(default_factory=str, max_length=LONGEST)
    inputs: list[InputTensor] = Field(min_length=1, max_length=1)
    outputs: list[WantedOutput] = Field(default_factory=list, description="None: all.")
    parameters: RequestParameters = Field(default_factory=RequestParameters)


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


class IndexRequest(Document):
    """Which models to list."""

    ready: bool = Field(default=False, description="Only those that may be asked.")


class Indexed(Document):
    """A version of a model, or a model of which none is loaded."""

    name: str
    version: str = ""
    state: Literal["READY", "UNAVAILABLE"]
    reason: str = ""
