"""An alert that suspends: the server signs the claim that its own gate, and every other one, then finds."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from martensite.artifacts.moments import now
from martensite.core.config import Config
from martensite.core.errors import ArtifactError, ConfigError, MartensiteError
from martensite.serving.evidence import whom_to_trust

if TYPE_CHECKING:
    from martensite.artifacts.signing.keys import Signer
    from martensite.serving.line import Line

VARIABLE = "MARTENSITE_PASSPHRASE"


class Suspend(Config):
    """Which alerts suspend, and whose word it is.

    Args:
        alerts: Names of the alerts.
        key: Name of a key of the role monitor (or approver), or its token's URI.
        home: Folder of the keys; None: ~/.config/martensite/keys.
        passphrase_file: Its first line is the key's passphrase; None: the variable MARTENSITE_PASSPHRASE.
    """

    alerts: tuple[str, ...] = Field(min_length=1)
    key: str
    home: Path | None = None
    passphrase_file: Path | None = None

    @field_validator("home", "passphrase_file", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return Path(value) if isinstance(value, str) else value


class Suspender:
    """Holds the key, and suspends with it.

    Args:
        settings: Which alerts, and which key.

    Raises:
        ConfigError: no such key, one of another role, or no passphrase: found out when the server starts, not in an attack.
        ArtifactError: a wrong passphrase.
    """

    def __init__(self, settings: Suspend) -> None:
        try:
            from martensite.artifacts.attest import KINDS
            from martensite.artifacts.signing import Keyring
        except ImportError:
            raise ConfigError("suspending needs an extra", "", "pip install 'martensite[evidence]'") from None
        self.settings = settings
        ring = Keyring(settings.home)
        record, kind = ring.record(settings.key), KINDS["suspension"]
        if record.role not in (kind.role, *kind.also):
            rule = f"a suspension is signed by a key of the role {' or '.join((kind.role, *kind.also))}"
            raise ConfigError(
                f"the key {record.name!r} has the role {record.role}", rule, "martensite keys new NAME --role monitor"
            )
        self._key: Signer = ring.private(_passphrase(settings.passphrase_file), record.name)

    def suspend(self, line: "Line", alert: str, reason: str) -> str:
        """Add a signed suspension of what a line serves to its claims; once for one alert.

        Args:
            line: The version.
            alert: Which alert, and since when.
            reason: Why.

        Returns:
            What came of it.
        """
        from martensite.artifacts.attest import KINDS, acceptable, append_claim, make_claim, read_claims

        case, subject = line.loaded.case, line.loaded.subject
        if case is None or subject is None:
            return "not suspended: no evidence is asked of this model"
        try:
            # Only what counts: else a stranger's line with the name of an alert to come would keep it from suspending.
            found = read_claims(case.claims, subject, whom_to_trust(case.evidence.trust), now())
            if any(getattr(one.predicate, "alert", None) == alert for one in acceptable(found, "suspension")):
                return "suspended before for this alert"
            claim = KINDS["suspension"].parse({"created": now(), "reason": reason, "alert": alert})
            append_claim(case.claims, make_claim(subject, claim, self._key), bundle=case.source)
        except (MartensiteError, OSError) as error:
            return f"NOT SUSPENDED: {error}"
        return "suspended"


def _passphrase(file: Path | None) -> str:
    if file is not None:
        try:
            return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{file} can't be read: {error}", remedy="give a file with the passphrase") from None
    given = os.environ.get(VARIABLE, "")
    if not given:
        raise ConfigError("there is no passphrase for the key that suspends", "", f"give passphrase_file, or set {VARIABLE}")
    return given
