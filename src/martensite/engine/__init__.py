"""Where work runs."""

from martensite.engine.local import LocalEngine

__all__ = ["LocalEngine"]
