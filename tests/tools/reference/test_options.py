"""Options as values: their types in words, ranges and defaults."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from netd.config.model import DaemonSection, ServiceSection
from netd.values import Duration, Model, RateOrOff, Size, Timeout
from tools.reference.options import notations, options_of, tree, value_text


class Inner(Model):
    """A mapping in it."""

    depth: Annotated[int, Field(ge=1)] = 1
    """How deep."""


class Outer(Model):
    """The options."""

    wait: Annotated[Duration, Field(ge=0.1, le=3600)] = 5.0
    """First.

    Second.
    """
    idle: Timeout = None
    size: Annotated[Size, Field(le=2**20)] = 4096
    rate: RateOrOff = None
    mode: Literal["a", "b", True] = "a"
    name: Annotated[str, Field(min_length=1, max_length=9)] | None = None
    words: Annotated[tuple[str, ...], Field(min_length=1)] = ("x",)
    file: str = ""
    inner: Inner = Inner()
    named: dict[str, Inner] = Field(default_factory=dict)
    needed: bool = Field(alias="must")


def test_types_ranges_and_defaults() -> None:
    found = {one.name: (one.kind, one.default) for one in options_of(Outer)}
    assert found == {
        "wait": ("duration, 100ms to 1h", "5s"),
        "idle": ("duration or off", "off"),
        "size": ("size, at most 1MiB", "4KiB"),
        "rate": ("rate or off", "off"),
        "mode": ("`a`, `b` or `true`", "a"),
        "name": ("text, 1 to 9 characters", "unset"),
        "words": ("list of texts, not empty", "[x]"),
        "file": ("text", "unset"),
        "inner": ("mapping", None),
        "named": ("mapping", "{}"),
        "must": ("`true` or `false`", None),
    }
    [needed] = [one for one in options_of(Outer) if one.required]
    assert needed.name == "must"


def test_options_of_mappings_follow_them() -> None:
    names = [one.name for one in tree(Outer, "x.")]
    assert names[-5:] == ["x.inner", "x.inner.depth", "x.named", "x.named.NAME.depth", "x.must"]


def test_own_options_come_before_inherited_ones() -> None:
    names = [one.name for one in options_of(ServiceSection)]
    assert names.index("listen") < names.index("limits")


def test_a_type_without_a_notation_is_an_error_that_names_the_option() -> None:
    class Bad(Model):
        """An option of a type that no operator knows."""

        one: bytes = b""

    with pytest.raises(TypeError, match="one: .*bytes.* needs a netd.notation.Notation"):
        options_of(Bad)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unset"),
        ("", "unset"),
        (False, "false"),
        (7, "7"),
        ("%H", '"%H"'),
        ("*", '"*"'),
        ("a: b", '"a: b"'),
        ("tcp://*:7", "tcp://*:7"),
        (["a", 1], "[a, 1]"),
        ({"a": [True]}, "{a: [true]}"),
    ],
)
def test_values_are_as_in_yaml(value: object, text: str) -> None:
    assert value_text(value) == text


def test_notations_are_those_of_all_options() -> None:
    found = {one.name: one.meaning for one in notations()}
    assert found.keys() >= {"duration", "size", "network", "URL"}
    assert "250ms" in found["duration"]
    assert {one.name for option in tree(DaemonSection) for one in option.notations} <= found.keys()
