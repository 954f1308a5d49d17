"""What a report says about a training run."""

import dataclasses

import torch

from martensite.data import Dataset
from martensite.evaluation.report import TrainingRecord
from martensite.models import Classifier
from martensite.pipeline.stages.train import training_record
from martensite.training import Recovery, TrainingSettings, train
from martensite.training.objectives import Standard


def test_cost_recoveries_and_verdict_are_in_the_record():
    x = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    data, held = (Dataset(part, (part[:, 0] > 0.5).long(), 2) for part in (x[:40], x[40:]))
    settings = TrainingSettings(epochs=2, guards=None)
    result = train(Classifier(torch.nn.Linear(3, 2), 2), data, held, settings=settings)
    record = training_record(result, Standard(), settings)
    assert (record.verdict, record.recoveries) == ("completed", ())
    assert record.standard_epochs == (2 * 40 + 2 * 40 + 2 * 20) / (2 * 40)
    assert TrainingRecord.model_validate_json(record.model_dump_json()) == record
    made = Recovery("divergence", "the loss is no number", 7, 4, "the learning rate times 0.5")
    stopped = dataclasses.replace(result, recoveries=(made,), verdict="stopped after 1 recoveries: the loss is no number")
    record = training_record(stopped, Standard(), settings)
    assert record.recoveries == ("batch 7: the loss is no number; the learning rate times 0.5",)
    assert record.verdict.startswith("stopped")
