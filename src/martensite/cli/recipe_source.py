"""How to harden, on the command line: a recipe or an objective, and what is changed in it."""

from typing import TYPE_CHECKING, Any

from martensite.cli import options
from martensite.core.errors import ConfigError

if TYPE_CHECKING:
    from martensite.training import Recipe

DEFAULT, LEAST = "balanced", "least_updates"


def load(recipe: str | None, objective: str | None, changes: list[str]) -> "Recipe":
    """The recipe that the options name, with the changes of ``--set``.

    Args:
        recipe: A name or a YAML file.
        objective: An objective, with default settings, instead of a recipe; neither: the recipe `DEFAULT`.
        changes: ``"NAME=VALUE"``: see `Recipe.changed`.

    Raises:
        ConfigError: both are given, no such recipe, objective or parameter, a name given twice.
    """
    from martensite.training import OBJECTIVES, Phase, load_recipe
    from martensite.training import Recipe as Plan

    if recipe is not None and objective is not None:
        raise ConfigError(
            f"--recipe {recipe} and --objective {objective} were given", "a recipe holds its objectives", "leave one of them out"
        )
    settings = options.read_settings(changes)
    if objective is None:
        plan = load_recipe(DEFAULT if recipe is None else recipe)
    else:
        OBJECTIVES.get(objective)
        own = {name: settings.pop(name) for name in [*settings] if not (name == LEAST or "." in name or name.isdigit())}
        member = OBJECTIVES.build({"kind": objective, **own})
        plan = Plan(name=objective, phases=(Phase(objective=member),))
    # What is said of one phase comes last: it stands, whatever is said of all.
    for name in sorted(settings, key=lambda name: name[:1].isdigit()):
        plan = plan.changed(name, settings[name])
    return plan


def check_once(
    changes: list[str],
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    guards: list[str] | None = None,
) -> None:
    """Refuse what ``--set`` and another option, or two of ``--set``, say about the same thing.

    Args:
        changes: As in `load`.
        epochs: As in `adapt`, like all that follow.

    Raises:
        ConfigError: one of the two would be ignored.
    """
    others = {
        "settings.epochs": epochs and f"--epochs {epochs}",
        LEAST: epochs and f"--epochs {epochs}",  # which lifts that minimum
        "settings.lr": lr is not None and f"--lr {lr:g}",
        "settings.batch_size": batch_size and f"--batch-size {batch_size}",
        "settings.guards": guards and f"--guard {' --guard '.join(guards)}",
        "settings.guards.watch": guards and f"--guard {' --guard '.join(guards)}",
    }
    lengths: list[tuple[str, str, str]] = []
    for change in changes:
        path = change.partition("=")[0].strip()
        first, _, rest = path.partition(".")
        phase, name = (first, rest) if first.isdigit() else ("", path)
        before = [others[name]] if others.get(name) else []
        if name in ("settings.epochs", LEAST):
            before += [
                f"--set {one}" for one, where, what in lengths if what != name and (where == phase or "" in (where, phase))
            ]
            lengths.append((change, phase, name))
        if before:
            raise ConfigError(f"{before[0]} and --set {change} were given", "one of the two would be ignored", "give one of them")


def adapt(
    plan: "Recipe",
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    guards: list[str] | None = None,
    floor: float | None = None,
) -> "Recipe":
    """The recipe with the options that every phase shares.

    Args:
        plan: The recipe.
        epochs: In all, shared out as before.
        lr: Peak learning rate.
        batch_size: Samples an update.
        guards: Kinds of the guards that watch; ``["none"]``: none.
        floor: Least clean accuracy, in (0, 1).

    Raises:
        ConfigError: no such guard, or a value out of range.
    """
    if epochs is not None:
        plan = plan.scaled(epochs)
    for name, value in (("lr", lr), ("batch_size", batch_size)):
        if value is not None:
            plan = plan.changed(f"settings.{name}", value)
    if not guards and floor is None:
        return plan
    for number, phase in enumerate(plan.phases, start=1):
        watched = None if phase.settings.guards is None else phase.settings.guards.model_dump(mode="json")
        plan = plan.changed(f"{number}.settings.guards", _guards(watched, guards, floor))
    return plan


def _guards(before: dict[str, Any] | None, kinds: list[str] | None, floor: float | None) -> dict[str, Any] | None:
    if kinds and "none" in kinds:
        if len(kinds) > 1:
            raise ConfigError(
                f"--guard {' --guard '.join(kinds)} was given", "none stands alone", "leave none out, or the others"
            )
        before, kinds = None, None
    found = dict(before or {"watch": []})
    if kinds:
        found["watch"] = [{"kind": kind} for kind in dict.fromkeys(kinds)]
    if floor is not None:
        found["watch"] = [
            *(one for one in found["watch"] if one["kind"] != "clean_floor"), {"kind": "clean_floor", "floor": floor}
        ]  # fmt: skip
    return found if found["watch"] else None
