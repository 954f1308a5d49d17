"""Attacks: one a file, reached by name through the registry, run and judged by the engine."""

from martensite.attacks.adaptive import Adaptive
from martensite.attacks.apgd import APGD
from martensite.attacks.apgd_targeted import APGDTargeted
from martensite.attacks.attack import ATTACKS, Attack
from martensite.attacks.autoattack import AutoAttack
from martensite.attacks.boundary import Boundary
from martensite.attacks.brendel_bethge import BrendelBethge
from martensite.attacks.budget import Budget
from martensite.attacks.corruptions import Corruptions
from martensite.attacks.cw import CW
from martensite.attacks.ddn import DDN
from martensite.attacks.deepfool import DeepFool
from martensite.attacks.ead import EAD
from martensite.attacks.engine import attack
from martensite.attacks.eot import EOT
from martensite.attacks.fab import FAB
from martensite.attacks.fgm import FGM
from martensite.attacks.fgsm import FGSM
from martensite.attacks.fmn import FMN
from martensite.attacks.geoda import GeoDA
from martensite.attacks.hopskipjump import HopSkipJump
from martensite.attacks.jsma import JSMA
from martensite.attacks.losses import register_loss
from martensite.attacks.natural import corrupt
from martensite.attacks.nes import NES
from martensite.attacks.one_pixel import OnePixel
from martensite.attacks.oracle import Oracle
from martensite.attacks.patch import Patch
from martensite.attacks.pgd import PGD
from martensite.attacks.result import AttackResult
from martensite.attacks.rotation_translation import RotationTranslation
from martensite.attacks.sigma_zero import SigmaZero
from martensite.attacks.sparse_rs import SparseRS
from martensite.attacks.spsa import SPSA
from martensite.attacks.square import Square
from martensite.attacks.superdeepfool import SuperDeepFool
from martensite.attacks.transfer import transfer
from martensite.attacks.transfer_fgsm import DIFGSM, MIFGSM, NIFGSM, SIFGSM, TIFGSM, VMIFGSM, VNIFGSM
from martensite.attacks.uap import UAP

__all__ = [
    "APGD",
    "ATTACKS",
    "CW",
    "DDN",
    "DIFGSM",
    "EAD",
    "EOT",
    "FAB",
    "FGM",
    "FGSM",
    "FMN",
    "JSMA",
    "MIFGSM",
    "NES",
    "NIFGSM",
    "PGD",
    "SIFGSM",
    "SPSA",
    "TIFGSM",
    "UAP",
    "VMIFGSM",
    "VNIFGSM",
    "APGDTargeted",
    "Adaptive",
    "Attack",
    "AttackResult",
    "AutoAttack",
    "Boundary",
    "BrendelBethge",
    "Budget",
    "Corruptions",
    "DeepFool",
    "GeoDA",
    "HopSkipJump",
    "OnePixel",
    "Oracle",
    "Patch",
    "RotationTranslation",
    "SigmaZero",
    "SparseRS",
    "Square",
    "SuperDeepFool",
    "attack",
    "corrupt",
    "register_loss",
    "transfer",
]
