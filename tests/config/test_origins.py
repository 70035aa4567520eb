"""Which line a value came from, packed and unpacked."""

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from netd.config import origins, source


def of(text: str) -> dict[str, origins.Node]:
    file, nodes = origins.unpack(origins.pack(source.parse(text.encode(), "x.yaml")))
    assert file == "x.yaml"
    return nodes


def test_value_has_its_line() -> None:
    nodes = of("daemon:\n  workers: 2\n  user: null\nlog: {level: debug}\n")
    assert nodes["daemon"] == [2, {"workers": [2, 2], "user": [3, None]}]
    assert origins.inner(nodes["log"], "level") == [4, "debug"]
    assert origins.inner(nodes["log"], "file") is None


def test_item_of_a_list_has_its_line() -> None:
    node = of("include:\n  - a\n  - b\n")["include"]
    assert list(origins.item_lines(node)) == [2, 3]
    assert origins.value_of(node) == ["a", "b"]
    assert list(origins.item_lines([1, "text"])) == []


def test_long_list_has_its_value_and_one_line() -> None:
    many = [f"10.0.{number // 256}.{number % 256}" for number in range(1001)]
    node = of(f"defaults:\n  access:\n    allow: [{', '.join(many)}]\n")["defaults"][1]["access"][1]["allow"]
    assert node[:2] == [3, None]
    assert origins.value_of(node) == many
    assert list(origins.item_lines(node)) == []


def test_value_of_an_alias_has_the_line_of_the_alias() -> None:
    nodes = of("x-a: &a\n  idle: 1m\nservices:\n  echo:\n    limits: *a\n  other:\n    limits:\n      <<: *a\n")
    assert nodes["services"][1]["echo"] == [5, {"limits": [5, {"idle": [5, "1m"]}]}]
    assert nodes["services"][1]["other"][1]["limits"][1] == {"idle": [8, "1m"]}


def test_keys_that_netd_does_not_know_are_left_out() -> None:
    assert of("x-mine: {a: 1}\n") == {}


SCALARS = st.none() | st.booleans() | st.integers(-9, 99) | st.text("abc é", max_size=4)
TREES: Any = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text("abc", min_size=1), one, max_size=3)
)


@given(TREES)
def test_value_is_that_of_the_file(tree: Any) -> None:
    text = yaml.safe_dump({"daemon": tree}, allow_unicode=True)
    assert origins.value_of(of(text)["daemon"]) == source.parse(text.encode(), "x").tree["daemon"]


def test_position_of_a_tree_without_content() -> None:
    assert of("") == {}
    assert of("services:\n") == {"services": [1, None]}
