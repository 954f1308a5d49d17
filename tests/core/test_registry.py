"""The registry: one kind, one class; unknown names are told the known ones; third parties come in by entry points."""

from importlib.metadata import EntryPoint
from typing import Annotated, Literal

import pytest

from martensite.core import registry as module
from martensite.core.config import Config
from martensite.core.errors import ConfigError
from martensite.core.registry import Registry, member_of


class Tool(Config):
    kind: str


class Hammer(Tool):
    kind: Literal["hammer"] = "hammer"
    weight: float = 1.0


class Saw(Tool):
    kind: Literal["saw"] = "saw"


class Stranger(Config):
    kind: Literal["stranger"] = "stranger"


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    registry = Registry("tool", Tool)
    registry.register(Saw)
    registry.register(Hammer)
    return registry


def test_members_come_in_one_order(tools):
    assert tools.names() == ["hammer", "saw"]
    assert list(tools) == [Hammer, Saw]


def test_build_from_name_mapping_and_instance(tools):
    assert tools.build("hammer") == Hammer()
    assert tools.build({"kind": "hammer", "weight": "1/2"}) == Hammer(weight=0.5)
    made = Hammer(weight=2.0)
    assert tools.build(made) is made


def test_an_unknown_kind_names_the_nearest(tools):
    with pytest.raises(ConfigError, match=r"no tool 'hamer'.*did you mean 'hammer'\? known: hammer, saw"):
        tools.get("hamer")
    with pytest.raises(ConfigError, match="no tool '3'"):
        tools.build({"kind": 3})


def test_an_unknown_parameter_names_the_nearest(tools):
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        tools.build({"kind": "hammer", "wieght": 1})


@pytest.mark.parametrize("document", [None, 3, {}, {"weight": 1}, ["hammer"], Stranger(), Hammer])
def test_what_is_no_member_is_refused(tools, document):
    with pytest.raises(ConfigError, match="is no tool"):
        tools.build(document)


def test_a_kind_names_one_class(tools):
    class OtherHammer(Tool):
        kind: Literal["hammer"] = "hammer"

    with pytest.raises(ConfigError, match=r"'hammer' is registered by .*Hammer already"):
        tools.register(OtherHammer)
    assert tools.get("hammer") is Hammer
    assert tools.register(Hammer) is Hammer  # the same class again, as when a module is imported twice, is no clash


def test_only_named_classes_of_the_family_can_be_registered(tools):
    class Nameless(Tool):
        pass

    for member in (Stranger, Nameless, Hammer(), "hammer", dict):
        with pytest.raises(ConfigError, match="can't be registered"):
            tools.register(member)
    assert tools.names() == ["hammer", "saw"]


def test_a_field_of_the_family(tools):
    class Box(Config):
        first: Annotated[Tool, member_of(tools)]
        rest: tuple[Annotated[Tool, member_of(tools)], ...] = ()

    box = Box.parse({"first": "saw", "rest": [{"kind": "hammer", "weight": "1/2"}, "saw"]})
    assert box.first == Saw()
    assert box.rest == (Hammer(weight=0.5), Saw())
    assert Box.parse(box.model_dump()) == box
    assert Box.model_validate_json(box.model_dump_json()) == box
    assert box.model_dump()["rest"][0] == {"kind": "hammer", "weight": 0.5}
    with pytest.raises(ConfigError, match="no tool 'sew'"):
        Box(first="sew")
    with pytest.raises(ConfigError, match="is no tool"):
        Box(first=Stranger())


# entry points


def offer(monkeypatch, tmp_path, source, name="mallet"):
    """Let a module with this source offer its `Mallet` as a tool."""
    stem = f"third_party_{tmp_path.name}"
    (tmp_path / f"{stem}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    asked = []

    def entry_points(group):
        asked.append(group)
        return [EntryPoint(name, f"{stem}:Mallet", group)]

    monkeypatch.setattr(module, "entry_points", entry_points)
    return asked


def test_a_package_adds_a_member(monkeypatch, tmp_path):
    source = """
        from typing import Literal
        from martensite.core.config import Config
        class Base(Config):
            kind: str
        class Mallet(Base):
            kind: Literal["mallet"] = "mallet"
    """
    asked = offer(monkeypatch, tmp_path, source.replace("\n        ", "\n"))
    registry = Registry("tool", Config)
    assert registry.names() == ["mallet"]
    assert registry.build("mallet").kind == "mallet"
    assert asked == ["martensite.tools"]  # read once


@pytest.mark.parametrize(
    "source",
    ["raise RuntimeError('no licence')", "import module_that_is_absent", "pass", "Mallet = 3", "class Mallet: kind = 'mallet'"],
)
def test_a_broken_package_is_named_every_time(monkeypatch, tmp_path, source):
    offer(monkeypatch, tmp_path, source)
    registry = Registry("tool", Tool)
    registry.register(Saw)
    for _ in range(2):  # not silently left out the second time
        with pytest.raises(ConfigError, match=r"'mallet' of third_party_.*can't be loaded"):
            registry.get("saw")
