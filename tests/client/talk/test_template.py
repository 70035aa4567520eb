"""Templates, name prefixes and the splitting into lines."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netd.client.talk.template import NamePrefix, Template, is_farewell, split, with_end

NOW = 1_700_000_000.9


def test_fields_are_filled_in() -> None:
    assert Template("{now}").render(NOW, 1) == b"1700000000"
    assert Template("{seq}/{seq}").render(NOW, 7) == b"7/7"
    assert Template("{time:%H:%M} {time:%Y}").render(NOW, 1).decode() == time.strftime("%H:%M %Y", time.localtime(NOW))
    assert Template("{{now}} }}{{").render(NOW, 1) == b"{now} }{"
    assert Template("grüezi").render(NOW, 1) == "grüezi".encode()
    assert Template("\udcff").render(NOW, 1) == b"\xff"  # octets of the command line that are not UTF-8
    assert Template("").render(NOW, 1) == b""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{nwo}", "unknown field 'nwo'; did you mean 'now'?"),
        ("{}", "unknown field ''; known: now, seq, time"),
        ("{now.real}", "unknown field 'now.real'"),
        ("{seq:03}", "expected the field seq as in {seq}"),
        ("{now!r}", "expected the field now as in {now}"),
        ("{time}", "expected the field time as in {time:%H:%M:%S}"),
        ("{time:%H", "unmatched brace in '{time:%H'; write {{ and }} for literal braces"),
        ("a}", "unmatched brace in 'a}'; write {{ and }} for literal braces"),
    ],
)
def test_invalid_template_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + problem.replace("{", r"\{").replace("?", r"\?")):
        Template(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_doubled_braces_are_literal(text: str) -> None:
    assert Template(text.replace("{", "{{").replace("}", "}}")).render(NOW, 1) == text.encode()


@given(st.text(alphabet="{}:!%ntime owseq\0", max_size=30))
def test_accepted_template_can_be_rendered(text: str) -> None:
    try:
        template = Template(text)
    except ValueError:
        return
    template.render(2.0**31, 1)


def test_name_is_put_before_each_line() -> None:
    prefix = NamePrefix("alex")
    assert prefix.add(b"hello\n") == b"alex : hello\n"
    assert prefix.add(b"hello\r\n") == b"alex : hello\r\n"
    assert [prefix.add(line) for line in (b"q\n", b"bye\r\n", b"quit\n")] == [b"q\n", b"bye\r\n", b"alex : quit\n"]
    assert prefix.add(b" \n") == b""
    assert prefix.add(b"hel") + prefix.add(b"lo") + prefix.add(b"q\n") == b"alex : helloq\n"
    assert prefix.add(b"bye") == b"bye"


def test_lines_without_a_name_are_unchanged() -> None:
    prefix = NamePrefix(None)
    for line in (b"hello\n", b"\n", b"q\n", b"\xff\0"):
        assert prefix.add(line) == line


@pytest.mark.parametrize("name", [None, "alex"])
def test_prefix_remembers_whether_the_last_line_was_a_farewell(name: str | None) -> None:
    prefix = NamePrefix(name)
    farewells = []
    for piece in (b"hello\n", b"bye\n", b"more\n", b"not ", b"q\n", b"q"):
        prefix.add(piece)
        farewells.append(prefix.farewell)
    assert farewells == [False, True, False, False, False, True]


def test_farewells_are_recognised() -> None:
    assert [line for line in (b"q\n", b"bye", b"bye\r\n", b"Q\n", b"quit\n", b"q q\n", b"\n") if is_farewell(line)] == [
        b"q\n",
        b"bye",
        b"bye\r\n",
    ]


@given(st.binary(max_size=200) | st.text("a\n", max_size=50).map(str.encode), st.integers(1, 20))
@example(b"\n\n", 1)
def test_lines_are_split_after_line_ends_and_at_the_limit(data: bytes, most: int) -> None:
    lines = split(data, most)
    assert b"".join(lines) == data
    assert all(0 < len(line) <= most for line in lines)
    assert all(line.find(b"\n") in (-1, len(line) - 1) for line in lines)
    assert all(line.endswith(b"\n") or len(line) == most for line in lines[:-1])


@pytest.mark.parametrize(
    ("line", "ends"),
    [
        (b"hello\n", [b"hello\n", b"hello", b"hello\n", b"hello\r\n"]),
        (b"hello\r\n", [b"hello\r\n", b"hello", b"hello\n", b"hello\r\n"]),
        (b"\n", [b"\n", b"", b"\n", b"\r\n"]),
        (b"hello", [b"hello"] * 4),
    ],
)
def test_line_end_is_replaced_where_there_is_one(line: bytes, ends: list[bytes]) -> None:
    assert [with_end(line, end) for end in (None, b"", b"\n", b"\r\n")] == ends
