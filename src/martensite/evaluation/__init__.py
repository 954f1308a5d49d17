"""Measuring robustness: suites of attacks, intervals, the typed reports."""

from martensite.evaluation.certify_report import summarise_certificates
from martensite.evaluation.evaluate import evaluate
from martensite.evaluation.intervals import clopper_pearson, paired_difference, wilson
from martensite.evaluation.report import CertificationReport, Rate, RobustnessReport, RunReport, Verdict
from martensite.evaluation.sandwich import SandwichReport, sandwich
from martensite.evaluation.suite import Suite, load_suite
from martensite.evaluation.union import UnionReport, evaluate_union, union

__all__ = [
    "CertificationReport",
    "Rate",
    "RobustnessReport",
    "RunReport",
    "SandwichReport",
    "Suite",
    "UnionReport",
    "Verdict",
    "clopper_pearson",
    "evaluate",
    "evaluate_union",
    "load_suite",
    "paired_difference",
    "sandwich",
    "summarise_certificates",
    "union",
    "wilson",
]
