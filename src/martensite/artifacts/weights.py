"""Reading files that someone else may have made: whole, regular, and never a pickle."""

import stat
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from martensite.core.errors import ArtifactError

PICKLES = (".pth", ".pt", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib")


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a lone safetensors file.

    Raises:
        ArtifactError: missing, truncated, or another format; a pickle is refused with how to convert it.
    """
    return parse_tensors(path, read_file(path, "give a .safetensors file"))


def parse_tensors(path: Path, content: bytes) -> dict[str, torch.Tensor]:
    """Tensors of the content of a safetensors file; raises as `read_weights`."""
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError) as error:  # KeyError: a type that torch doesn't have
        reason = " ".join(str(error).split())
        raise ArtifactError(
            f"{path} is no safetensors file: {reason}", "weights are loaded from safetensors only", refusal(path)
        ) from None


def read_file(path: Path, remedy: str, largest: int | None = None) -> bytes:
    """The content of a regular file of at most ``largest`` bytes.

    Raises:
        ArtifactError: missing, unreadable, too large, a folder, a pipe or a device.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device might never end
            raise ArtifactError(f"{path} is no regular file", remedy=remedy)
        if largest is not None and found.st_size > largest:
            raise ArtifactError(f"{path} has {found.st_size} bytes", f"such a file has at most {largest}", remedy)
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy=remedy) from None


def refusal(path: Path) -> str:
    """What to do with a weights file that isn't safetensors."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return "give a bundle folder"
    if head[8:] == b"{":  # after the length of its header, whose first byte may be that of a pickle
        return "give a bundle folder, or a factory of the module with --weights FILE.safetensors"
    # Pickle protocols 2 to 5 start with 0x80; torch.save writes a zip of pickles.
    if head[:1] == b"\x80" or head[:2] == b"PK" or path.suffix in PICKLES:
        return (
            "it looks like a pickle, which can run code when it is loaded. Convert it where that is safe: "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        )
    return "give a bundle folder, or --weights with a .safetensors file"
