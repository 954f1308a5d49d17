"""Attacks: one a file, reached by name through the registry, run and judged by the engine."""

from martensite.attacks.adaptive import Adaptive
from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.autoattack import AutoAttack
from martensite.attacks.budget import Budget
from martensite.attacks.ddn import DDN
from martensite.attacks.deepfool import DeepFool
from martensite.attacks.engine import attack
from martensite.attacks.eot import EOT
from martensite.attacks.fab import FAB
from martensite.attacks.fgm import FGM
from martensite.attacks.fgsm import FGSM
from martensite.attacks.fmn import FMN
from martensite.attacks.jsma import JSMA
from martensite.attacks.losses import register_loss
from martensite.attacks.oracle import Oracle, undisturbed
from martensite.attacks.patch import Patch
from martensite.attacks.pgd import PGD
from martensite.attacks.result import AttackResult
from martensite.attacks.rotation_translation import RotationTranslation
from martensite.attacks.sigma_zero import SigmaZero
from martensite.attacks.square import Square
from martensite.attacks.superdeepfool import SuperDeepFool
from martensite.attacks.transfer import transfer
from martensite.attacks.transfer_fgsm import DIFGSM, MIFGSM, NIFGSM, SIFGSM, TIFGSM, VMIFGSM, VNIFGSM
from martensite.attacks.uap import UAP

__all__ = [
    "APGD",
    "ATTACKS",
    "DDN",
    "DIFGSM",
    "EOT",
    "FAB",
    "FGM",
    "FGSM",
    "FMN",
    "JSMA",
    "MIFGSM",
    "NIFGSM",
    "PGD",
    "SIFGSM",
    "TIFGSM",
    "UAP",
    "VMIFGSM",
    "VNIFGSM",
    "APGDTargeted",
    "Adaptive",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "Budget",
    "DeepFool",
    "Oracle",
    "Patch",
    "RotationTranslation",
    "SigmaZero",
    "Square",
    "SuperDeepFool",
    "attack",
    "register_loss",
    "transfer",
    "undisturbed",
]
