"""What to type to measure the same again."""

import shlex
from collections.abc import Sequence

from martensite.evaluation.report import RobustnessReport


def evaluate_command(reports: Sequence[RobustnessReport]) -> str:
    """The command that was given, or, where it was measured from Python, the one that does the same.

    Args:
        reports: Of one evaluation, one a threat model.
    """
    first = reports[0]
    if first.command:
        return first.command
    words = ["martensite", "evaluate", "MODEL", "--data", first.data.name]
    if len(reports) == 1:
        words += ["--norm", first.threat.norm, "--eps", repr(first.threat.eps)]
    else:
        for report in reports:
            words += ["--threat", f"{report.threat.norm}:{report.threat.eps!r}"]
    if first.threat.constraints is not None:
        words += ["--constraints", "FILE"]
    if first.data.split in ("train", "validation", "test", "all"):
        words += ["--split", first.data.split]
    if first.decision is not None:
        words += ["--at-least", repr(first.decision.at_least)]
    words += ["--suite", first.suite, "--seed", str(first.seed)]
    return shlex.join(words)
