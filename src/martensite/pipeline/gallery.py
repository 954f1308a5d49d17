"""Adversarials of both models, for the page: what their evaluations kept."""

from dataclasses import replace

from martensite.evaluation.examples import Pair, load_examples
from martensite.evaluation.report import RunReport
from martensite.pipeline.directory import RunDirectory

SHOWN = 6  # of each model


def pairs(directory: RunDirectory, report: RunReport) -> list[Pair]:
    """Those that the evaluation stage left, the baseline's first.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    found = []
    for name, measured in (("baseline", report.baseline), ("hardened", report.hardened)):
        file = directory.stage("evaluate") / f"{name}.safetensors"
        if not file.is_file():
            raise directory.damaged("evaluate", file.name, FileNotFoundError("it is missing"))
        kept = load_examples(file, measured.model_digest, measured.data.digest)
        found += [replace(pair, model=name) for pair in kept[:SHOWN]]
    return found
