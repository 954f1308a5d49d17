"""Defences on the command line: ``jpeg:quality=75`` to parts, several bundles to an ensemble, and what is shown of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.artifacts.manifest import Manifest
    from martensite.artifacts.preprocess import Preprocess
    from martensite.defenses import Defence, InputRules
    from martensite.evaluation import RobustnessReport
    from martensite.evaluation.diversity import Diversity
    from martensite.models import Classifier


def read_part(text: str) -> dict[str, Any]:
    """``"jpeg:quality=75"`` as the mapping that a registry builds from; values are read as YAML.

    Raises:
        ConfigError: a setting without an equals sign, or given twice.
    """
    from martensite.cli.options import parameters

    kind, _, rest = text.partition(":")
    return parameters(kind, _settings(rest))


def read_parts(
    transforms: Sequence[str],
    detectors: Sequence[str],
    voting: str | None,
    rate: float,
    rules: "InputRules | None",
    *,
    hardened: bool,
    ensemble: bool,
) -> "Defence | None":
    """The defence that the options state; None if an ensemble is all.

    Raises:
        ConfigError: nothing was stated, or something that is unknown.
    """
    from martensite.cli.options import read_settings
    from martensite.defenses import DETECTORS, TRANSFORMS, Defence, Voting

    if not (transforms or detectors or voting or rules):
        if ensemble:
            return None
        raise ConfigError("no defence was stated", "something must stand around the model", "e.g. --transform jpeg:quality=75")
    return Defence(
        transforms=tuple(TRANSFORMS.build(read_part(one)) for one in transforms),
        voting=None if voting is None else Voting.parse(read_settings(_settings(voting))),
        detectors=tuple(DETECTORS.build(read_part(one)) for one in detectors),
        false_alarms=rate,
        rules=rules,
        hardened=hardened,
    )


def ensemble_of(
    bundles: Sequence[Path], manifests: "Sequence[Manifest]", models: "Sequence[Classifier]", how: str | None
) -> "Classifier":
    """The model of one bundle, or of several joined.

    Raises:
        ConfigError: several without ``--ensemble``, one with it, an unknown way to join, classes of other names.
    """
    from typing import get_args

    from martensite.core.config import nearest
    from martensite.defenses import join
    from martensite.defenses.ensemble import Combine

    if (how is None) != (len(models) == 1):
        remedy = "add --ensemble probabilities" if how is None else "give several bundles, or leave --ensemble out"
        raise ConfigError(f"{len(models)} bundles were given", "several are joined as an ensemble, and only several", remedy)
    if how is None:
        return models[0]
    if how not in get_args(Combine):
        raise ConfigError(
            f"--ensemble is {how!r}", "members answer together in one of these ways", nearest(how, get_args(Combine))
        )
    for bundle, manifest in zip(bundles, manifests, strict=True):
        if manifest.class_names != manifests[0].class_names:
            raise ConfigError(
                f"{bundle} names its classes otherwise than {bundles[0]}", "a class number must mean the same to all"
            )
    return join(models, how)  # type: ignore[arg-type]


def same_preparation(bundles: Sequence[Path], steps: "Sequence[Preprocess | None]") -> "Preprocess | None":
    """The preprocessing that all of them share.

    Raises:
        ConfigError: they differ.
    """
    for bundle, one in zip(bundles, steps, strict=True):
        if one != steps[0]:
            raise ConfigError(
                f"{bundle} prepares inputs otherwise than {bundles[0]}", "members of an ensemble get the same input"
            )
    return steps[0]


def show_defences(out: Path, model: "Classifier", plan: "Defence | None", diverse: "Diversity | None") -> None:
    """What stands around the model now."""
    from martensite.cli.progress import plain, show
    from martensite.defenses import Defended

    if plan is not None:
        show(f"Defences: {plain(', '.join(plan.names))}")
    if isinstance(model, Defended) and model.panel is not None:
        counts = {len(one.calibrated) for one in model.fitted}
        show(f"Alarm: at most {plan.false_alarms if plan else 0:.2%} of clean inputs, calibrated on {max(counts):,} samples.")
    if diverse is not None:
        show(f"Diversity on {diverse.n:,} samples: mean cosine of the members' gradients {diverse.mean_cosine:.2f};")
        rates = [[("-" if rate is None else f"{rate.value:.0%}") for rate in row] for row in diverse.transfer.rates]
        for name, row in zip(diverse.transfer.names, rates, strict=True):
            show(f"  adversarials of {plain(name)} break {', '.join(row)} (in the order given)")
    show(f"Bundle: {plain(out)}. How robust it is now, an adaptive attack says: martensite evaluate {plain(out)}")


def show_naive_and_honest(report: "RobustnessReport") -> None:
    """The figure of attackers who know a defence, beside that of attackers who don't; nothing of an undefended model."""
    from martensite.cli.progress import plain, show

    found = report.defence
    if found is None:
        return
    show(f"Defended by {plain(', '.join(found.names))}.")
    if found.naive is not None:
        show(f"  naive:  {found.naive}, under {plain(found.naive_attack)}: attackers who don't know the defence")
    if found.adaptive:
        show(f"  [bold]honest: {report.robust_accuracy}[/], under all attacks, adapted: {plain('; '.join(found.adaptive))}")
    else:
        show("  [red]honest: not measured[/], for no attack was adapted to the defence")
    if found.refused is not None:
        allowed = "" if found.false_alarms is None else f"; its detectors were allowed {found.false_alarms:.2%}"
        show(f"  refuses {found.refused} of the clean inputs{allowed}. An attack that is refused has failed.")


def _settings(text: str) -> list[str]:
    """``"a=1,b=[2, 3]"`` cut at the commas outside brackets."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "[{(") - (letter in ")}]")
        if letter == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]
