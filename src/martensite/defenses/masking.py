"""Combinations that are known to mask gradients: they make naive figures rise and keep nobody out.

Athalye, Carlini and Wagner 2018, "Obfuscated gradients give a false sense of security", arXiv:1802.00420, sec. 3; on stages
before adversarially trained models also Tramer et al. 2020, "On adaptive attacks to adversarial example
defenses", arXiv:2002.08347.
"""

from martensite.defenses.defence import Defence


def masked(defence: Defence) -> str:
    """What masks gradients here, in words; empty if nothing known does."""
    flat = [str(one) for one in defence.transforms if not one.differentiable]
    if flat and defence.hardened:
        return (
            f"{' and '.join(flat)} before an adversarially trained model: the model's gradients are useful and the stage hides "
            "them, so attacks that don't know of it overestimate robustness"
        )
    return ""
