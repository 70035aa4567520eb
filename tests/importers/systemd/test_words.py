"""The words of a command in a unit file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.systemd.words import (
    Command,
    UnknownSpecifierError,
    assignments,
    commands,
    split,
    with_specifiers,
    with_variables,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/a -b  c", ["/a", "-b", "c"]),
        ("/a 'b c' \"d 'e\"", ["/a", "b c", "d 'e"]),
        ("/a x'b c'y", ["/a", "xb cy"]),
        (r"/a b\x20c \t \101 \u00e9", ["/a", "b c", "\t", "A", "é"]),
        (r"/a \q \sx", ["/a", "\\q", " x"]),
        ("/a ''", ["/a", ""]),
        ("", []),
    ],
)
def test_words_have_quotes_and_escapes(text: str, words: list[str]) -> None:
    assert [word for word, _ in split(text)] == words


@pytest.mark.parametrize("text", ["/a 'b", '/a "', r"/a \x00", r"/a \ud800"])
def test_a_quote_that_is_open_and_an_escape_that_is_no_character_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="quote|escape"):
        split(text)


def test_commands_have_prefixes_and_a_semicolon_separates_them() -> None:
    assert commands("-@/a b ; !/c ';' \\; ;") == [Command("-@", ("/a", "b")), Command("!", ("/c", ";", ";"))]
    with pytest.raises(ValueError, match="no program"):
        commands("- /a")


def test_specifiers_are_replaced_and_unknown_letters_stay() -> None:
    assert with_specifiers("%t/x %% %z %", {"t": "/run"}) == "/run/x % %z %"
    with pytest.raises(UnknownSpecifierError, match="%i"):
        with_specifiers("a-%i", {})


def test_a_variable_alone_is_split_and_one_in_braces_is_not() -> None:
    values = {"A": "b 'c d'", "E": ""}
    assert with_variables(("$A", "${A}", "x${A}y", "$E", "a$A", "$$A"), values) == [
        "b",
        "c d",
        "b 'c d'",
        "xb 'c d'y",
        "a$A",
        "$A",
    ]
    with pytest.raises(ValueError, match=r"\$NO"):
        with_variables(("${NO}",), values)


def test_variables_are_assigned_with_quotes_around_the_whole() -> None:
    assert list(assignments("A=b 'C=d e' \"F=\"")) == [("A", "b"), ("C", "d e"), ("F", "")]
    with pytest.raises(ValueError, match="no assignment"):
        list(assignments("A=b c"))


@given(st.text(st.sampled_from("a'\"\\ xU0$%{};-@:\t\né\udc80\0"), max_size=40))
def test_any_text_is_commands_or_refused(text: str) -> None:
    try:
        found = commands(text)
        for one in found:
            with_variables(tuple(with_specifiers(word, {"a": "b"}) for word in one.words), {"a": text})
    except ValueError as error:
        assert str(error)
    else:
        assert all(one.words[0] for one in found)
