"""Lists of names, written as text."""


def words(text: str) -> frozenset[str]:
    """The words of a text, in no order."""
    return frozenset(text.split())
