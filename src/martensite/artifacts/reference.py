"""reference.safetensors of a bundle: how the data looked that the model was evaluated on, for whoever watches for drift.

It lies among the files that model.json lists, so that the bundle's signature covers it. The digest of the model does not change,
and what was measured of the model stays true.
"""

from pathlib import Path

from martensite.artifacts.manifest import MANIFEST, read_manifest
from martensite.artifacts.weights import read_file
from martensite.core.errors import ArtifactError
from martensite.core.files import sha256, write_bytes, write_text

REFERENCE = "reference.safetensors"
LARGEST = 256 * 2**20


def refuse_signed(path: str | Path) -> None:
    """Refuse what takes no statistics.

    Raises:
        ArtifactError: no bundle, or one that is signed already.
    """
    read_manifest(path)
    place = Path(path).resolve()
    signature = place.with_name(place.name + ".sig")
    if signature.exists():
        rule = "a signature covers every file of a bundle, and these would be another one"
        raise ArtifactError(f"{path} is signed: {signature} exists", rule, "remove the signature, and sign the bundle anew")


def add_reference(path: str | Path, content: bytes) -> None:
    """Put reference statistics into a bundle, in place of those that were there.

    Raises:
        ArtifactError: no bundle, or one that is signed already.
        StorageError: the disk refused the write.
    """
    path = Path(path)
    refuse_signed(path)
    manifest = read_manifest(path)
    write_bytes(path / REFERENCE, content)
    files = {**manifest.files, REFERENCE: sha256(content)}
    write_text(path / MANIFEST, manifest.model_copy(update={"files": files}).model_dump_json(indent=2) + "\n")


def read_reference(path: str | Path) -> bytes | None:
    """The bytes of a bundle's reference statistics, as model.json lists them; None: it has none.

    Raises:
        ArtifactError: missing or altered.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if REFERENCE not in manifest.files:
        return None
    content = read_file(path / REFERENCE, "fetch the bundle again", LARGEST)
    if sha256(content) != manifest.files[REFERENCE]:
        raise ArtifactError(f"{path / REFERENCE} is not what {MANIFEST} lists", "it was altered", "fetch the bundle again")
    return content
