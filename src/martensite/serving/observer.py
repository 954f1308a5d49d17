"""What a server tells whoever watches it: metrics, drift tests, logs. A watcher can't change an answer, or fail one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from martensite.serving.loaded import Loaded

Route = Literal["primary", "canary", "shadow"]
Decision = Literal["answered", "flagged", "refused", "routed", "abstained", "failed"]


@dataclass(frozen=True)
class Share:
    """One request's part in a batch.

    Attributes:
        id: As the client named it, or made up.
        key: Name of the API key; ``""``: none was asked for.
        start: First row of the batch that is its own.
        stop: One after the last.
        waited: Seconds from arrival to the start of the batch.
        origin: Of its trace, where it is traced.
    """

    id: str
    key: str
    start: int
    stop: int
    waited: float
    origin: Any = None


@dataclass(frozen=True)
class Batch:
    """A batch that was computed, before anything is withheld from the clients.

    Attributes:
        model: By which it is served.
        version: Of the bundle.
        digest: ``"sha256:..."`` of the model.
        route: Why this version was asked; answers of ``"shadow"`` go to nobody.
        x: (n, *d) float32, as the model took it.
        logits: (n, K) float32.
        decisions: n words.
        score: (n,) of the detector that spoke loudest; NaN where none is installed.
        p_value: (n,) of all detectors together, likewise.
        shares: Whose rows these are.
        seconds: That the computation took.
        queued: Samples that were waiting when it began.
        started: ``time.time()`` then.
    """

    model: str
    version: str
    digest: str
    route: Route
    x: npt.NDArray[np.float32]
    logits: npt.NDArray[np.float32]
    decisions: Sequence[Decision]
    score: npt.NDArray[np.float64]
    p_value: npt.NDArray[np.float64]
    shares: Sequence[Share]
    seconds: float
    queued: int
    started: float


@dataclass(frozen=True)
class Routed:
    """What became of the samples that were flagged, where those go on to another model.

    Attributes:
        model: The other; ``""``: it could not be asked.
        digest: Of it.
        decisions: Row to what came of it; a row that the other answered is ``routed``.
        flagged: Of the rows that it was asked, how many its own detectors flagged.
    """

    model: str
    digest: str
    decisions: Mapping[int, Decision]
    flagged: int = 0


@dataclass(frozen=True)
class Reply:
    """One request that came to an end, well or not.

    Attributes:
        model: That was asked; ``""`` where that isn't known.
        version: That answered; ``""``: none did.
        status: Of HTTP.
        reason: Of a refusal.
        key: Name of the API key.
        id: Of the request.
        samples: Answered.
        seconds: From the head of the request to the answer.
        near: Near-duplicates of one another among this key's recent queries; 0 where they aren't counted.
        decision: The gravest among its samples.
        digest: Of the model that answered.
        labels: As the client got them; -1: it got none. Empty where the request was refused.
        routed: What another model had a part in; None: it had none.
    """

    model: str
    version: str
    status: int
    reason: str
    key: str
    id: str
    samples: int
    seconds: float
    near: int = 0
    decision: str = ""
    digest: str = ""
    labels: Sequence[int] = ()
    routed: Routed | None = None


@dataclass(frozen=True)
class Change:
    """A version came into service, was refused, or was taken out.

    Attributes:
        model: Name.
        version: Of the bundle; ``""`` if it never got that far.
        digest: Of the model, likewise.
        state: What it is now.
        reason: Why, where it isn't serving.
        verdict: The gate's, as JSON; empty where no evidence was asked for.
        route: Its place.
        loaded: What is in memory; None where nothing came into service.
    """

    model: str
    version: str
    digest: str
    state: Literal["serving", "refused", "out", "retired"]
    reason: str = ""
    verdict: dict[str, Any] = field(default_factory=dict)
    route: Route = "primary"
    loaded: "Loaded | None" = None


@dataclass(frozen=True)
class Judged:
    """A version's evidence was judged, when it was loaded or again while it served.

    Attributes:
        model: Name.
        version: Of the bundle; ``""`` if it never got that far.
        digest: Of the model, likewise.
        reason: Why it may not serve; ``""`` if it may.
        verdict: The gate's, as JSON; empty where there is none.
        route: Its place.
        seconds: That it took, from the copy to the verdict.
        started: ``time.time()`` then.
    """

    model: str
    version: str
    digest: str
    reason: str
    verdict: dict[str, Any]
    route: Route
    seconds: float
    started: float


class Observer:
    """Base of watchers: override what you need. Calls come from several threads; an error in one is logged and passed over."""

    def batch(self, batch: Batch) -> None:
        """A batch was computed. Called in the thread that computes: what takes long here holds up the next batch."""

    def reply(self, reply: Reply) -> None:
        """A request was answered or refused. Called in the event loop: no file, no lock that is held for long."""

    def change(self, change: Change) -> None:
        """A version came or went."""

    def judged(self, judged: Judged) -> None:
        """A version's evidence was judged; told before the change, if there is one."""


class Observers(Observer):
    """Several as one; what one of them raises harms neither the others nor an answer.

    Args:
        members: In the order in which they are told.
        complain: Given a line when one of them fails.
    """

    def __init__(self, members: Sequence[Observer], complain: Any) -> None:
        self.members, self.complain = tuple(members), complain

    def batch(self, batch: Batch) -> None:
        self._tell("batch", batch)

    def reply(self, reply: Reply) -> None:
        self._tell("reply", reply)

    def change(self, change: Change) -> None:
        self._tell("change", change)

    def judged(self, judged: Judged) -> None:
        self._tell("judged", judged)

    def _tell(self, what: str, news: Any) -> None:
        for member in self.members:
            try:
                getattr(member, what)(news)
            except Exception as error:
                self.complain(f"{type(member).__name__}.{what} failed: {type(error).__name__}: {error}")
