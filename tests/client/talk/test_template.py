"""Fields, names and lines, without a socket."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netd.client.talk.template import NamePrefix, Template, is_farewell, split

NOW = 1_700_000_000.9


def test_fields() -> None:
    assert Template("{now}").render(NOW, 1) == b"1700000000"
    assert Template("{seq}/{seq}").render(NOW, 7) == b"7/7"
    assert Template("{time:%H:%M} {time:%Y}").render(NOW, 1).decode() == time.strftime("%H:%M %Y", time.localtime(NOW))
    assert Template("{{now}} }}{{").render(NOW, 1) == b"{now} }{"
    assert Template("grüezi").render(NOW, 1) == "grüezi".encode()
    assert Template("\udcff").render(NOW, 1) == b"\xff"  # as the command line has octets that are no text
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
        ("{time:%H", "a brace has no partner in '{time:%H'; {{ and }} are braces"),
        ("a}", "a brace has no partner in 'a}'; {{ and }} are braces"),
    ],
)
def test_what_is_no_field_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + problem.replace("{", r"\{").replace("?", r"\?")):
        Template(text)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_with_its_braces_doubled_is_that_text(text: str) -> None:
    assert Template(text.replace("{", "{{").replace("}", "}}")).render(NOW, 1) == text.encode()


@given(st.text(alphabet="{}:!%ntime owseq\0", max_size=30))
def test_a_template_is_refused_or_can_be_rendered(text: str) -> None:
    try:
        template = Template(text)
    except ValueError:
        return
    template.render(2.0**31, 1)


def test_a_name_stands_before_each_line() -> None:
    voice = NamePrefix("alex")
    assert voice.say(b"hello\n") == b"alex : hello\n"
    assert voice.say(b"hello\r\n") == b"alex : hello\r\n"
    assert [voice.say(line) for line in (b"q\n", b"bye\r\n", b"quit\n")] == [b"q\n", b"bye\r\n", b"alex : quit\n"]
    assert voice.say(b" \n") == b""
    assert voice.say(b"hel") + voice.say(b"lo") + voice.say(b"q\n") == b"alex : helloq\n"
    assert voice.say(b"bye") == b"bye"


def test_without_a_name_lines_stay_as_they_are() -> None:
    voice = NamePrefix(None)
    for line in (b"hello\n", b"\n", b"q\n", b"\xff\0"):
        assert voice.say(line) == line


@pytest.mark.parametrize("name", [None, "alex"])
def test_whether_the_last_line_was_a_farewell(name: str | None) -> None:
    voice = NamePrefix(name)
    took = []
    for piece in (b"hello\n", b"bye\n", b"more\n", b"not ", b"q\n", b"q"):
        voice.say(piece)
        took.append(voice.took_leave)
    assert took == [False, True, False, False, False, True]


def test_farewells() -> None:
    assert [line for line in (b"q\n", b"bye", b"bye\r\n", b"Q\n", b"quit\n", b"q q\n", b"\n") if is_farewell(line)] == [
        b"q\n",
        b"bye",
        b"bye\r\n",
    ]


@given(st.binary(max_size=200) | st.text("a\n", max_size=50).map(str.encode), st.integers(1, 20))
@example(b"\n\n", 1)
def test_lines_are_cut_behind_their_ends_and_where_they_are_too_long(data: bytes, most: int) -> None:
    lines = split(data, most)
    assert b"".join(lines) == data
    assert all(0 < len(line) <= most for line in lines)
    assert all(line.find(b"\n") in (-1, len(line) - 1) for line in lines)
    assert all(line.endswith(b"\n") or len(line) == most for line in lines[:-1])
