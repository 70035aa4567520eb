"""The docstrings of attributes."""

import linecache
import sys
from types import ModuleType
from typing import Any

import pytest

from netd.docstrings import attribute_docstrings


class Base:
    first: int
    """The first."""
    second: int
    """Of the base."""


class Derived(Base):
    """No attribute."""

    second: int = 2
    """Of two
    lines."""
    bare: int
    third = "the last"
    "No declaration."

    class Inner:
        fourth: int
        """Not indented
as much as the class."""

    def method(self) -> None:
        self.fifth: int = 5
        """Of a function."""


def test_each_attribute_has_the_string_below_it() -> None:
    assert attribute_docstrings(Base) == {"first": "The first.", "second": "Of the base."}


def test_a_class_has_those_of_its_bases_and_its_own_before_them() -> None:
    assert attribute_docstrings(Derived) == {"first": "The first.", "second": "Of two\nlines."}


def test_a_class_in_a_class() -> None:
    assert attribute_docstrings(Derived.Inner) == {"fourth": "Not indented\nas much as the class."}


@pytest.mark.parametrize("line", ["    x = 1", "class Other: x = (", "def f(): ''", "\0"])
def test_a_class_in_a_file_that_has_changed_has_none(line: str) -> None:
    name = f"<changed {line!r}>"
    module: dict[str, Any] = {"__name__": name}
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__file__ = name
    try:
        exec(compile("class Options:\n    x: int\n    'The first.'\n", name, "exec"), module)
        linecache.cache[name] = (1, None, [f"{line}\n", "class Options:\n", f"{line}\n"], name)
        assert attribute_docstrings(module["Options"]) == {}
    finally:
        del sys.modules[name], linecache.cache[name]


def test_a_class_without_source_has_none() -> None:
    made = type("Made", (), {"__annotations__": {"first": int}})
    assert attribute_docstrings(made) == {}
    assert attribute_docstrings(int) == {}
