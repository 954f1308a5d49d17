"""Artifacts: a model as safe files."""

from martensite.artifacts.bundle import check_savable, load_bundle, read_preprocess, save_bundle
from martensite.artifacts.manifest import Manifest, read_manifest
from martensite.artifacts.preprocess import Preprocess
from martensite.artifacts.weights import read_weights

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
