import pytest

from martensite.artifacts.signing import Keyring

PASSPHRASE = "a passphrase of words"


@pytest.fixture
def passphrase():
    return PASSPHRASE


@pytest.fixture
def ring(tmp_path):
    """A keyring with one key a role."""
    ring = Keyring(tmp_path / "keys")
    for role in ("release", "evaluator"):
        ring.new(role, PASSPHRASE, role=role, owner=f"{role}'s owner")
    return ring


@pytest.fixture
def model(tmp_path):
    """A folder with files at several depths, and names that sort otherwise as paths than as strings."""
    folder = tmp_path / "model"
    for name in ("weights", "a/b", "a/c/d", "a.b", "a-b", ".git/config", "empty"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name == "empty" else f"content of {name}".encode() * 9)
    return folder
