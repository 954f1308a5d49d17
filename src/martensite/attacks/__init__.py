"""Attacks: one a file, reached by name through the registry, run and judged by the engine."""

from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.engine import attack
from martensite.attacks.fgsm import FGSM
from martensite.attacks.oracle import Oracle, undisturbed
from martensite.attacks.pgd import PGD
from martensite.attacks.result import AttackResult

__all__ = ["ATTACKS", "FGSM", "PGD", "Attack", "AttackResult", "Oracle", "attack", "undisturbed"]
