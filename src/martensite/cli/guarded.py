"""What guards did to a training, in words and as JSON: the same for every command that trains."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from martensite.training import TrainingResult


def guard_figures(result: "TrainingResult") -> dict[str, Any]:
    """``verdict`` and ``recoveries``, as JSON."""
    return {"verdict": result.verdict, "recoveries": [vars(recovery) for recovery in result.recoveries]}


def show_guards(result: "TrainingResult") -> None:
    """A line a recovery, and a warning if training was ended early."""
    from martensite.cli.output import show_warnings
    from martensite.cli.progress import plain, show

    for recovery in result.recoveries:
        show(f"Guard {recovery.guard}, batch {recovery.update}: {plain(recovery.complaint)}; {plain(recovery.remedy)}")
    if not result.completed:
        show_warnings((f"a guard ended the training: {result.verdict}",))
