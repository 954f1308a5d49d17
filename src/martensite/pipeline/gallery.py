"""Clean-against-adversarial pairs of the baseline, for the report."""

import torch
from safetensors import SafetensorError, safe_open

from martensite.models import Classifier, undisturbed
from martensite.pipeline.context import Run
from martensite.reporting import Pair


def pairs(run: Run) -> list[Pair]:
    """The adversarials that the attack stage kept, with what the baseline says of each and how surely."""
    data, model = run.data("test"), run.baseline()
    file = run.directory.stage("attack") / "examples.safetensors"
    try:
        with safe_open(file, "pt") as stored:
            shown, examples = stored.metadata()["attack"], {name: stored.get_tensor(name) for name in ("index", "adversarial")}
    except (SafetensorError, OSError, LookupError, TypeError) as error:
        raise run.directory.damaged("attack", file.name, error) from None
    names, index = data.class_names, examples["index"].tolist()
    if not index:
        return []
    clean_class, clean_confidence = _answer(model, data.x[index])
    class_now, confidence_now = _answer(model, examples["adversarial"])
    return [
        Pair(
            index=place,
            clean=data.x[place],
            adversarial=examples["adversarial"][row],
            label=names[int(data.y[place])],
            clean_prediction=names[clean_class[row]],
            clean_confidence=clean_confidence[row],
            adversarial_prediction=names[class_now[row]],
            adversarial_confidence=confidence_now[row],
            attack=shown,
            model="baseline",
        )
        for row, place in enumerate(index)
    ]


def _answer(model: Classifier, x: torch.Tensor) -> tuple[list[int], list[float]]:
    with undisturbed(model), torch.inference_mode():
        confidence, predicted = model(x).softmax(1).max(1)
    return predicted.tolist(), confidence.tolist()
