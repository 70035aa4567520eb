"""Reading YAML: positions, duplicate keys, malicious files."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from netd.config import source
from netd.config.problems import Mark
from netd.config.source import SourceError, parse


def tree(text: str) -> Any:
    found = parse(text.encode(), "f")
    assert not found.problems
    return found.tree


def complaint(content: bytes) -> str:
    with pytest.raises(SourceError) as raised:
        parse(content, "f")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_scalars_are_resolved_as_in_yaml_1_1() -> None:
    text = "a: 1\nb: 1.5\nc: yes\nd: off\ne: ~\nf:\ng: text\nh: '1'\ni: 0x10\nj: [1, [x]]\nk: {l: m}\n"
    assert tree(text) == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": False,
        "e": None,
        "f": None,
        "g": "text",
        "h": "1",
        "i": 16,
        "j": [1, ["x"]],
        "k": {"l": "m"},
    }


def test_umask_is_text_as_the_shell_reads_it() -> None:
    read = source.parse(b"a: {umask: 022}\nb: {umask: 22, mask: 022}\nc: {umask: '077'}", "x")
    assert (read.tree["a"]["umask"], read.tree["b"]["umask"], read.tree["c"]["umask"]) == ("022", "22", "077")
    assert [problem.path for problem in read.problems] == [("b", "mask")]


def test_number_with_a_leading_zero_is_a_problem_and_never_octal() -> None:
    for text in ("010", "-007", "0_1"):
        [problem] = parse(f"a: {text}\n".encode(), "f").problems
        assert str(problem).startswith(f"f:1:4: a: {text} is ")
        assert problem.hint == "write it without the zero, or in quotes"
    assert tree("a: 0\nb: '010'\nc: 0x10\nd: 0.5\ne: 010/8\nf: [09]\n") == {
        "a": 0,
        "b": "010",
        "c": 16,
        "d": 0.5,
        "e": "010/8",
        "f": ["09"],
    }


def test_dates_and_base_60_numbers_of_yaml_1_1_are_text() -> None:
    assert tree("a: 2023-11-14\nb: 12:30\nc: 12:30:45.6\n=: x\n") == {
        "a": "2023-11-14",
        "b": "12:30",
        "c": "12:30:45.6",
        "=": "x",
    }


def test_tag_of_text_is_accepted() -> None:
    assert tree("a: ! 12\n") == {"a": "12"}


def test_keys_are_text() -> None:
    assert tree("on: 1\n7: 2\n") == {"on": 1, "7": 2}


def test_an_empty_file_is_an_empty_mapping() -> None:
    for text in ("", "# nothing\n", "---\n", "\ufeffa: 1\n"):
        assert tree(text) in ({}, {"a": 1})


def test_mark_is_the_position_of_a_value_or_key() -> None:
    found = parse(b"a:\n  b: [x,\n    y]\n", "f")
    assert found.mark(("a", "b", 1)) == Mark("f", 3, 5)
    assert found.mark(("a", "b")) == Mark("f", 2, 6)
    assert found.mark(("a", "b"), key=True) == Mark("f", 2, 3)
    assert found.mark(("a", "b", 1, "nothing", "there")) == Mark("f", 3, 5)


def test_duplicate_key_is_a_problem() -> None:
    found = parse(b"a: 1\nb: {c: 1,\n  c: 2}\na: 2\n", "f")
    assert [str(problem) for problem in found.problems] == [
        "f:3:3: b.c: duplicate key, first in line 2",
        "f:4:1: a: duplicate key, first in line 1",
    ]


def test_aliases_and_merges() -> None:
    text = "a: &x {p: 1, q: 2}\nb: *x\nc: {<<: *x, q: 3}\nd: {<<: [{q: 4}, *x], r: 5}\n"
    assert tree(text) == yaml.safe_load(text)
    assert parse(text.encode(), "f").mark(("b", "p")) == Mark("f", 2, 4)


def test_anchors_on_keys_and_aliases_for_keys() -> None:
    assert tree("&k echo: {type: *k}\nb: {*k : 1}\n") == {"echo": {"type": "echo"}, "b": {"echo": 1}}


def test_merged_keys_keep_their_order() -> None:
    text = "a: &a {z: 1, y: 2, x: 3}\nb: {<<: *a, w: 4}\n"
    assert list(tree(text)["b"]) == ["w", "z", "y", "x"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: *x\n", "f:1:4: a: undefined alias *x"),
        ("a: &x [*x]\n", "f:1:8: a[0]: recursive alias *x"),
        ("a: {<<: 1}\n", "f:1:5: a: << merges mappings only"),
        ("a: !!python/object:os.system x\n", "f:1:4: a: cannot be read as python/object:os.system"),
        ("a: !x [1]\n", "f:1:4: a: unknown tag !x"),
        ("a: !!int ''\n", "f:1:4: a: cannot be read as int"),
        ("a: !!float '+'\n", "f:1:4: a: cannot be read as float"),
        ("a: !%1B x\n", "f:1:4: a: cannot be read as !\\x1b"),
        ("a: !!int x\n", "f:1:4: a: cannot be read as int"),
        ("a: !!binary eA==\n", "f:1:4: a: cannot be read as binary"),
    ],
)
def test_problem_leaves_a_tree(text: str, message: str) -> None:
    assert [str(problem) for problem in parse(text.encode(), "f").problems] == [message]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1\nb: 2\n", "f:1:4: this [ is not closed"),
        (b"a: 'x\n", "f:1:4: this quote is not closed"),
        (b"\ta: 1\n", "f:1:1: a tab; YAML is indented with spaces"),
        (b"a: 1\n--- \nb: 1\n", "f:2:1: more than one document in the file"),
        (b"- a\n", "f:1:1: expected a mapping of sections such as services:"),
        (b"hello\n", "f:1:1: expected a mapping"),
        (b"{[a]: 1}\n", "f:1:2: a key must be a string"),
        (b"a: 1\nb: \xff\n", "f:2:4: invalid UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "f:1:1: invalid character '\\x7f'"),
        (b"a: \x00\n", "f:1:4: invalid character '\\x00'"),
        (b"a: b\x1b[1m\n", "f:1:5: invalid character"),
        (b"[" * 900, "nested deeper than 32 levels"),
        (b"{a: " * 900, "nested deeper than 32 levels"),
        (b"[" * 100_000, "f:1:"),  # PyYAML has a limit too since 6.0.4, which may apply first
        (b"{a: " * 100_000, "f:1:"),
        (b"- " * 100_000, "nested deeper than 32 levels"),
        (b"a: [" + b"1," * 60_000 + b"]", "more than 50000 values"),
    ],
)
def test_content_that_cannot_be_read_is_an_error(content: bytes, message: str) -> None:
    assert message in complaint(content)


def test_yaml_bomb_is_refused_early() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10))
    assert "more than 50000 values, aliases expanded" in complaint(bomb.encode())
    large = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 100)}]\n"
    assert "more than 2097152 octets, aliases expanded" in complaint(large.encode())
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 5000))
    assert "more than 50000 values" in complaint(chain.encode())


def test_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    def why(file: str) -> str:
        with pytest.raises(SourceError) as raised:
            source.read(file)
        return str(raised.value)

    assert why(str(tmp_path / "none")) == f"{tmp_path}/none: cannot be read: No such file or directory"
    assert why(str(tmp_path)) == f"{tmp_path}: cannot be read: Is a directory"
    assert "cannot be read: embedded null" in why("a\0b")
    (tmp_path / "huge").write_bytes(b"#" * (2**20 + 1))
    assert "larger than 1 MiB" in why(str(tmp_path / "huge"))
    (tmp_path / "empty").write_bytes(b"\n")
    assert "the file is empty" in why(str(tmp_path / "empty"))
    (tmp_path / "comment").write_bytes(b"#\n")
    assert not source.read(str(tmp_path / "comment")).tree
    os.mkfifo(tmp_path / "fifo")
    for special in (str(tmp_path / "fifo"), "/dev/zero"):
        assert why(special) == f"{special}: not a regular file"


yaml_like = st.text(alphabet="ab01:-[]{}&*!<>|'\"#%@, \n\t~.x", max_size=60)


@given(st.one_of(st.binary(max_size=60), yaml_like.map(str.encode)))
def test_no_content_does_worse_than_a_source_error(content: bytes) -> None:
    try:
        found = parse(content, "f")
    except SourceError as error:
        assert str(error).startswith("f:")
    else:
        assert isinstance(found.tree, dict)


# Without characters that YAML folds or refuses (its line ends, control characters), which have tests above.
words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=10)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=20,
)


@pytest.mark.slow  # reads hundreds of files
@given(st.dictionaries(words, plain, max_size=5))
def test_value_written_by_pyyaml_is_read_back(value: dict[str, Any]) -> None:
    found = parse(yaml.safe_dump(value, allow_unicode=True).encode(), "f")
    assert found.tree == value
    assert not found.problems
