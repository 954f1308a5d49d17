"""Ensembles: attacks one after the other, each on the samples that the ones before left."""

from collections.abc import Generator
from typing import ClassVar

import torch
from torch import Tensor

from martensite.attacks.attack import Attack
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.attacks.survivors import succeeded
from martensite.core.rng import Streams
from martensite.models.access import Access, Model
from martensite.threat import Norm, ThreatModel


class Ensemble(Attack):
    """Base of ensembles: a member says by `members` what runs when. The engine runs them, each in full batches."""

    needs: ClassVar = Access.GRADIENTS
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2", "l1")

    def members(self, threat: ThreatModel, classes: int) -> Generator[Attack, float, None]:
        """See `Attack.members`."""
        raise NotImplementedError(f"{type(self).__name__} must define members()")
        yield

    def check(self, model: Model, threat: ThreatModel) -> None:
        """Every member must be able to attack the model."""
        super().check(model, threat)
        for member in self.members(threat, model.classes):
            member.check(model, threat)

    def perturb(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, rng: Streams) -> Tensor:
        """The ensemble on one batch, where no engine is at hand."""
        found, left = x.clone(), torch.arange(len(x), device=x.device)
        margin = torch.full((len(x),), float("-inf"), device=x.device)
        members = self.members(threat, oracle.model.classes)
        member = next(members)
        while len(left):
            with oracle.among(left):
                found_now = member.perturb(oracle, x[left], y[left], threat, rng[left].fork(member.kind))
            candidate = threat.project(found_now, x[left])  # a minimum-norm member may have ended outside the ball
            logits = oracle.logits(candidate, left)
            reached = ascend("margin", y[left], threat.goal)(logits).to(margin)
            better = reached > margin[left]
            found[left[better]], margin[left[better]] = candidate[better], reached[better]
            broken = succeeded(logits, y[left], threat.goal)
            left = left[~broken]
            try:
                member = members.send(float(broken.float().mean()))
            except StopIteration:
                break
        return found
