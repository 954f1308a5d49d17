"""Attacks: one a file, reached by name through the registry, run and judged by the engine."""

from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.budget import Budget
from martensite.attacks.engine import attack
from martensite.attacks.fgm import FGM
from martensite.attacks.fgsm import FGSM
from martensite.attacks.oracle import Oracle, undisturbed
from martensite.attacks.pgd import PGD
from martensite.attacks.result import AttackResult
from martensite.attacks.transfer_fgsm import DIFGSM, MIFGSM, NIFGSM, SIFGSM, TIFGSM, VMIFGSM, VNIFGSM

__all__ = [
    "APGD",
    "ATTACKS",
    "DIFGSM",
    "FGM",
    "FGSM",
    "MIFGSM",
    "NIFGSM",
    "PGD",
    "SIFGSM",
    "TIFGSM",
    "VMIFGSM",
    "VNIFGSM",
    "APGDTargeted",
    "Attack",
    "AttackResult",
    "Budget",
    "Oracle",
    "attack",
    "undisturbed",
]
