"""The errors of pydantic as messages in the terms of a YAML file."""

from typing import Any, Literal

import pytest
from pydantic import ValidationError

from netd.config.findings import describe, exists, is_section, model_at
from netd.config.model import DefaultsSection, FileSection, ServiceSection
from netd.values import Duration, Model


class Item(Model):
    number: int = 0


class Section(Model):
    flag: bool = False
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    names: list[str] = []  # noqa: RUF012
    pair: tuple[str, ...] = ()
    table: dict[str, int] = {}  # noqa: RUF012
    inner: Item = Item()
    items: tuple[Item, ...] = ()
    choice: Literal["a", "b"] = "a"
    time: Duration = 1.0
    options: dict[str, Any] = {}  # noqa: RUF012


def message(**values: object) -> str:
    with pytest.raises(ValidationError) as raised:
        Section.model_validate(values)
    [item] = raised.value.errors()
    return describe(item)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"flag": "maybe"}, "expected true or false, got 'maybe'"),
        ({"text": 7}, "expected text, got 7"),
        ({"number": "x"}, "expected a whole number, got 'x'"),
        ({"ratio": "x"}, "expected a number, got 'x'"),
        ({"names": "x"}, "expected a list, got 'x'"),
        ({"pair": "x"}, "expected a list, got 'x'"),
        ({"table": None}, "expected a mapping, got nothing"),
        ({"inner": True}, "expected a mapping, got true"),
        ({"choice": "c"}, "expected 'a' or 'b', got 'c'"),
        ({"time": "soon"}, "expected a duration such as 30s, 5m or 1h, got 'soon'"),
    ],
)
def test_message_has_the_expected_type_and_the_value(values: dict[str, object], expected: str) -> None:
    assert message(**values) == expected


def test_other_message_of_pydantic_is_in_lower_case_and_has_the_value() -> None:
    item = {"type": "string_too_long", "msg": "String should be short", "input": "xyz"}
    assert describe(item) == "string should be short, got 'xyz'"


def test_value_exists_at_its_path_only() -> None:
    tree = {"a": [{"b": None}]}
    assert exists(tree, ())
    assert exists(tree, ("a", 0, "b"))
    assert not exists(tree, ("a", 1))
    assert not exists(tree, ("c",))
    assert not exists(tree, ("a", 0, "b", "type"))


def test_section_is_a_mapping_with_keys_of_its_own() -> None:
    assert is_section(FileSection, "daemon")
    assert is_section(DefaultsSection, "limits")
    assert is_section(ServiceSection, "options")
    assert not is_section(ServiceSection, "enabled")
    assert not is_section(ServiceSection, "unknown")


def test_model_is_found_also_below_a_list() -> None:
    assert model_at(Section, ()) is Section
    assert model_at(Section, ("inner",)) is Item
    assert model_at(Section, ("items", 3)) is Item
    assert model_at(Section, ("text", "x")) is Section
