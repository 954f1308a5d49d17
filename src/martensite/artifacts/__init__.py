"""Artifacts: a model as safe files. Names are loaded when first used, so that signing waits for no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from martensite.artifacts.bundle import check_savable, load_bundle, read_preprocess, save_bundle
    from martensite.artifacts.manifest import Manifest, read_manifest
    from martensite.artifacts.preprocess import Preprocess
    from martensite.artifacts.weights import read_weights

_HOMES = {
    "Manifest": "manifest",
    "Preprocess": "preprocess",
    "check_savable": "bundle",
    "load_bundle": "bundle",
    "read_manifest": "manifest",
    "read_preprocess": "bundle",
    "read_weights": "weights",
    "save_bundle": "bundle",
}

__all__ = [
    "Manifest",
    "Preprocess",
    "check_savable",
    "load_bundle",
    "read_manifest",
    "read_preprocess",
    "read_weights",
    "save_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
