"""A suite: which attacks a model must withstand, as YAML."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from martensite.attacks import ATTACKS, MIFGSM, PGD, Attack
from martensite.core.config import Config, canonical_json, nearest
from martensite.core.errors import ConfigError
from martensite.core.files import sha256
from martensite.core.registry import member_of
from martensite.evaluation.canary import Name
from martensite.evaluation.clever import Clever
from martensite.evaluation.corruption import Corrupting
from martensite.evaluation.surrogate import Distillation
from martensite.threat import Norm


class Suite(Config):
    """Attacks in three roles: on every sample, on what is left, and for distances; and what is measured beside them.

    What doesn't fit a model or a norm is left out, and the report says so (see `fit`).

    Args:
        name: What reports call it.
        attacks: At least one; each runs on every sample that is correct without an attack, so their figures compare.
        cascade: Then, one after the other, each on the samples that nothing before it has broken.
        distances: A minimum-norm attack, on every sample: it gives each its distance, and the security curve every eps.
        curve: Multiples of the threat model's eps at which the security curve is measured; 1 comes from the attacks themselves.
        curve_attack: What the other points are measured with, or checked if there are distances.
        canaries: Built-in models with known answers, on which the suite is tried before its figures count (see `canaries`).
        queries: What takes the place of attacks by gradients where the model only answers queries, in the order of the cascade.
        transfer: On every surrogate that there is, and judged on the model; without a surrogate they don't run.
        surrogate: Trains one on the fly from the model's answers; None: only those that the caller gives.
        norms: In which distances and curves are measured as well, by ``distances``, which needs no eps.
        corruption: Corruption errors of images; None: none.
        clever: CLEVER scores of a few samples; None: none.
    """

    name: str
    attacks: tuple[Annotated[Attack, member_of(ATTACKS)], ...]
    cascade: tuple[Annotated[Attack, member_of(ATTACKS)], ...] = ()
    distances: Annotated[Attack, member_of(ATTACKS)] | None = None
    curve: tuple[float, ...] = ()
    curve_attack: Annotated[Attack, member_of(ATTACKS)] | None = None
    canaries: tuple[Name, ...] = ()
    queries: tuple[Annotated[Attack, member_of(ATTACKS)], ...] = ()
    transfer: tuple[Annotated[Attack, member_of(ATTACKS)], ...] = (MIFGSM(), PGD(loss="margin"))
    surrogate: Distillation | None = None
    norms: tuple[Norm, ...] = ()
    corruption: Corrupting | None = None
    clever: Clever | None = None

    @property
    def digest(self) -> str:
        """``"sha256:..."`` of all but the name; a field that a later version adds changes nothing while it is unused."""
        fields = {name: one for name, one in type(self).model_fields.items() if name != "name"}
        used = {name for name, one in fields.items() if getattr(self, name) != one.default}
        return sha256(canonical_json(self.model_dump(mode="json", include=used)).encode())

    def model_post_init(self, context: Any) -> None:
        """Refuse a suite that would measure nothing."""
        if not self.attacks:
            raise ConfigError(
                f"suite {self.name!r} has no attacks", "robust accuracy is measured by at least one", "add an attack"
            )
        if any(multiple < 0 for multiple in self.curve):
            raise ConfigError(f"curve is {list(self.curve)}", "multiples of eps are not negative", "e.g. [0.25, 0.5, 0.75, 1.5]")
        if self.distances is not None and self.distances.bounded:
            raise ConfigError(
                f"distances is {self.distances.kind}", "only a minimum-norm attack measures distances", "e.g. distances: fmn"
            )
        if self.norms and self.distances is None:
            raise ConfigError(f"norms are {list(self.norms)}", "distances are measured in them", "add distances, e.g. fmn")
        if self.curve and self.curve_attack is None and self.distances is None:
            raise ConfigError(
                f"suite {self.name!r} has a curve", "a curve needs its attack", "add curve_attack, e.g. {kind: pgd}"
            )


def load_suite(source: "str | Path | Suite") -> Suite:
    """A suite by name (``"quick"``, ``"standard"``, ...), from a YAML file, or as it is.

    Raises:
        ConfigError: no such suite or file; the message lists the known ones.
    """
    if isinstance(source, Suite):
        return source
    shipped = {
        Path(entry.name).stem: entry for entry in files(__package__).joinpath("suites").iterdir() if entry.name.endswith(".yaml")
    }
    if str(source) in shipped:
        return Suite.from_yaml(shipped[str(source)].read_text(encoding="utf-8"))
    if Path(source).suffix in (".yaml", ".yml"):
        return Suite.from_yaml(Path(source))
    raise ConfigError(f"there is no suite {str(source)!r}", remedy=f"{nearest(str(source), shipped)}; or give a YAML file")
