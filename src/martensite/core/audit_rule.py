"""Where the audit log is, and whether there must be one: from the site's file, the user's, the environment, or whoever asks.

/etc/martensite/audit.yaml            of the machine; with ``required: true`` nothing else counts
~/.config/martensite/audit.yaml       of the user (``$XDG_CONFIG_HOME``)

    log: postgresql://audit@db/evidence    # or a path
    required: true
    actor: ci/nightly                      # who is recorded, beside the account
"""

import os
from pathlib import Path

from martensite.core.config import Config
from martensite.core.errors import ConfigError

SITE = Path("/etc/martensite/audit.yaml")
LOG, ACTOR = "MARTENSITE_AUDIT", "MARTENSITE_ACTOR"


class AuditRule(Config):
    """What such a file says.

    Attributes:
        log: A path (SQLite) or a URL; None: nothing is recorded.
        required: Refuse what can't be recorded.
        actor: Who is recorded; None: the account.
    """

    log: str | None = None
    required: bool = False
    actor: str | None = None


def user_file() -> Path:
    """The user's own file."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "martensite" / "audit.yaml"


def site_rule() -> AuditRule | None:
    """What the machine's file says; None: there is none.

    Raises:
        ConfigError: it can't be read: nobody knows then what it demands.
    """
    return AuditRule.from_yaml(SITE) if os.path.lexists(SITE) else None


def audit_rule(log: str | None = None, actor: str | None = None) -> AuditRule:
    """What holds here and now.

    Args:
        log: Asked for; else ``MARTENSITE_AUDIT``, the user's file, the site's.
        actor: Asked for; else ``MARTENSITE_ACTOR``, the same files.

    Raises:
        ConfigError: a log is required and none is named, or another one than the site's is asked for; a file can't be read.
    """
    site, path = site_rule() or AuditRule(), user_file()
    user = AuditRule.from_yaml(path) if os.path.lexists(path) else AuditRule()
    asked = log or os.environ.get(LOG) or None
    if site.required and site.log is not None and asked not in (None, site.log):
        raise ConfigError("another audit log was asked for", f"{SITE} says which one is written here", "leave --audit out")
    chosen = site.log if site.required else asked or user.log or site.log
    if chosen is None and (site.required or user.required):
        where = SITE if site.required else path
        raise ConfigError("no audit log is named", f"{where} requires one", f"name it there, by --audit URL or by {LOG}")
    who = actor or os.environ.get(ACTOR) or user.actor or site.actor
    return AuditRule(log=chosen, required=site.required or user.required, actor=who)
