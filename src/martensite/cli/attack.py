"""martensite attack: one attack on one model."""

from pathlib import Path
from typing import Annotated

import typer

from martensite.cli import options

NAME = "attack"
EXAMPLES = """Examples:\n
  martensite attack models/baseline --data digits --attack pgd --set steps=100 --eps 0.15\n
  martensite attack models/baseline --data digits --attack fgsm --eps 8/255 --out adversarials.safetensors"""


def command(
    model: options.Model,
    data: options.Data = "digits",
    attack: Annotated[str, typer.Option(metavar="NAME", help="Which attack; an unknown name lists all.")] = "pgd",
    settings: options.Settings = None,
    norm: options.NormOption = None,
    eps: options.Eps = None,
    constraints: options.Rules = None,
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write adversarial, success and distance as safetensors.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Attack a model and say how much of its accuracy is left."""
    from safetensors.torch import save

    from martensite.attacks import ATTACKS
    from martensite.attacks import attack as run_attack
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, show_warnings
    from martensite.cli.progress import Display, show
    from martensite.core.files import write_bytes
    from martensite.evaluation import Rate

    method = ATTACKS.build(options.parameters(attack, settings or []))
    inputs = options.dataset(data, split, label, scale, samples)
    source = load_model(model, weights, inputs, trust_code=trust_code)
    threat = options.threat_model(norm, eps, constraints, source.threat, source.model.box)
    with Display(quiet=json) as display:
        result = run_attack(method, source.model, inputs.x, inputs.y, threat, seed=seed, listener=display)
    if out is not None:
        tensors = {"adversarial": result.adversarial, "success": result.success, "distance": result.distance}
        write_bytes(out, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    clean, robust = Rate.of(int(result.correct.sum()), len(inputs)), Rate.of(int(result.robust.sum()), len(inputs))
    figures = {
        "attack": method.model_dump(mode="json"),
        "threat": threat.model_dump(mode="json"),
        "data": inputs.digest,
        "clean_accuracy": clean.model_dump(mode="json"),
        "robust_accuracy": robust.model_dump(mode="json"),
        "errors": int(result.error.sum()),
        "rejected": result.rejected,
        "messages": list(result.messages),
        "warnings": list(result.warnings),
        "forwards": result.forwards,
        "backwards": result.backwards,
        "timing": {"seconds": result.seconds},
    }
    if json:
        print_json(figures)
    else:
        show(f"clean accuracy   {clean}\nrobust accuracy  {robust}   under {method.kind}, {threat}, n = {len(inputs)}")
        show(f"{result.forwards:,} forward and {result.backwards:,} backward passes in {result.seconds:.1f} s")
        show_warnings((*result.messages, *result.warnings))
    return 0
