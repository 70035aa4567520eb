"""The text for a terminal from the octets of a peer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.formatted_text import ANSI, to_formatted_text
from prompt_toolkit.styles import Style

from netd.client.talk.screen import Sanitizer, is_prompt


def shown(*pieces: bytes) -> str:
    """The text of a stream that arrives in these pieces, without the colour resets between them."""
    sanitizer = Sanitizer()
    text = "".join(sanitizer.feed(piece).replace("\x1b[0m", "") for piece in pieces)
    return text + sanitizer.feed(b"", final=True).replace("\x1b[0m", "")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"hello\n\tworld\r\n", "hello\n\tworld\n"),
        ("grüezi 你好\u3000👨\u200d👩\u200d👧\ufe0f\n".encode(), "grüezi 你好\u3000👨\u200d👩\u200d👧\ufe0f\n"),
        (b"\x1b[1;38;2;255;255;255;48;2;255;255;255mx", "\x1b[1;38;2;255;255;255;48;2;255;255;255mx"),
        (b"\x1b[mx\x1b[0000000m", "\x1b[mx\x1b[0000000m"),
        (b"\x1b[2J\x1b]0;title\x07\x1bc", "\\x1b[2J\\x1b]0;title\\x07\\x1bc"),
        (b"\x1b[1;", "\\x1b[1;"),
        (b"\x1b[" + b"1" * 65 + b"m", "\\x1b[" + "1" * 65 + "m"),
        (b"\x1b[38;2;256;0;0mx\x1b[38;5;999m", "\\x1b[38;2;256;0;0mx\\x1b[38;5;999m"),
        (b"\x1b[?25l\x1b[6n", "\\x1b[?25l\\x1b[6n"),
        (b"over\rwritten\x08\x7f\0", "over\\rwritten\\x08\\x7f\\x00"),
        ("\x9b31m\x85\u2028\u202e\u200b\ufeff\ue000".encode(), "\\x9b31m\\x85\\u2028\\u202e\\u200b\\ufeff\\ue000"),
        (b"\xff\xc3(\xf0\x9f", "\\xff\\xc3(\\xf0\\x9f"),
    ],
)
def test_text_and_colours_pass_and_other_octets_are_escaped(data: bytes, text: str) -> None:
    assert shown(data) == text
    # Independent of the segments.
    assert shown(*(data[place : place + 1] for place in range(len(data)))) == text


def test_colours_are_reset_at_the_end_of_each_piece() -> None:
    sanitizer = Sanitizer()
    assert sanitizer.feed(b"\x1b[31mred\n") == "\x1b[31mred\x1b[0m\n"
    assert sanitizer.feed(b"\x1b[31mred") == "\x1b[31mred\x1b[0m"
    assert sanitizer.feed(b"plain\n") == "plain\n"


def test_complete_message_is_shown_at_once() -> None:
    sanitizer = Sanitizer()
    assert sanitizer.feed(b"a\r", final=True) == "a\\r"
    assert sanitizer.feed(b"\n\xc3", final=True) == "\n\\xc3"
    assert sanitizer.feed(b"\xa4", final=True) == "\\xa4"


@given(st.lists(st.binary(max_size=20) | st.text("\x1b[];m0123456789\r\n\x9bö", max_size=20).map(str.encode)))
def test_arbitrary_octets_contain_no_control_sequence_but_colours(pieces: list[bytes]) -> None:
    text = shown(*pieces)
    assert text == shown(b"".join(pieces))
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", text)


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"])))
def test_printable_text_is_unchanged(text: str) -> None:
    assert shown(text.encode()) == text


def test_sanitizer_holds_back_little() -> None:
    sanitizer = Sanitizer()
    assert len(sanitizer.feed(b"\x1b[" + b"1;" * 100_000)) > 200_000
    assert len(sanitizer.feed(b"\x1b" * 100_000)) == 4 * 99_999


@given(st.lists(st.text("0123456789;", max_size=12)))
def test_every_colour_that_passes_can_be_drawn_as_a_prompt(numbers: list[str]) -> None:
    text = Sanitizer().feed("".join(f"\x1b[{number}mx" for number in numbers).encode())
    for style, *_ in to_formatted_text(ANSI(text)):
        colour = Style([]).get_attrs_for_style_str(style).color
        assert not colour or colour.startswith("ansi") or re.fullmatch("[0-9a-f]{6}", colour)


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("login: ", True),
        ("Password:", True),
        ("$ ", True),
        ("\x1b[32m> \x1b[0m", True),
        ("hello", False),
        ("pong.", False),
    ],
)
def test_line_that_ends_in_a_blank_or_a_colon_is_a_prompt(line: str, prompt: bool) -> None:
    assert is_prompt(line) == prompt
