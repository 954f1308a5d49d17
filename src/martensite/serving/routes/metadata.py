"""What is served here, and what it takes."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from martensite import __version__
from martensite.serving.line import Line
from martensite.serving.protocol.documents import ModelMetadata, Ready, ServerMetadata, Tensor
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.errors import ERRORS
from martensite.serving.slot import Slot

EXTENSIONS = ["binary_tensor_data", "model_repository"]
router = APIRouter(prefix="/v2", tags=["metadata"], responses=ERRORS)


@router.get("", response_model=ServerMetadata)
async def server(request: Request) -> ServerMetadata:
    """The server."""
    admit(request, "metadata")
    return ServerMetadata(name="martensite", version=__version__, extensions=EXTENSIONS)


@router.get("/models/{model}", response_model=ModelMetadata, response_model_exclude_none=True)
async def model(request: Request, model: str) -> ModelMetadata:
    """A model."""
    admit(request, "metadata", model)
    slot = fleet_of(request).slot(model)
    return _describe(slot, slot.described())


@router.get("/models/{model}/versions/{version}", response_model=ModelMetadata, response_model_exclude_none=True)
async def version(request: Request, model: str, version: str) -> ModelMetadata:
    """One of its versions."""
    admit(request, "metadata", model)
    slot = fleet_of(request).slot(model)
    return _describe(slot, slot.described(version))


@router.get("/models/{model}/ready", response_model=Ready, responses={503: {"model": Ready}})
async def model_ready(request: Request, model: str) -> JSONResponse:
    """Whether a model may be asked."""
    admit(request, "metadata", model)
    return _ready(model, fleet_of(request).slot(model).reason)


@router.get("/models/{model}/versions/{version}/ready", response_model=Ready, responses={503: {"model": Ready}})
async def version_ready(request: Request, model: str, version: str) -> JSONResponse:
    """Whether this version may be asked."""
    admit(request, "metadata", model)
    return _ready(model, fleet_of(request).slot(model).described(version).out)


def _ready(name: str, reason: str) -> JSONResponse:
    document = Ready(ready=not reason, reasons={name: reason} if reason else {})
    return JSONResponse(document.model_dump(), 503 if reason else 200)


def _describe(slot: Slot, line: Line) -> ModelMetadata:
    manifest, config = line.loaded.manifest, slot.config
    outputs = config.output.described(manifest.classes, line.detects)
    shape: list[int] = [-1, *line.takes]
    about: dict[str, Any] = {
        "version": line.version,
        "digest": line.loaded.digest,
        "box": list(manifest.box if line.loaded.preprocess is None else line.loaded.preprocess.levels),
        "evidence": line.loaded.verdict.verdict if line.loaded.verdict is not None else "NONE: for development only",
    }
    if manifest.class_names:
        about["class_names"] = list(manifest.class_names)
    if manifest.threat is not None:
        about["threat"] = str(manifest.threat)
    return ModelMetadata(
        name=slot.name,
        versions=slot.versions,
        platform=f"martensite_{config.backend}",
        inputs=[Tensor(name="input", datatype="FP32", shape=shape)],
        outputs=[Tensor(name=name, datatype=kind, shape=sides) for name, (kind, sides) in outputs.items()],
        parameters=about,
    )
