"""Names to parts: attacks, objectives, architectures, suites. Third parties add theirs through entry points."""

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from martensite.core.config import Config, nearest
from martensite.core.errors import ConfigError

T = TypeVar("T", bound=Config)
M = TypeVar("M", bound=type)


class Registry(Generic[T]):
    """The known members of one family, by their ``kind``.

    Args:
        family: Singular noun for messages, e.g. ``"attack"``.
        base: The class that every member derives from.

    A package adds a member by the entry point group ``martensite.<family>s`` (name = kind, value = the class).
    """

    def __init__(self, family: str, base: type[T]) -> None:
        self.family, self.base = family, base
        self._members: dict[str, type[T]] = {}
        self._entry_points_read = False

    def register(self, member: M) -> M:
        """Class decorator: file the class under the default of its ``kind`` field.

        Raises:
            ConfigError: not a class of this family, no default for ``kind``, or another class already has that kind.
        """
        cls: Any = member
        kind = cls.model_fields["kind"].default if isinstance(cls, type) and issubclass(cls, self.base) else None
        if not isinstance(kind, str):
            raise ConfigError(
                f"{cls!r} can't be registered as {self.family}",
                f"a member derives from {self.base.__name__} and names itself by its kind",
                'declare kind: Literal["name"] = "name"',
            )
        taken = self._members.get(kind)
        if taken is not None and taken is not cls:
            raise ConfigError(
                f"{self.family} {kind!r} is registered by {taken.__module__}.{taken.__name__} already",
                "a kind names one class",
                f"give {cls.__module__}.{cls.__name__} another kind",
            )
        self._members[kind] = cls
        return member

    def get(self, kind: str) -> type[T]:
        """The class of that kind.

        Raises:
            ConfigError: no such kind; the message lists the known ones, nearest first.
        """
        members = self._all()
        if kind not in members:
            raise ConfigError(f"there is no {self.family} {kind!r}", remedy=nearest(kind, members))
        return members[kind]

    def build(self, document: Any) -> T:
        """A member from ``"pgd"``, ``{"kind": "pgd", "steps": 10}`` or an instance (returned as it is)."""
        if isinstance(document, self.base):
            return document
        if isinstance(document, str):
            document = {"kind": document}
        if not isinstance(document, dict) or "kind" not in document:
            raise ConfigError(f"{document!r} is no {self.family}", "a name, or a mapping with the key 'kind', is needed")
        return self.get(str(document["kind"])).parse(document)

    def __iter__(self) -> Iterator[type[T]]:
        return iter([cls for _, cls in sorted(self._all().items())])

    def names(self) -> list[str]:
        """All kinds, sorted."""
        return sorted(self._all())

    def _all(self) -> dict[str, type[T]]:
        if not self._entry_points_read:
            self._entry_points_read = True
            for entry in entry_points(group=f"martensite.{self.family}s"):
                try:
                    self.register(entry.load())
                except Exception as error:
                    self._entry_points_read = False  # a part of the members is not all of them: fail again next time
                    raise ConfigError(
                        f"the {self.family} {entry.name!r} of {entry.value} can't be loaded: {type(error).__name__}: {error}",
                        remedy="mend or uninstall the package that declares this entry point",
                    ) from error
        return self._members


class _Dispatch:
    """Pydantic marker: a field of a family accepts any registered member, by object, name or mapping."""

    def __init__(self, registry: Callable[[], Registry[Any]]) -> None:
        self.registry = registry

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def build(document: Any) -> Any:
            return self.registry().build(document)

        return core_schema.no_info_plain_validator_function(
            build,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda part: part.model_dump(mode="json")),
        )


def member_of(registry: Registry[Any]) -> Any:
    """Annotation metadata for a field that holds a member: ``Annotated[Attack, member_of(ATTACKS)]``."""
    return _Dispatch(lambda: registry)
