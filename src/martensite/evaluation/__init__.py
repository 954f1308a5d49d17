"""Measuring robustness: suites of attacks, intervals, self-checks, the typed reports."""

from martensite.evaluation.anytime import Decision, anytime_rate, decide
from martensite.evaluation.calibration import expected_calibration_error
from martensite.evaluation.certify_report import summarise_certificates
from martensite.evaluation.clever import clever
from martensite.evaluation.compare import ComparisonReport, compare
from martensite.evaluation.corrupting import corruption_error
from martensite.evaluation.corruption import CorruptionError, relative_corruption_error
from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.evaluate import evaluate
from martensite.evaluation.intervals import clopper_pearson, paired_difference, wilson
from martensite.evaluation.paired import difference, holm, mcnemar
from martensite.evaluation.planner import samples_for, shortfall
from martensite.evaluation.report import CertificationReport, Rate, RobustnessReport, RunReport, Verdict
from martensite.evaluation.restate import restated
from martensite.evaluation.sandwich import SandwichReport, sandwich
from martensite.evaluation.seeds import variation, varied
from martensite.evaluation.several import check_different, evaluate_union, until_sure
from martensite.evaluation.suite import Suite, load_suite
from martensite.evaluation.surrogate import Distillation, distil
from martensite.evaluation.transferability import TransferMatrix, transfer_matrix
from martensite.evaluation.union import UnionReport, union
from martensite.evaluation.variation import Variation

__all__ = [
    "CertificationReport",
    "ComparisonReport",
    "CorruptionError",
    "Decision",
    "Diagnostic",
    "Distillation",
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
    "check_different",
    "clever",
    "clopper_pearson",
    "compare",
    "corruption_error",
    "decide",
    "difference",
    "distil",
    "evaluate",
    "evaluate_union",
    "expected_calibration_error",
    "holm",
    "load_suite",
    "mcnemar",
    "paired_difference",
    "relative_corruption_error",
    "restated",
    "samples_for",
    "sandwich",
    "shortfall",
    "summarise_certificates",
    "transfer_matrix",
    "union",
    "until_sure",
    "variation",
    "varied",
    "wilson",
]
