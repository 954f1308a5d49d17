"""martensite attack: one attack on one model."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options
from martensite.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from martensite.data import Dataset

NAME = "attack"
EXAMPLES = """Examples:\n
  martensite attack models/baseline --data digits --attack pgd --set steps=100 --eps 0.15\n
  martensite attack models/baseline --data digits --attack fgsm --eps 8/255 --out adversarials.safetensors\n
  martensite attack models/hardened --data mnist:data/mnist --attack autoattack --precision auto --store work/\n
  martensite attack models/hardened --data digits --attack mi_fgsm --surrogate models/baseline --target 3\n
  martensite attack model.onnx --data digits --attack square --eps 0.1 --queries 500"""


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
    target: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="CLASS", help="The class to reach, from all others; default: to leave the label.", show_default=False
        ),
    ] = None,
    surrogate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Make adversarials on this bundle or factory, and judge them on MODEL; several: on their mean.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Forward passes on each sample, at most.", show_default=False)
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Of the whole run, at most; what it cuts short was not measured: an error.", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            metavar="N", help="Samples a batch, or 'auto': by a short measurement. Default: 125 on a CPU.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="Of the search: float32, bfloat16 or auto, whichever is faster. Success is decided in the model's own.",
        ),
    ] = "float32",
    store: options.Store = None,
    endpoint: options.Endpoint = None,
    seed: options.Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", dir_okay=False, help="Write adversarial, success and distance as safetensors.", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> int:
    """Attack a model and say how much of its accuracy is left. Exit code 3: some samples could not be measured."""
    import torch
    from safetensors.torch import save

    from martensite.attacks import ATTACKS, Budget, transfer
    from martensite.attacks import attack as run_attack
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, show_warnings
    from martensite.cli.progress import Display, show
    from martensite.cli.query_source import load_any
    from martensite.core.files import check_place, write_bytes
    from martensite.evaluation import Rate

    method = ATTACKS.build(options.parameters(attack, settings or []))
    budget = Budget.parse({"queries": queries, "seconds": seconds})
    how: Any = {"seed": seed, "batch_size": _number(batch_size), "precision": precision, "budget": budget, "store": store}
    inputs = options.dataset(data, split, label, scale, samples)
    judged, bundled = load_any(model, weights, inputs, trust_code, endpoint or ())
    threat = options.threat_model(norm, eps, constraints, bundled, judged.box)
    aim = None
    if target is not None:
        inputs, threat = _towards(target, inputs), threat.model_copy(update={"goal": "targeted"})
        aim = torch.full((len(inputs),), target)
    elif threat.goal == "targeted":
        raise ConfigError("the bundle's threat model is targeted", "the class to reach is stated", "give --target CLASS")
    for place in (out, None if store is None else store / "batch"):
        if place is not None:
            check_place(place)
    makers = [load_model(source, None, inputs, trust_code=trust_code).model for source in surrogate or []]
    with Display(quiet=json) as display:
        if makers:
            result = transfer(method, makers, judged, inputs.x, inputs.y, threat, aim=aim, listener=display, **how)
        else:
            result = run_attack(method, judged, inputs.x, inputs.y, threat, target=aim, listener=display, **how)
    if out is not None:
        tensors = {"adversarial": result.adversarial, "success": result.success, "distance": result.distance}
        write_bytes(out, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    clean, robust = Rate.of(int(result.correct.sum()), len(inputs)), Rate.of(int(result.robust.sum()), len(inputs))
    unmeasured = int(result.error.sum())
    goal = "" if target is None else f" towards class {target}"
    figures = {
        "attack": method.model_dump(mode="json"),
        "threat": threat.model_dump(mode="json"),
        "data": inputs.digest,
        "clean_accuracy": clean.model_dump(mode="json"),
        "robust_accuracy": robust.model_dump(mode="json"),
        "errors": unmeasured,
        "rejected": result.rejected,
        "messages": list(result.messages),
        "warnings": list(result.warnings),
        "forwards": result.forwards,
        "backwards": result.backwards,
        "surrogates": surrogate or [],
        "target": target,
        "batch_size": result.batch_size,
        "precision": result.precision,
        "timing": {"seconds": result.seconds},
    }
    if json:
        print_json(figures)
    else:
        show(f"clean accuracy   {clean}\nrobust accuracy  {robust}   under {method.kind}{goal}, {threat}, n = {len(inputs)}")
        show(f"{result.forwards:,} forward and {result.backwards:,} backward passes in {result.seconds:.1f} s")
        if unmeasured:
            best = Rate.of(robust.count + unmeasured, len(inputs))
            show(f"not measured     {unmeasured} samples, neither robust nor broken: with all of them it would be {best}")
        if result.rejected:
            show(f"rejected         {result.rejected} candidates outside ball or box: a fault of the attack")
        show_warnings((*result.messages, *result.warnings))
    return 3 if unmeasured or result.rejected else 0


def _number(batch_size: str | None) -> Any:
    """A number of samples, ``"auto"``, or None.

    Raises:
        ConfigError: something else.
    """
    if batch_size is None or batch_size == "auto":
        return batch_size
    if not batch_size.isdecimal():
        raise ConfigError(f"--batch-size {batch_size}", "it is a number of samples, or auto", "e.g. --batch-size 125")
    return int(batch_size)


def _towards(target: int, inputs: "Dataset") -> "Dataset":
    """The samples that are of another class than the target.

    Raises:
        DataError: no class of the data, or the class of all samples.
    """
    if target >= inputs.classes:
        raise DataError(f"--target {target}", f"the data has {inputs.classes} classes, counted from 0")
    others = (inputs.y != target).nonzero().flatten()
    if not len(others):
        raise DataError(f"--target {target}", "all samples are of that class", "choose another class, or more --samples")
    return inputs.subset(others)
