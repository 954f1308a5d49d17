"""Which version of each name went out last: an old signed model can't be brought back by replaying its evidence."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from martensite.artifacts.attest.predicates import GateCheck
from martensite.core.config import Config
from martensite.core.errors import ArtifactError, MartensiteError, StorageError
from martensite.core.files import write_text


class Passed(Config):
    """The highest version that passed, and its files' common digest."""

    version: int
    digest: str


class Versions:
    """A record in a JSON file: name to what passed last.

    Args:
        path: The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Passed]:
        """Name to what passed.

        Raises:
            ArtifactError: the file is damaged; an empty record would let everything pass.
        """
        try:
            document = json.loads(self.path.read_bytes())
            return {str(name): Passed.parse(one) for name, one in document.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, MartensiteError):
            raise ArtifactError(f"{self.path} is no record of versions", "it is damaged", "restore it from a backup") from None

    def check(self, name: str, version: int, digest: str) -> GateCheck:
        """Is this the newest, or the very one that passed last?"""
        before = self.read().get(name)
        if before is None:
            return GateCheck(rule="version", verdict="PASS", reason=f"{name} {version} is the first of its name")
        if version > before.version or (version, digest) == (before.version, before.digest):
            return GateCheck(rule="version", verdict="PASS", reason=f"{name} {version} follows {before.version}")
        what = "an older one" if version < before.version else "another model of the same version"
        return GateCheck(rule="version", verdict="FAIL", reason=f"{name} {version} is {what}: {before.version} passed already")

    def passed(self, name: str, version: int, digest: str) -> None:
        """Note what passed; of two gates at once the higher version stays."""
        with self._alone():
            found = self.read()
            if name in found and version <= found[name].version:
                return  # a server judges once a minute, and whoever watches the file would take each writing for news
            found[name] = Passed(version=version, digest=digest)
            document = {key: found[key].model_dump() for key in sorted(found)}
            write_text(self.path, json.dumps(document, indent=2) + "\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self.path.with_name(f".{self.path.name}.lock")
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            with lock.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StorageError(f"{lock} can't be written: {error.strerror}", remedy="choose another --versions") from None
