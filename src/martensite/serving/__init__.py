"""Serving: models that are served because their evidence verifies. Needs the extra ``serve``."""

from martensite.serving.app import create_app
from martensite.serving.config import ModelConfig, ServeConfig
from martensite.serving.fleet import Fleet
from martensite.serving.observer import Batch, Change, Judged, Observer, Reply, Share
from martensite.serving.run import serve

__all__ = [
    "Batch",
    "Change",
    "Fleet",
    "Judged",
    "ModelConfig",
    "Observer",
    "Reply",
    "ServeConfig",
    "Share",
    "create_app",
    "serve",
]
