"""A request that isn't answered, as the HTTP status that says why."""

from martensite.core.errors import MartensiteError


class Refusal(MartensiteError):
    """A request is turned away.

    Args:
        status: Of HTTP.
        value: What was found.
        rule: What must hold instead.
        remedy: What the client can do.
        retry_after: Seconds after which the same request may be answered; None: it never will be.
    """

    def __init__(self, status: int, value: str, rule: str = "", remedy: str = "", *, retry_after: float | None = None) -> None:
        super().__init__(value, rule, remedy)
        self.status, self.retry_after = status, retry_after

    def __reduce__(self) -> tuple[type["Refusal"], tuple[int, str, str, str]]:  # type: ignore[override]
        return type(self), (self.status, self.value, self.rule, self.remedy)
