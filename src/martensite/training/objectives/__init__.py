"""Training objectives, one a file."""

from martensite.training.objectives.freelb import FreeLB
from martensite.training.objectives.pgd_at import PGDAT
from martensite.training.objectives.standard import Standard

__all__ = ["FreeLB", "PGDAT", "Standard"]
