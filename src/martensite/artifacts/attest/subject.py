"""What a claim is about: this very model, in these very files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from martensite.artifacts.attest.predicates import Serving
from martensite.artifacts.bundle import load_bundle
from martensite.artifacts.manifest import read_manifest
from martensite.artifacts.signing.tree import digest_files, list_files, root_digest
from martensite.models.digest import model_digest

MODEL = "martensiteModel1"  # name of the digest of weights and input conventions, beside in-toto's sha256 of the files


@dataclass(frozen=True)
class Subject:
    """A bundle, looked at.

    Attributes:
        name: The folder's.
        files: Each file's SHA-256, in hex.
        root: Over all of them, as the bundle's signature has it.
        model: `model_digest` of the model that the bundle gives, in hex; not of what model.json says.
        serving: How it computes as it is.
    """

    name: str
    files: dict[str, str]
    root: str
    model: str
    serving: Serving

    @classmethod
    def of(cls, path: str | Path, files: dict[str, str] | None = None) -> "Subject":
        """Hash the files (or take the digests that were just verified) and load the model.

        Raises:
            ArtifactError: no such bundle, or an altered one.
        """
        path = Path(path)
        manifest, files = read_manifest(path), digest_files(list_files(path)) if files is None else files
        preprocess = files.get("preprocess.json")
        defences = tuple(str(one) for one in getattr(manifest, "defences", None) or ())
        serving = Serving(dtype=manifest.dtype, preprocessing=f"sha256:{preprocess}" if preprocess else "none", defences=defences)
        model = model_digest(load_bundle(path)).removeprefix("sha256:")
        return cls(path.resolve().name, files, root_digest(files), model, serving)

    def resource(self) -> dict[str, Any]:
        """As in-toto's ResourceDescriptor."""
        return {"name": self.name, "digest": {"sha256": self.root, MODEL: self.model}}

    def refusal(self, subjects: Any, about: Literal["model", "files"]) -> str:
        """Why a statement about these subjects is not about this bundle, or ``""``."""
        name, wanted = (MODEL, self.model) if about == "model" else ("sha256", self.root)
        try:
            (subject,) = subjects
            found = str(subject["digest"][name])
        except (LookupError, TypeError, ValueError):
            return "it does not say which model it is about"
        if found == wanted:
            return ""
        what = "another model" if about == "model" else "other files"
        return f"it is about {what}, {found[:12]}, and not about {wanted[:12]}"
