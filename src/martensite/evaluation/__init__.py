"""Measuring robustness: suites of attacks, intervals, self-checks, the typed reports."""

from martensite.evaluation.anytime import Decision, anytime_rate, decide
from martensite.evaluation.calibration import expected_calibration_error
from martensite.evaluation.certify_report import summarise_certificates
from martensite.evaluation.clever import clever
from martensite.evaluation.compare import ComparisonReport, compare
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.evaluate import evaluate
from martensite.evaluation.intervals import clopper_pearson, paired_difference, wilson
from martensite.evaluation.paired import difference, holm, mcnemar
from martensite.evaluation.planner import samples_for
from martensite.evaluation.report import CertificationReport, Rate, RobustnessReport, RunReport, Verdict
from martensite.evaluation.sandwich import SandwichReport, sandwich
from martensite.evaluation.seeds import Variation, variation
from martensite.evaluation.suite import Suite, load_suite
from martensite.evaluation.transferability import TransferMatrix, transfer_matrix
from martensite.evaluation.union import UnionReport, evaluate_union, union

__all__ = [
    "CertificationReport",
    "ComparisonReport",
    "Decision",
    "Diagnostic",
    "Rate",
    "RobustnessReport",
    "RunReport",
    "SandwichReport",
    "Suite",
    "TransferMatrix",
    "UnionReport",
    "Variation",
    "Verdict",
    "anytime_rate",
    "clever",
    "clopper_pearson",
    "compare",
    "decide",
    "difference",
    "evaluate",
    "evaluate_union",
    "expected_calibration_error",
    "holm",
    "load_suite",
    "mcnemar",
    "paired_difference",
    "samples_for",
    "sandwich",
    "summarise_certificates",
    "transfer_matrix",
    "union",
    "variation",
    "wilson",
]
