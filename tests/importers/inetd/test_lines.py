"""The lines of an inetd.conf, in each dialect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.inetd.dialects import DIALECTS
from netd.importers.inetd.lines import Line, read
from tests.importers.lines import source


def lines(text: str, dialect: str = "debian") -> list[Line]:
    return list(read(source(text), DIALECTS[dialect]))


def words(text: str, dialect: str = "debian") -> list[tuple[str, ...]]:
    return [line.words for line in lines(text, dialect)]


def test_words_are_split_at_blanks_and_tabs_and_the_last_line_needs_no_end() -> None:
    assert words("a\tb  c\nd e\r\n \nf") == [("a", "b", "c"), ("d", "e\r"), ("f",)]


def test_a_line_keeps_the_comments_above_it_and_its_number() -> None:
    first, second, end = lines("#:INTERNAL: built in\n\n# two\na b\nc d\n#end\n")
    assert (first.place.line, first.comments) == (4, (":INTERNAL: built in", "two"))
    assert (second.place.line, second.comments) == (5, ())
    assert (end.kind, end.comments) == ("comments", ("end",))


def test_a_line_that_a_package_has_switched_off_is_off() -> None:
    (line,) = lines("#<off># echo\tstream tcp nowait root internal\n")
    assert line.is_off
    assert line.words == ("echo", "stream", "tcp", "nowait", "root", "internal")


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("debian", [("a", "b", "c")]),
        ("openbsd", [("a", "b", "c")]),
        ("freebsd", [("a", "b", "c")]),
        ("netbsd", [("a", "b", "c")]),
        ("inetutils", [("a", "b"), ("c",)]),
        ("busybox", [("a", "b"), ("c",)]),
    ],
)
def test_a_leading_blank_continues_a_line_of_bsd_alone(dialect: str, expected: list[tuple[str, ...]]) -> None:
    assert words("a b\n\tc\n", dialect) == expected


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("debian", ("a", "'b", "c'", 'd"e', 'f"')),
        ("inetutils", ("a", "b c", 'd"e', 'f"')),
        ("freebsd", ("a", "b c", 'd"e', 'f"')),
        ("netbsd", ("a", "b c", "de f")),
    ],
)
def test_quotes_keep_words_together_where_inetd_knows_them(dialect: str, expected: tuple[str, ...]) -> None:
    assert words("a 'b c' d\"e f\"\n", dialect) == [expected]


def test_a_line_longer_than_the_buffer_is_cut() -> None:
    assert [line.kind for line in lines(f"a {'x' * 1020}\nb {'x' * 1021}\n")] == ["words", "cut"]
    assert [line.kind for line in lines(f"a {'x' * 1021}\n", "busybox")] == ["words"]
    assert [line.kind for line in lines(f"a\n {'x' * 1022}\nb\n")] == ["cut", "words"]


def test_policies_of_ipsec_hold_for_the_lines_after_them() -> None:
    found = lines("a\n#@ ipsec ah/require\n# b is safe\nb\n#@\nc\n", "freebsd")
    assert [(line.kind, line.policy) for line in found] == [
        ("words", ""),
        ("policy", "ipsec ah/require"),
        ("words", "ipsec ah/require"),
        ("policy", ""),
        ("words", ""),
    ]
    assert [line.kind for line in lines("#@ ipsec\na\n")] == ["words"]


@given(st.text(st.sampled_from("a#@<off> \t'\"\n\r\\:é\udc80\0"), max_size=80), st.sampled_from(sorted(DIALECTS)))
def test_any_text_has_lines_in_order_of_their_numbers(text: str, dialect: str) -> None:
    numbers = [line.place.line for line in lines(text, dialect)]
    assert numbers == sorted(numbers)
    assert all(line.words for line in lines(text, dialect) if line.kind in ("words", "cut"))
