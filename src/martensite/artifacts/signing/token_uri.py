"""Which key in which token: a PKCS#11 URI (RFC 7512), such as ``pkcs11:token=hsm;object=release?module-path=/usr/lib/p11.so``."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from martensite.core.config import nearest
from martensite.core.errors import ConfigError

SCHEME = "pkcs11:"
PATH = ("token", "serial", "object", "id", "type")
QUERY = ("module-path", "module-name")
SECRET = ("pin-value", "pin-source")
FOLDERS = tuple(  # where distributions put modules
    Path(place)
    for place in (
        "/usr/lib64/pkcs11", "/usr/lib/pkcs11", "/usr/lib/x86_64-linux-gnu/pkcs11", "/usr/lib/aarch64-linux-gnu/pkcs11",
        "/usr/lib/softhsm", "/usr/lib64/softhsm", "/usr/local/lib/softhsm", "/usr/lib/x86_64-linux-gnu", "/usr/lib64",
    )
)  # fmt: skip


@dataclass(frozen=True)
class TokenUri:
    """A URI, taken apart.

    Attributes:
        token: Label of the token; ``""``: any.
        serial: Its serial number; ``""``: any.
        label: Of the key; ``""``: any.
        key: Its id; empty: any.
        module: The library that speaks to the token.
    """

    token: str
    serial: str
    label: str
    key: bytes
    module: Path

    @classmethod
    def parse(cls, uri: str) -> "TokenUri":
        """Take it apart.

        Raises:
            ConfigError: no such URI, a PIN in it, or no module.
        """
        if not uri.startswith(SCHEME):
            raise ConfigError(f"{uri[:80]!r} is no URI of a token", "such a URI begins with pkcs11:", f"e.g. {_example()}")
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        parts = _attributes(path, ";", PATH) | _attributes(query, "&", QUERY)
        if "object" not in parts and "id" not in parts:
            raise ConfigError("the URI names no key", "a key is named by object= (its label) or id=", f"e.g. {_example()}")
        if "token" not in parts and "serial" not in parts:
            raise ConfigError("the URI names no token", "a token is named by token= (its label) or serial=", f"e.g. {_example()}")
        if parts.get("type", b"private") != b"private":
            raise ConfigError(f"the URI is of a {_text(parts['type'])!r}", "what signs is a private key", "leave type= out")
        token, serial, label = (_text(parts.get(name, b"")) for name in ("token", "serial", "object"))
        return cls(token, serial, label, parts.get("id", b""), _module(parts))

    def __str__(self) -> str:
        key = f"the key {self.label!r}" if self.label else f"the key {self.key.hex()}"
        return f"{key} in the token {self.token or self.serial!r}"


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name in SECRET:
            raise ConfigError(
                f"the URI holds a {name}",
                "whoever lists processes or reads the keyring sees it",
                "leave it out: --passphrase-file",
            )
        if not equals or name not in known:
            raise ConfigError(f"the URI holds {part[:80]!r}", f"known are {', '.join(known)}", nearest(name, known))
        if name in found:
            raise ConfigError(f"the URI holds {name} twice", "one key is named once", "leave one of them out")
        if re.search(r"%(?![0-9A-Fa-f]{2})", value):
            raise ConfigError(f"the URI holds {part[:80]!r}", "% is followed by two hex digits", "write %25 for %")
        found[name] = unquote_to_bytes(value)
    return found


def _module(parts: dict[str, bytes]) -> Path:
    given = [name for name in QUERY if name in parts]
    if len(given) != 1:
        raise ConfigError(
            "the URI names no module" if not given else "the URI names its module twice",
            "a token is reached through the library of its maker",
            f"add ?module-path=FILE, e.g. {_example()}",
        )
    text = _text(parts[given[0]])
    if given == ["module-path"]:
        path = Path(text)
        if not path.is_absolute() or not os.path.isfile(path):
            raise ConfigError(f"there is no module {text!r}", "module-path is an absolute path of a file", "install it first")
        return path
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise ConfigError(f"{text!r} is no module's name", "such a name is of letters, digits, - and _", "give module-path")
    for folder in FOLDERS:
        for name in (f"{text}.so", f"lib{text}.so"):
            if (folder / name).is_file():
                return folder / name
    raise ConfigError(f"there is no module {text!r}", "modules are looked for in the system's folders", "give module-path")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigError(
            f"the URI holds {value!r}", "labels are UTF-8; only an id is of bytes", "name the key by its id"
        ) from None


def _example() -> str:
    return "'pkcs11:token=hsm;object=release?module-path=/usr/lib/softhsm/libsofthsm2.so'"
