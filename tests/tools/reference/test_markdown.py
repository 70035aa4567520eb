"""Texts, tables, titles and links in Markdown."""

import pytest

from tools.reference.markdown import anchor, paragraphs, prose, table, wrapped


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("``off`` or 0", "`off` or 0"),
        ("* and <b>", r"\* and \<b>"),
        ("`*.example` is *", r"`*.example` is \*"),
        ("limits.per_source", "limits.per_source"),
    ],
)
def test_text_of_the_source(text: str, expected: str) -> None:
    assert prose(text) == expected


def test_a_table_escapes_what_ends_a_cell() -> None:
    assert table(("a", "b"), [("1", "x|y")]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("`daemon.pid_file`", "daemonpid_file"),
        ("`chat`: `history`", "chat-history"),
        ("`netd enable`, `netd disable`", "netd-enable-netd-disable"),
        ("Options of programs", "options-of-programs"),
    ],
)
def test_anchor_is_as_on_github(title: str, expected: str) -> None:
    assert anchor(title) == expected


def test_paragraphs_of_a_docstring() -> None:
    assert paragraphs("One\n  two.\n\n\nThree.\n") == ["One two.", "Three."]


def test_lines_are_at_most_120_characters() -> None:
    lines = wrapped("word " * 100).splitlines()
    assert max(map(len, lines)) <= 120
    assert min(map(len, lines[:-1])) > 110
