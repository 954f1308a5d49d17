"""Training objectives, one a file."""

from martensite.training.objectives.alp import ALP
from martensite.training.objectives.awp import AWP
from martensite.training.objectives.consistency import Consistency
from martensite.training.objectives.crown_ibp import CrownIBP
from martensite.training.objectives.ensemble_at import EnsembleAT
from martensite.training.objectives.fgsm_at import FGSMAT
from martensite.training.objectives.free import Free
from martensite.training.objectives.freelb import FreeLB
from martensite.training.objectives.gaussian import Gaussian
from martensite.training.objectives.ibp import IBP
from martensite.training.objectives.mart import MART
from martensite.training.objectives.mep import MEP
from martensite.training.objectives.mixed import Mixed
from martensite.training.objectives.mtl_ibp import MTLIBP
from martensite.training.objectives.multi_norm import MultiNorm
from martensite.training.objectives.nfgsm import NFGSM
from martensite.training.objectives.pgd_at import PGDAT
from martensite.training.objectives.sabr import SABR
from martensite.training.objectives.smoothadv import SmoothAdv
from martensite.training.objectives.standard import Standard
from martensite.training.objectives.trades import TRADES
from martensite.training.objectives.two_step import TwoStep

__all__ = [
    "ALP",
    "AWP",
    "FGSMAT",
    "IBP",
    "MART",
    "MEP",
    "MTLIBP",
    "NFGSM",
    "PGDAT",
    "SABR",
    "TRADES",
    "Consistency",
    "CrownIBP",
    "EnsembleAT",
    "Free",
    "FreeLB",
    "Gaussian",
    "Mixed",
    "MultiNorm",
    "SmoothAdv",
    "Standard",
    "TwoStep",
]
