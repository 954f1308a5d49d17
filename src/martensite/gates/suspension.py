"""Suspensions: whoever may suspend a model takes it out of service everywhere, until an approval ends that by name."""

from typing import Any

from martensite.artifacts.attest import Claim, acceptable
from martensite.artifacts.attest.predicates import GateCheck

RULE = "suspension"


def suspended(claims: list[Claim], requesters: set[str]) -> list[GateCheck]:
    """A FAIL for each suspension that no approval ends, a PASS for all that were ended; empty if there never was one.

    Args:
        claims: All claims about the bundle, judged.
        requesters: Owners who asked for the release: their approval ends nothing.
    """
    approvals: list[Any] = [
        (claim, claim.predicate)
        for claim in acceptable(claims, "approval")
        if claim.key is not None and claim.key.owner not in requesters
    ]
    checks, ended = [], []
    for claim in acceptable(claims, "suspension"):
        content: Any = claim.predicate
        who = claim.key.owner if claim.key is not None else "nobody"
        by = next((one.key.owner for one, approval in approvals if claim.digest in approval.resumes), None)
        if by is None:
            reason = f"suspended on {content.created:%Y-%m-%d %H:%M} by {who}: {content.reason}"
            checks.append(GateCheck(rule=RULE, verdict="FAIL", reason=reason))
        else:
            ended.append(by)
    if not checks and ended:
        checks = [
            GateCheck(rule=RULE, verdict="PASS", reason=f"suspended before, and resumed by {', '.join(sorted(set(ended)))}")
        ]
    return checks
