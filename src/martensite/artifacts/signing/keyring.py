"""A folder of keys: each an encrypted private part that only its owner can read, and a record of what it is for.

NAME.pem     PKCS#8 under a passphrase, mode 0600; gone once the key is retired or revoked; none for a key in a token
NAME.json    name, role, owner, public part, state
default      the name of the key that signs when none is named
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from martensite.artifacts.moments import Moment, now
from martensite.artifacts.signing.keys import LARGEST, PrivateKey, PublicKey, Signer
from martensite.artifacts.signing.token_uri import SCHEME
from martensite.artifacts.signing.tree import read_small
from martensite.core.acts import Act, recorded
from martensite.core.config import Config, nearest
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError, StorageError
from martensite.core.files import write_text

Role = Literal["release", "evaluator", "approver", "gate", "auditor", "monitor"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class KeyRecord(Config):
    """What is known of a key.

    Attributes:
        name: In the keyring.
        role: What the key may sign.
        owner: Whose it is; two keys of one owner are one person.
        id: SHA-256 of the public PEM, in hex.
        public: The public PEM.
        token: URI of the private part in a PKCS#11 token; ``""``: it is in a file.
        created: When.
        state: Only an active key signs.
        changed: When the state changed last.
        reason: Why it is retired or revoked.
    """

    name: str
    role: Role
    owner: str
    id: str
    public: str
    token: str = ""
    created: Moment
    state: Literal["active", "retired", "revoked"] = "active"
    changed: Moment | None = None
    reason: str = ""


def _changed(given: Mapping[str, Any], result: Any) -> Act:
    """What became of a key; never its passphrase."""
    record: KeyRecord | None = result[0] if isinstance(result, tuple) else result
    details = {name: given[name] for name in ("reason", "token") if given.get(name)}
    if record is None:
        return Act(name=given["name"], details=details)
    details |= {"role": record.role, "owner": record.owner, "state": record.state}
    return Act("key", f"sha256:{record.id}", record.name, details=details)


class Keyring:
    """The keys in a folder.

    Args:
        home: The folder; by default ``$XDG_CONFIG_HOME/martensite/keys``, that is ``~/.config/martensite/keys``.
    """

    def __init__(self, home: str | Path | None = None) -> None:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        self.home = Path(home) if home is not None else config / "martensite" / "keys"

    @recorded("key", _changed)
    def new(self, name: str, passphrase: str, *, role: Role = "release", owner: str | None = None, token: str = "") -> KeyRecord:
        """Make a key, or note one that is in a token; the first one is the default.

        Args:
            name: In this keyring.
            passphrase: To encrypt it under; the PIN of the token.
            role: What it may sign.
            owner: Whose it is; None: its name.
            token: URI of a key that was made there; it signs once, so that what is noted is known to work.

        Raises:
            ConfigError: a name that is no name, or taken; no such URI.
            ArtifactError: too short a passphrase, or what `TokenKey.open` raises.
            StorageError: the disk refused it.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no key name", "letters, digits, - and _, at most 64", "e.g. release-2026")
        if self._record(name).exists() or self._private(name).exists():
            raise ConfigError(f"there is a key {name!r} already", "a name names one key", "take another name, or rotate it")
        record = self._add(name, role, owner or name, passphrase, token)
        if not (self.home / "default").exists():
            self.use(name)
        return record

    def names(self) -> list[str]:
        """All keys, sorted."""
        return sorted(path.stem for path in self.home.glob("*.json") if NAME.fullmatch(path.stem))

    def record(self, name: str | None = None) -> KeyRecord:
        """What is known of a key, by name or by its token's URI; None: of the default.

        Raises:
            ConfigError: no such key.
            ArtifactError: its record is damaged.
        """
        if name is not None and name.startswith(SCHEME):
            return self._noted(name)
        if name is None:
            try:
                name = (self.home / "default").read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                raise ConfigError(f"{self.home} has no default key", remedy="martensite keys new NAME, or --key NAME") from None
        if name not in self.names():
            raise ConfigError(f"there is no key {name!r} in {self.home}", remedy=nearest(name, self.names()))
        content = read_small(self._record(name), "restore it from a backup", LARGEST)
        try:
            record = KeyRecord.model_validate_json(content)
        except (ValueError, MartensiteError):
            raise ArtifactError(
                f"{self._record(name)} is no record of a key", "it is damaged", "restore it from a backup"
            ) from None
        if PublicKey.parse(record.public, str(self._record(name))).id != record.id:
            raise ArtifactError(f"{self._record(name)} was altered", "id and public key belong together", "make a new key")
        return record

    def use(self, name: str) -> KeyRecord:
        """Sign with this key when none is named; raises as `private_path`."""
        record = self._active(name)
        write_text(self.home / "default", name + "\n")
        return record

    def private_path(self, name: str | None = None) -> Path:
        """The file of a key's private part.

        Raises:
            ConfigError: no such key, or one that is retired or revoked.
            ArtifactError: other people can read the file.
        """
        path = self._private(self._active(name).name)
        try:
            mode = path.lstat().st_mode
        except OSError as error:
            raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="restore it from a backup") from None
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise ArtifactError(f"{path} has mode {stat.S_IMODE(mode):o}", "only its owner may read it", f"chmod 600 {path}")
        return path

    def private(self, passphrase: str, name: str | None = None) -> Signer:
        """What signs; None: the default key. Raises as `private_path`, and `ArtifactError` for a wrong passphrase or PIN."""
        record = self._active(name)
        if record.token:
            where, key = str(self._record(record.name)), self._in_token(record, passphrase)
        else:
            path = self.private_path(record.name)
            where, key = str(path), PrivateKey.decrypt(read_small(path, "", LARGEST), passphrase, str(path))
        if key.public.id != record.id:
            raise ArtifactError(f"{where} is of another key than its record's", "the two belong together", "restore a backup")
        return key

    @recorded("key-rotate", _changed)
    def rotate(self, name: str, passphrase: str, token: str = "") -> tuple[KeyRecord, KeyRecord]:
        """A new key under the name; the old one is kept as retired, without its private part. Raises as `new`.

        Args:
            name: In this keyring.
            passphrase: Of the new key, or the PIN of its token.
            token: URI of the new key; a key in a token is followed by one in a token.

        Returns:
            The new record, and the old one under its new name.
        """
        before = self._active(name)
        if before.token and not token:
            raise ConfigError(
                f"the key {name!r} is in a token", "keys in tokens are made with their own tools", "make one there: --token URI"
            )
        changes = {"name": f"{name}-{before.id[:8]}", "state": "retired", "changed": now(), "reason": f"followed by a new {name}"}
        retired = before.model_copy(update=changes)
        record, encrypted = _made(name, before.role, before.owner, passphrase, token)
        if record.id == before.id:
            raise ConfigError(f"{token} is the key {name!r} itself", "a key is followed by another", "give the new key's URI")
        self._write(retired)
        self._private(name).unlink(missing_ok=True)
        if encrypted:
            self._write_private(self._private(name), encrypted)
        self._write(record)
        return record, retired

    @recorded("key-revoke", _changed)
    def revoke(self, name: str, reason: str) -> KeyRecord:
        """Never sign with this key again: its private part is deleted, if it isn't in a token.

        Raises:
            ConfigError: no such key.
        """
        record = self.record(name).model_copy(update={"state": "revoked", "changed": now(), "reason": reason})
        self._write(record)
        self._private(name).unlink(missing_ok=True)
        return record

    def _add(self, name: str, role: Role, owner: str, passphrase: str, token: str) -> KeyRecord:
        record, encrypted = _made(name, role, owner, passphrase, token)
        if encrypted:
            self._write_private(self._private(name), encrypted)
        self._write(record)
        return record

    def _noted(self, uri: str) -> KeyRecord:
        found = [record for record in map(self.record, self.names()) if record.token == uri]
        if not found:
            raise ConfigError(
                f"no key in {self.home} has this URI", "a key has a role and an owner", "martensite keys new NAME --token URI"
            )
        return next((record for record in found if record.state == "active"), found[0])

    def _in_token(self, record: KeyRecord, pin: str) -> Signer:
        path = self._record(record.name)
        if path.stat().st_mode & 0o022:
            raise ArtifactError(f"{path} can be written by others", "it names a library that is loaded", f"chmod 644 {path}")
        return _token(record.token, pin)

    def _active(self, name: str | None) -> KeyRecord:
        record = self.record(name)
        if record.state != "active":
            raise ConfigError(f"the key {record.name!r} is {record.state}", "only an active key signs", "martensite keys list")
        return record

    def _record(self, name: str) -> Path:
        return self.home / f"{name}.json"

    def _private(self, name: str) -> Path:
        return self.home / f"{name}.pem"

    def _write(self, record: KeyRecord) -> None:
        write_text(self._record(record.name), record.model_dump_json(indent=2) + "\n")

    def _write_private(self, path: Path, content: bytes) -> None:
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{path} can't be written: {error.strerror}", remedy="choose another --home") from None


def _made(name: str, role: Role, owner: str, passphrase: str, token: str) -> tuple[KeyRecord, bytes]:
    """A record, and what goes into the file of the private part."""
    key: Signer = _token(token, passphrase) if token else PrivateKey.new()
    encrypted = key.encrypt(passphrase) if isinstance(key, PrivateKey) else b""
    if token:
        key.sign(b"does it sign?")
    public = key.public
    return KeyRecord(name=name, role=role, owner=owner, id=public.id, public=public.pem, token=token, created=now()), encrypted


def _token(uri: str, pin: str) -> Signer:
    from martensite.artifacts.signing.token import TokenKey

    return TokenKey.open(uri, pin)
