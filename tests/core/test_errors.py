"""The error tree is what its drawing says, and every error carries value, rule and remedy."""

import pickle
import re

import pytest

from martensite.core import errors
from martensite.core.errors import ConfigError, InputError, MartensiteError, StorageError

CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MartensiteError)]


def test_the_drawing_is_the_tree():
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^    ([│├└─ ]*)(\w*Error) {2,}", line):
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            parents[found[2]] = path[-2] if depth else "Exception"
    assert parents == {cls.__name__: cls.__base__.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES)
def test_exit_codes(cls):
    assert cls.exit_code == (2 if issubclass(cls, (InputError, StorageError)) else 1)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_crosses_process_borders(cls):
    error = pickle.loads(pickle.dumps(cls("eps is 8", "at most 1", "write 8/255")))
    assert type(error) is cls
    assert (error.value, error.rule, error.remedy) == ("eps is 8", "at most 1", "write 8/255")
    assert str(error) == "eps is 8. at most 1. write 8/255."


def test_one_full_stop_between_parts():
    assert str(ConfigError("eps is 8.", remedy="write 8/255.")) == "eps is 8. write 8/255."
    assert str(StorageError("disk full")) == "disk full."
