"""Artifacts: a model as safe files. Names are loaded when first used, so that signing waits for no torch."""

from typing import TYPE_CHECKING

from martensite.core.lazy import on_demand

if TYPE_CHECKING:
    from martensite.artifacts.bundle import check_savable, load_bundle, read_preprocess, save_bundle
    from martensite.artifacts.manifest import Manifest, read_manifest
    from martensite.artifacts.preprocess import Preprocess
    from martensite.artifacts.weights import read_weights

_HOMES = {
    "Manifest": "martensite.artifacts.manifest",
    "Preprocess": "martensite.artifacts.preprocess",
    "check_savable": "martensite.artifacts.bundle",
    "load_bundle": "martensite.artifacts.bundle",
    "read_manifest": "martensite.artifacts.manifest",
    "read_preprocess": "martensite.artifacts.bundle",
    "read_weights": "martensite.artifacts.weights",
    "save_bundle": "martensite.artifacts.bundle",
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

__getattr__ = on_demand(__name__, _HOMES)
