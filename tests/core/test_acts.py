"""Acts: recorded once, where somebody records, and never in the way where nobody does."""

import threading

import pytest

from martensite.core import acts
from martensite.core.acts import Act, recorded, recording
from martensite.core.errors import ConfigError, StorageError


class Memory:
    def __init__(self, refuse=()):
        self.kept, self.refuse = [], refuse

    def record(self, act, *, later):
        if act.outcome in self.refuse:
            raise StorageError(f"no room for {act.outcome}")
        self.kept.append((act.action, act.outcome, act.name, later))


def made(given, result):
    return Act(name=f"{given['x']}->{result}")


@recorded("double", made)
def double(x):
    """Twice."""
    return 2 * x


@recorded("build", made, announced=True)
def build(x, *, fails=None):
    if fails is not None:
        raise fails
    return double(x) + look(x)


@recorded("access", lambda given, result: Act(name="data"), always=True)
def look(x):
    return x


def test_nobody_records_and_nothing_changes():
    assert double(2) == 4
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    with pytest.raises(TypeError):
        double()


def test_acts_are_recorded_in_order_and_inner_ones_belong_to_the_outer():
    memory = Memory()
    with recording(memory):
        assert double(2) == 4
        assert build(3) == 9
    assert memory.kept == [
        ("double", "done", "2->4", False),
        ("build", "begun", "3->None", False),
        ("access", "done", "data", False),
        ("build", "done", "3->9", True),
    ]
    double(5)
    assert len(memory.kept) == 4


@pytest.mark.parametrize(("error", "outcome"), [(ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_what_failed_is_recorded_with_why(error, outcome):
    memory = Memory()
    with recording(memory), pytest.raises(type(error)):
        build(1, fails=error)
    assert [kept[:2] for kept in memory.kept] == [("build", "begun"), ("build", outcome)]
    with recording(memory):  # and the next act is no inner one
        double(1)
    assert memory.kept[-1][:2] == ("double", "done")


def test_what_cannot_be_announced_does_not_begin():
    with recording(Memory(refuse=["begun"])), pytest.raises(StorageError):
        build(1, fails=AssertionError("it began"))
    with recording(Memory(refuse=["done"])), pytest.raises(StorageError):
        double(1)


def test_all_threads_are_recorded_and_the_innermost_recorder_counts():
    outer, inner = Memory(), Memory()
    with recording(outer):
        thread = threading.Thread(target=double, args=(1,))
        thread.start()
        thread.join()
        with recording(inner):
            double(2)
        double(3)
    assert [kept[2] for kept in outer.kept] == ["1->2", "3->6"]
    assert [kept[2] for kept in inner.kept] == ["2->4"]


def test_a_description_that_fails_loses_no_result():
    memory = Memory()

    @recorded("odd", lambda given, result: Act(name=given["missing"]))
    def odd():
        return 7

    with recording(memory):
        assert odd() == 7
        with pytest.raises(TypeError):
            double(1, 2)
    assert memory.kept == [("odd", "done", "", False)]


def test_where_the_machine_requires_it_nothing_is_done_unrecorded(tmp_path, monkeypatch):
    site = tmp_path / "audit.yaml"
    monkeypatch.setattr(acts, "SITE", site)
    monkeypatch.setattr("martensite.core.audit_rule.SITE", site)
    assert double(1) == 2
    site.write_text("{log: /var/log/audit.db, required: true}")
    with pytest.raises(ConfigError, match="nobody records this"):
        double(1)
    with recording(Memory()):
        assert double(1) == 2
    site.write_text("{log: /var/log/audit.db}")
    assert double(1) == 2
    site.write_text("{required: maybe}")  # what nobody can read may demand anything
    with pytest.raises(ConfigError):
        double(1)
