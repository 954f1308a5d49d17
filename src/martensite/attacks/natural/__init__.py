"""Natural corruptions: noise, blur, weather, digital."""

from martensite.attacks.natural.corrupt import CORRUPTIONS, SMALLEST, Kind, corrupt

__all__ = ["CORRUPTIONS", "SMALLEST", "Kind", "corrupt"]
