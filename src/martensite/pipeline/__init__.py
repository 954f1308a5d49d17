"""The pipeline: stages, the YAML, the run directory, resume."""

from martensite.pipeline.config import Pipeline, example, load_pipeline
from martensite.pipeline.directory import check_place
from martensite.pipeline.render import render
from martensite.pipeline.run import run

__all__ = ["Pipeline", "check_place", "example", "load_pipeline", "render", "run"]
