"""The documentation's table lists every attack that there is, and none that there isn't."""

import re
from pathlib import Path

from martensite.attacks import ATTACKS

PAGE = Path(__file__).parents[2] / "docs" / "rooms" / "attacks.md"


def test_every_attack_is_in_the_table():
    table = PAGE.read_text(encoding="utf-8").partition("| kind | names |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([a-z0-9_]+)`", table)) - {"standard", "plus", "rand"}
    assert named == set(ATTACKS.names())
