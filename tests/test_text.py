"""Text for terminals, logs and messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.text import escaped, likely, printable, shortened, shown, suggestion

# Also lone surrogates, to which Python decodes the octets of a path that is not UTF-8.
_TEXTS = st.text(st.characters())


@pytest.mark.parametrize(
    ("text", "on_a_terminal", "in_ascii"),
    [
        ("plain", "plain", "plain"),
        ("\x1b[31mred\n", "\\x1b[31mred\\n", "\\x1b[31mred\\n"),
        ("Zoë\u202e", "Zoë\\u202e", "Zo\\xeb\\u202e"),
        ("a\\n", "a\\n", "a\\\\n"),
        ("\udcff\x9b", "\\udcff\\x9b", "\\udcff\\x9b"),
    ],
)
def test_control_characters_are_escaped(text: str, on_a_terminal: str, in_ascii: str) -> None:
    assert printable(text) == on_a_terminal
    assert escaped(text) == in_ascii


@given(_TEXTS)
def test_text_is_printable_afterwards_and_stays_as_it_is_from_then_on(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


@given(_TEXTS)
def test_escaped_text_is_printable_ascii_and_can_be_read_back(text: str) -> None:
    assert escaped(text).isascii()
    assert escaped(text).isprintable()
    assert escaped(text).encode("ascii").decode("unicode_escape") == text


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(_VALUES)
def test_a_value_is_quoted_short_and_printable(value: object) -> None:
    assert len(shown(value)) <= 60
    assert shown(value).isprintable()


def test_a_value_is_quoted_as_the_config_has_it() -> None:
    assert [shown(value) for value in (None, True, "x", 7)] == ["nothing", "true", "'x'", "7"]
    assert shown("x" * 100) == f"'{'x' * 22}…{'x' * 23}'"


def test_a_misspelt_word_gets_the_nearest_one_or_all() -> None:
    assert suggestion("idel", ["idle", "line"]) == "; did you mean 'idle'?"
    assert suggestion("zzz", ["line", "idle"]) == "; known: idle, line"
    assert suggestion("zzz", []) == ""
    assert likely("INFO", ["debug", "info"]) == "did you mean 'info'?"
    assert likely("info", ["INFO", "Debug"]) == "did you mean 'INFO'?"


@pytest.mark.parametrize(
    ("width", "text"),
    [(20, "tcp://localhost:7007"), (99, "tcp://localhost:7007"), (12, "tcp://…:7007"), (11, "tcp:/…:7007"), (1, "…")],
)
def test_shortened_text_keeps_both_ends(width: int, text: str) -> None:
    assert shortened("tcp://localhost:7007", width) == text


@pytest.mark.parametrize(("width", "text"), [(20, "tcp://127.…0.1:27007"), (13, "tcp://…:27007"), (8, "t…:27007")])
def test_shortened_url_keeps_its_port(width: int, text: str) -> None:
    assert shortened("tcp://127.100.10.1:27007", width) == text
