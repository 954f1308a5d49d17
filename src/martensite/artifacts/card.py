"""card.md: what a person should know of a model before using it, made from what model.json says. No program reads it."""

from martensite.artifacts.manifest import Manifest
from martensite.artifacts.preprocess import Preprocess

CARD = "card.md"


def card(manifest: Manifest, preprocess: Preprocess | None) -> str:
    """The text, the same for the same manifest."""
    kind = manifest.architecture.get("factory") or manifest.architecture.get("kind")
    shape = " x ".join(map(str, manifest.shape)) or "not stated"
    names = ", ".join(manifest.class_names) or "not named"
    normal = "none" if manifest.mean is None else f"mean {list(manifest.mean)}, std {list(manifest.std or ())}, inside the model"
    threat = manifest.threat
    robust = f"{threat.norm}, eps {threat.eps:.6g}" if threat is not None else "nothing stated"
    rows = {
        "architecture": f"`{kind}`",
        "input": f"{shape}, in [{manifest.box[0]:g}, {manifest.box[1]:g}]",
        "classes": f"{manifest.classes}: {names}",
        "normalisation": normal,
        "preprocessing": f"`{preprocess.model_dump_json()}`" if preprocess is not None else "none",
        "precision": manifest.dtype,
        "defences": ", ".join(manifest.defences) or "none",
        "hardened against": robust,
        "digest": f"`{manifest.digest}`",
    }
    table = "\n".join(f"| {name} | {' '.join(value.split()).replace('|', '/')} |" for name, value in rows.items())
    return f"""# Model card

| | |
| --- | --- |
{table}

What the model was hardened against is its maker's statement. How robust it is, a signed report says.
"""
