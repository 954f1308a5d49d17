"""Where the audit log is: who asks, who decides."""

import pytest

from martensite.core.audit_rule import AuditRule, audit_rule
from martensite.core.errors import ConfigError


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write the machine's and the user's file."""
    monkeypatch.setattr("martensite.core.audit_rule.SITE", tmp_path / "site.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("MARTENSITE_AUDIT", "MARTENSITE_ACTOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "martensite").mkdir()

    def write(site=None, user=None):
        for path, text in ((tmp_path / "site.yaml", site), (tmp_path / "martensite" / "audit.yaml", user)):
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text)

    return write


def test_nobody_asked(files):
    assert audit_rule() == AuditRule()


def test_the_nearest_counts(files, monkeypatch):
    files(site="{log: site.db, actor: site}", user="{log: user.db, actor: user}")
    assert audit_rule() == AuditRule(log="user.db", actor="user")
    monkeypatch.setenv("MARTENSITE_AUDIT", "environment.db")
    monkeypatch.setenv("MARTENSITE_ACTOR", "environment")
    assert audit_rule() == AuditRule(log="environment.db", actor="environment")
    assert audit_rule("asked.db", "asked") == AuditRule(log="asked.db", actor="asked")
    files(site="{log: site.db}")
    monkeypatch.delenv("MARTENSITE_AUDIT")
    assert audit_rule().log == "site.db"


def test_what_the_machine_requires_nobody_evades(files, monkeypatch):
    files(site="{log: site.db, required: true}", user="{log: user.db}")
    assert audit_rule() == AuditRule(log="site.db", required=True)
    assert audit_rule("site.db").log == "site.db"
    with pytest.raises(ConfigError, match="another audit log"):
        audit_rule("other.db")
    monkeypatch.setenv("MARTENSITE_AUDIT", "other.db")
    with pytest.raises(ConfigError, match="another audit log"):
        audit_rule()


@pytest.mark.parametrize("given", [{"site": "required: true"}, {"user": "required: true"}])
def test_one_is_required_and_none_is_named(given, files):
    files(**given)
    with pytest.raises(ConfigError, match="no audit log is named"):
        audit_rule()


def test_the_user_requires_one_and_asks_for_another(files):
    files(user="{log: user.db, required: true}")
    assert audit_rule("other.db") == AuditRule(log="other.db", required=True)


def test_a_file_that_cannot_be_read(files):
    files(user="lgo: x.db")
    with pytest.raises(ConfigError, match="log"):
        audit_rule()
