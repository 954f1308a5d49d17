"""Digests that need not be computed anew, where the policy says so."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from martensite.artifacts.signing import Digests
    from martensite.gates.policy import Policy


def digests_of(policy: "Policy") -> "Digests | None":
    """What a policy allows to reuse; None: nothing.

    Raises:
        ArtifactError: others can write where digests are kept.
    """
    from martensite.artifacts.signing import Digests

    return Digests(policy.reuse_hours) if policy.reuse_hours is not None else None
