"""How a drift test stands, in decades of evidence: -log10 of a p-value, or log10 of a capital; so one axis shows all."""

from collections import deque

from martensite.serving.monitoring.snapshot import DriftTest

KEPT = 60  # looks that are remembered


class Verdict:
    """One test's state; an alarm stays.

    Args:
        name: Of the test.
        about: What it looks at.
        threshold: Decades from which it rings.
    """

    def __init__(self, name: str, about: str, threshold: float) -> None:
        self.name, self.about, self.threshold = name, about, threshold
        self.statistic: float | None = None
        self.p_value: float | None = None
        self.since: float | None = None
        self.detail = ""
        self._history: deque[float] = deque(maxlen=KEPT)

    @property
    def alarm(self) -> bool:
        """It has rung."""
        return self.since is not None

    def say(
        self,
        decades: float,
        moment: float,
        *,
        threshold: float | None = None,
        p_value: float | None = None,
        detail: str = "",
        rang: bool | None = None,
    ) -> None:
        """Note a look.

        Args:
            decades: The statistic.
            moment: When.
            threshold: Another one from now on.
            p_value: If the test has one.
            detail: What it is about.
            rang: Whether it rang, where the statistic doesn't say it.
        """
        self.threshold = self.threshold if threshold is None else threshold
        self.statistic, self.p_value, self.detail = decades, p_value, detail
        self._history.append(decades / self.threshold)
        if self.since is None and (decades >= self.threshold if rang is None else rang):
            self.since = moment

    def show(self) -> DriftTest:
        """As a record."""
        return DriftTest(
            name=self.name,
            about=self.about,
            statistic=self.statistic,
            threshold=self.threshold,
            p_value=self.p_value,
            alarm=self.alarm,
            since=self.since,
            detail=self.detail,
            history=tuple(self._history),
        )
