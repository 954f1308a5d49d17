"""What was done, for whoever keeps a log of it: a function says once, where it is defined, what calling it amounts to.

Nothing is computed or kept while nobody records. An act within an act belongs to it, and is not recorded of its own; access to
data always is. What takes long or publishes something is recorded before it begins, too: nothing is made without a trace.
"""

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypeVar

from martensite.core.audit_rule import SITE, site_rule
from martensite.core.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Act:
    """What a call amounts to.

    Attributes:
        kind: What the subject is, e.g. ``"model"``.
        subject: Its digest, ``"sha256:..."``; empty if there is none (yet).
        name: What people call it.
        outcome: How it ended.
        details: As JSON has it.
        action: A word, where it is another one than the function was decorated with.
    """

    kind: str = ""
    subject: str = ""
    name: str = ""
    outcome: str = "done"
    details: Mapping[str, Any] = field(default_factory=dict)
    action: str = ""


class Recorder(Protocol):
    """Keeps acts."""

    def record(self, act: Act, *, later: bool) -> None:
        """Keep it; if that fails, raise, or ``later`` when the recording ends: the work that was done is not lost over it."""


Describe = Callable[[Mapping[str, Any], Any], Act]

_recorders: list[Recorder] = []
_lock = threading.Lock()
_inside: ContextVar[bool] = ContextVar("martensite_inside_an_act", default=False)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Everything that is done in this process goes to the recorder, whatever thread does it; within another one, to the inner."""
    with _lock:
        _recorders.append(recorder)
    try:
        yield
    finally:
        with _lock:
            _recorders.remove(recorder)


def recorder() -> Recorder | None:
    """Who records now.

    Raises:
        ConfigError: nobody does, where the machine's rule requires it.
    """
    if _recorders:
        return _recorders[-1]
    rule = site_rule()
    if rule is not None and rule.required:
        raise ConfigError(
            "nobody records this",
            f"{SITE} requires an audit log",
            "with martensite.audit(): ...; the command line does it by itself",
        )
    return None


def recorded(
    action: str, describe: Describe, *, announced: bool = False, always: bool = False
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function whose calls are acts.

    Args:
        action: A word, e.g. ``"train"``.
        describe: Makes the `Act` of the arguments by name and the result; the result is None while there is none.
        announced: Record it as ``"begun"``, too, before it begins.
        always: Also within another act.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        def told(given: Mapping[str, Any], result: Any) -> Act:
            """As far as it can be told: arguments that the function will refuse may defy description."""
            try:
                act = describe(given, result)
            except Exception as error:
                act = Act(details={"undescribed": type(error).__name__})
            return act if act.action else replace(act, action=action)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            inside = _inside.get()
            if (inside and not always) or (to := recorder()) is None:
                return function(*args, **kwargs)
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                return function(*args, **kwargs)  # which says what is wrong
            bound.apply_defaults()
            given = bound.arguments
            if announced:
                to.record(replace(told(given, None), outcome="begun"), later=False)
            token = _inside.set(True)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                act, outcome = told(given, None), "failed" if isinstance(error, Exception) else "interrupted"
                what = {"error": f"{type(error).__name__}: {getattr(error, 'value', error)}"[:500]}
                to.record(replace(act, outcome=outcome, details={**act.details, **what}), later=True)
                raise
            finally:
                _inside.reset(token)
            to.record(told(given, result), later=announced)
            return result

        return call

    return decorate
