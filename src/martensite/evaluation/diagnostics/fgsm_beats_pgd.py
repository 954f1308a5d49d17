"""One step breaks what many steps leave: the many steps went astray."""

import torch

from martensite.evaluation.diagnostic import Diagnostic
from martensite.evaluation.diagnostics.evidence import Evidence

SHARE = 0.01  # of the samples, that one step may find by luck


def fgsm_beats_pgd(evidence: Evidence) -> Diagnostic | None:
    """Samples that a single step breaks and no iterative attack by gradients does, both run on all of them."""
    single, many = evidence.one_step(), evidence.iterative()
    if not single or not many:
        return None
    by_one = torch.stack([one.broken for one in single]).any(0)
    by_many = torch.stack([one.broken for one in many]).any(0)
    only_one, only_many = int((by_one & ~by_many).sum()), int((by_many & ~by_one).sum())
    if only_one <= SHARE * evidence.tally.n:
        return None
    return Diagnostic(
        name="fgsm_beats_pgd",
        severity="invalid" if only_one > only_many else "warning",
        evidence=f"a single step ({', '.join(one.job.name for one in single)}) breaks {only_one} samples that "
        f"{', '.join(one.job.name for one in many)} leave; these break {only_many} that it leaves",
        remedy="gradients are masked beyond the first step, or the step size is wrong: try a loss on logits, restarts, BPDA",
    )
