"""Stage 3: show how the baseline breaks."""

from pathlib import Path

from martensite.attacks import attack
from martensite.core.files import write_json
from martensite.evaluation.report import Rate
from martensite.pipeline.context import Run


def attack_stage(run: Run, folder: Path) -> None:
    """Leaves attacks.json."""
    plan, data, model = run.pipeline, run.data("test"), run.baseline()
    rows = []
    for method in plan.attack:
        result = attack(method, model, data.x, data.y, plan.threat, seed=plan.seed, listener=run.listener)
        rate = Rate.of(int(result.robust.sum()), len(data))
        rows.append({"attack": method.model_dump(mode="json"), "robust_accuracy": rate.model_dump(mode="json")})
    write_json(folder / "attacks.json", rows)
