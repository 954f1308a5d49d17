"""A copy that nobody else can write: what is verified is what is loaded, whatever happens to the original meanwhile."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from martensite.artifacts.signing.tree import list_files
from martensite.core.errors import ArtifactError, StorageError
from martensite.serving.leftovers import own_folder

LARGEST_CLAIMS = 256 * 2**20


class Sealed:
    """A folder of mode 0700 with a copy of a bundle, its signature and its claims.

    The claims only grow: a line that was seen stays, so that deleting one (a suspension, say) from the file doesn't undo it.

    Attributes:
        folder: The private folder.
        bundle: The copy, under the name of the original.
        signature: Its signature.
        claims: Every claim that was seen.
    """

    def __init__(self, source: Path) -> None:
        self._owner: int | None
        try:
            self.folder, self._owner = own_folder()
        except OSError as error:
            raise StorageError(f"there is no room for a private copy: {error.strerror}", remedy="set TMPDIR") from None
        self.bundle = self.folder / "bundle" / (source.resolve().name or "bundle")
        self.signature, self.claims = self.folder / "signature", self.folder / "claims.jsonl"
        self._seen: set[bytes] = set()
        self._origins = {self.bundle: source}

    @classmethod
    def of(cls, source: Path, besides: Path | None = None) -> "Sealed":
        """Copy a bundle, but for its signature if that lies in it.

        Raises:
            ArtifactError: no folder, links or other things that no signature can speak of.
            StorageError: no room.
        """
        if not source.is_dir():
            raise ArtifactError(f"{source} is no folder", "a bundle is a folder", "give the folder that save_bundle wrote")
        sealed = cls(source)
        try:
            root = Path(os.path.realpath(source))
            for name, path in list_files(root, besides=besides).items():
                _copy(path, sealed.bundle / name)
        except BaseException:
            sealed.drop()
            raise
        return sealed

    def take_signature(self, source: Path) -> None:
        """Copy the signature."""
        self._origins[self.signature] = source
        _copy(source, self.signature, follow=True)

    def take_claims(self, source: Path) -> None:
        """Add the claims that are new.

        Raises:
            ArtifactError: the file can't be read.
        """
        self._origins[self.claims] = source
        with _regular(source, follow=True) as descriptor, open(descriptor, "rb", closefd=False) as file:
            content = file.read(LARGEST_CLAIMS + 1)
        if len(content) > LARGEST_CLAIMS:
            raise ArtifactError(f"{source} has more than {LARGEST_CLAIMS} bytes", "claims are small", "start a new file")
        fresh = [line for line in content.split(b"\n") if line.strip() and line not in self._seen]
        with self.claims.open("ab") as file:
            if file.tell() + sum(map(len, fresh)) > LARGEST_CLAIMS:  # a file that is written anew again and again
                text = f"at most {LARGEST_CLAIMS} bytes of them are kept"
                raise ArtifactError(f"{source} has had too many claims", text, "write fewer, and start the server anew")
            for line in fresh:
                file.write(line + b"\n")
        self._seen.update(fresh)

    def told(self, text: str) -> str:
        """A text with the names as they were given: nobody knows the copy, and not everybody should hear where it is."""
        for copy, origin in self._origins.items():
            for name in (os.path.realpath(copy), str(copy)):
                text = text.replace(name, str(origin))
        return text

    def drop_bundle(self) -> None:
        """Remove the copy of the bundle, once it is in memory."""
        shutil.rmtree(self.bundle.parent, ignore_errors=True)

    def drop(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None


def _copy(source: Path, target: Path, follow: bool = False) -> None:
    with _regular(source, follow) as descriptor:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(descriptor, "rb", closefd=False) as file, target.open("wb") as copy:
                shutil.copyfileobj(file, copy, 2**20)
        except OSError as error:
            raise StorageError(f"{source} can't be copied: {error.strerror}", "", "set TMPDIR") from None


@contextmanager
def _regular(path: Path, follow: bool = False) -> Iterator[int]:
    """A descriptor of a regular file; a pipe or a device, which might never end, is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="fetch it again") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(f"{path} is no regular file", remedy="fetch it again")
        yield descriptor
    finally:
        os.close(descriptor)
