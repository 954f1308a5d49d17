"""What stands around a model, as a configuration: the record in model.json, the YAML and the object are the same."""

from typing import Annotated, Any

from pydantic import Field

from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.registry import member_of
from martensite.defenses.detector import DETECTORS, Detector
from martensite.defenses.rules import InputRules
from martensite.defenses.transform import TRANSFORMS, Transform
from martensite.defenses.voting import Voting


class Defence(Config):
    """Input rules, then detectors on the raw input, then transforms in order, then the model or a vote of it.

    Args:
        transforms: In the order in which they are applied.
        voting: Smoothed prediction with abstention; None: the model is asked once.
        detectors: Each looks at the raw input and the bare model.
        false_alarms: Share of clean inputs on which the detectors together may ring, in (0, 1).
        rules: Input validation.
        hardened: The model underneath was adversarially trained.

    Raises:
        ConfigError: nothing at all, or a vote over random transforms.
    """

    transforms: tuple[Annotated[Transform, member_of(TRANSFORMS)], ...] = ()
    voting: Voting | None = None
    detectors: tuple[Annotated[Detector, member_of(DETECTORS)], ...] = ()
    false_alarms: float = Field(default=0.01, gt=0.0, lt=1.0)
    rules: InputRules | None = None
    hardened: bool = False

    def model_post_init(self, context: Any) -> None:
        """Refuse what could not be meant."""
        if not (self.transforms or self.voting or self.detectors or self.rules):
            raise ConfigError(
                "a Defence holds nothing", "it has a transform, a vote, a detector or rules", "e.g. transforms: [jpeg]"
            )
        if self.voting is not None and self.transforms:
            raise ConfigError(
                f"voting stands after {', '.join(map(str, self.transforms))}",
                "the vote is about a model that gets its noise last, and its certificate about that model alone",
                "leave the transforms out, or the voting",
            )

    @property
    def random(self) -> bool:
        """Whether two calls may differ."""
        return self.voting is not None or any(one.random for one in self.transforms)

    @property
    def rejects(self) -> bool:
        """Whether it may refuse to answer: by a detector or by an abstention."""
        return bool(self.detectors) or self.voting is not None

    @property
    def names(self) -> tuple[str, ...]:
        """What stands around the model, in order, as evidence names it."""
        rules = ("rules",) if self.rules is not None else ()
        voting = ("voting",) if self.voting is not None else ()
        return (*rules, *(one.kind for one in self.detectors), *(one.kind for one in self.transforms), *voting)
