"""The stages of a run, in order: each takes the run and a folder to fill."""

from martensite.pipeline.stages.attack import attack_stage
from martensite.pipeline.stages.bundle import bundle_stage
from martensite.pipeline.stages.certify import certify_stage
from martensite.pipeline.stages.data import data_stage
from martensite.pipeline.stages.evaluate import evaluate_stage
from martensite.pipeline.stages.gate import gate_stage
from martensite.pipeline.stages.harden import harden_stage
from martensite.pipeline.stages.report import report_stage
from martensite.pipeline.stages.train import train_stage

STAGES = {
    "data": data_stage,
    "train": train_stage,
    "attack": attack_stage,
    "harden": harden_stage,
    "evaluate": evaluate_stage,
    "certify": certify_stage,
    "bundle": bundle_stage,
    "gate": gate_stage,
    "report": report_stage,
}

__all__ = ["STAGES"]
