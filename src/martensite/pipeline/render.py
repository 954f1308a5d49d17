"""Any report as a page, with its adversarials where they are at hand."""

from pathlib import Path

from martensite.evaluation.compare import ComparisonReport
from martensite.evaluation.examples import load_examples
from martensite.evaluation.report import CertificationReport, RobustnessReport, RunReport
from martensite.evaluation.union import UnionReport
from martensite.pipeline.directory import RunDirectory
from martensite.pipeline.gallery import pairs
from martensite.pipeline.stages import STAGES
from martensite.reporting import render_certificates, render_comparison, render_robustness, render_run, render_union

AnyReport = RobustnessReport | RunReport | UnionReport | ComparisonReport | CertificationReport
EXAMPLES = "examples.safetensors"  # beside the report.json of an evaluation


def part(folder: Path, number: int) -> Path:
    """Where the report of one of several threat models lies, counted from 1."""
    return folder / f"threat-{number}"


def render(report: AnyReport, folder: Path) -> str:
    """The HTML of a report.

    Args:
        report: Of any kind.
        folder: Where it lies. What an evaluation left beside it, or in its run directory, is its gallery.
    """
    if isinstance(report, UnionReport):
        places = enumerate(report.reports, start=1)
        found = [load_examples(part(folder, number) / EXAMPLES, one.model_digest, one.data.digest) for number, one in places]
        return render_union(report, found)
    if isinstance(report, ComparisonReport):
        return render_comparison(report)
    if isinstance(report, CertificationReport):
        return render_certificates(report)
    if isinstance(report, RobustnessReport):
        return render_robustness(report, load_examples(folder / EXAMPLES, report.model_digest, report.data.digest))
    directory = RunDirectory(folder, tuple(STAGES))
    return render_run(report, pairs(directory, report) if directory.finished("evaluate") else ())
