"""The errors of pydantic as messages in the terms of a YAML file."""

from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core.core_schema import ErrorType

from netd.config.model import DefaultsSection, FileSection, ServiceSection
from netd.config.model_errors import describe, exists, is_section, model_at, unknown_key
from netd.values import Duration, Model, Size


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
    switch: Literal[True, False, "True", "auto"] = "auto"
    time: Duration = 1.0
    options: dict[str, Any] = {}  # noqa: RUF012


def message(**values: object) -> str:
    with pytest.raises(ValidationError) as raised:
        Section.model_validate(values)
    [item] = raised.value.errors()
    return str(describe(item)[0])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"flag": "maybe"}, "expected true or false, got 'maybe'"),
        ({"text": 7}, "expected text, got 7"),
        ({"number": "x"}, "expected a whole number, got 'x'"),
        ({"ratio": "x"}, "expected a number, got 'x'"),
        ({"names": "x"}, "expected a list, got 'x'; did you mean [x]?"),
        ({"pair": "x"}, "expected a list, got 'x'; did you mean [x]?"),
        ({"table": None}, "expected a mapping, got nothing"),
        ({"inner": True}, "expected a mapping, got true"),
        ({"choice": "c"}, "expected 'a' or 'b', got 'c'"),
        ({"switch": "maybe"}, "expected true, false, 'True' or 'auto', got 'maybe'"),
        ({"time": "soon"}, "expected a duration such as 30s, 5m or 1h, got 'soon'"),
    ],
)
def test_message_has_the_expected_type_and_the_value(values: dict[str, object], expected: str) -> None:
    assert message(**values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"flag": "No"}, "expected true or false, got 'No'; write it without quotes"),
        ({"flag": 1}, "expected true or false, got 1; did you mean true?"),
        ({"number": "7"}, "expected a whole number, got '7'; write it without quotes"),
        ({"number": "08"}, "expected a whole number, got '08'; did you mean 8?"),
        ({"names": "tcp://*:7"}, "expected a list, got 'tcp://*:7'; did you mean [tcp://*:7]?"),
        ({"names": "local"}, "expected a list, got 'local'; did you mean [local]?"),
        ({"names": "-x"}, "expected a list, got '-x'; a space is missing after '-'"),
        ({"inner": "number:7"}, "expected a mapping, got 'number:7'; a space is missing after 'number:'"),
        ({"choice": "A"}, "expected 'a' or 'b', got 'A'; did you mean 'a'?"),
        ({"time": 30}, "expected a duration such as 30s, 5m or 1h, got 30; did you mean '30s'?"),
    ],
)
def test_value_that_can_be_guessed_has_a_hint(values: dict[str, object], expected: str) -> None:
    assert message(**values) == expected


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (Annotated[Size, Field(le=2**20)], "2MiB", "expected at most 1MiB, got '2MiB'"),
        (Annotated[Size, Field(le=65535)], "64KiB", "expected at most 65535, got '64KiB'"),
        (Annotated[Duration, Field(ge=0.1)], "1ms", "expected at least 100ms, got '1ms'"),
        (Annotated[int, Field(gt=0)], 0, "expected more than 0, got 0"),
        (Annotated[int, Field(lt=9)], 9, "expected less than 9, got 9"),
        (Annotated[int, Field(multiple_of=5)], 7, "expected a multiple of 5, got 7"),
        (Annotated[str, Field(max_length=2)], "abc", "expected at most 2 characters, got 'abc'"),
        (Annotated[str, Field(min_length=1)], "", "expected at least 1 characters, got ''"),
        (Annotated[list[int], Field(max_length=1)], [1, 2], "expected at most 1 items, got [1, 2]"),
        (Annotated[str, Field(pattern="^a$")], "b", "expected text of the form ^a$, got 'b'"),
        (Annotated[float, Field(allow_inf_nan=False)], float("inf"), "expected a finite number, got inf"),
        (bytes, 7, "expected another value, got 7"),
    ],
)
def test_bound_of_pydantic_is_told_in_the_words_of_netd(annotation: Any, value: object, expected: str) -> None:
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(annotation).validate_python(value, strict=True)
    assert [str(fault) for fault in describe(raised.value.errors()[0])] == [expected]


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_error_of_pydantic_is_told_in_its_own_words(kind: str) -> None:
    context = {"expected": "'a' or 'b'", "pattern": "x", "error": ValueError("ours")}
    context |= dict.fromkeys(("ge", "gt", "le", "lt", "multiple_of", "max_length", "min_length"), 1)
    item = {"type": kind, "input": 7, "ctx": context, "msg": "Input should be a valid thing"}
    [fault] = describe(item)
    assert "nput should" not in str(fault)
    assert str(fault).startswith("expected ") or kind in ("value_error", "assertion_error")


def test_message_that_the_author_of_a_service_chose_stays() -> None:
    item = {"type": "too_spicy", "msg": "Not so much pepper", "input": "xyz", "ctx": {}}
    assert [str(fault) for fault in describe(item)] == ["Not so much pepper"]


def test_unknown_key_has_a_hint() -> None:
    assert unknown_key("idel", ["idle", "line"]) == ("unknown key", "did you mean 'idle'?")
    assert unknown_key("idle:5m", ["idle"]) == ("unknown key", "a space is missing after 'idle:'")
    assert unknown_key("zzz", ["b", "a"]) == ("unknown key", "known: a, b")


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
