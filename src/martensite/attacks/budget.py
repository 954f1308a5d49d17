"""How much an attack may spend."""

from pydantic import PositiveFloat, PositiveInt

from martensite.core.config import Config


class Budget(Config):
    """Limits of a run; what is left out is not limited.

    Args:
        queries: Forward passes an attack may spend on each sample. A sample that withstands them is robust to that adversary.
        seconds: Wall time of the whole run. A sample whose search it cut short was not measured: an error, unless broken.
    """

    queries: PositiveInt | None = None
    seconds: PositiveFloat | None = None
