"""Stage 3: show how the baseline breaks."""

from pathlib import Path

import torch
from safetensors.torch import save

from martensite.attacks import attack
from martensite.core.files import write_bytes, write_json
from martensite.evaluation.report import Rate
from martensite.pipeline.context import Run

SHOWN = 12  # adversarials kept for the report's gallery


def attack_stage(run: Run, folder: Path) -> None:
    """Leaves attacks.json, and examples.safetensors with some adversarials of the last attack that found any."""
    plan, data, model = run.pipeline, run.data("test"), run.baseline()
    rows, shown, examples = [], "", {"index": torch.zeros(0, dtype=torch.int64), "adversarial": data.x[:0]}
    for method in plan.attack:
        result = attack(method, model, data.x, data.y, plan.threat, seed=plan.seed, listener=run.listener)
        rate = Rate.of(int(result.robust.sum()), len(data))
        rows.append({"attack": method.model_dump(mode="json"), "robust_accuracy": rate.model_dump(mode="json")})
        broken = (result.success & result.correct).nonzero().flatten()
        if len(broken):
            shown = method.kind
            chosen = broken[torch.linspace(0, len(broken) - 1, min(SHOWN, len(broken))).long()]
            examples = {"index": chosen, "adversarial": result.adversarial[chosen].contiguous()}
    write_json(folder / "attacks.json", rows)
    write_bytes(folder / "examples.safetensors", save(examples, {"attack": shown}))
