"""Artifacts: a model as safe files."""

from martensite.artifacts.bundle import Manifest, load_bundle, read_manifest, read_weights, save_bundle

__all__ = ["Manifest", "load_bundle", "read_manifest", "read_weights", "save_bundle"]
