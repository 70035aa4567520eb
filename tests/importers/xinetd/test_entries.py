"""Splitting of lines, as xinetd does it."""

import pytest

from netd.errors import ConfigError
from netd.importers.account import Place
from netd.importers.source_files import Line
from netd.importers.xinetd.entries import Entry, entries


def read(text: str) -> list[Entry]:
    return list(entries(Line(Place("f", number), line) for number, line in enumerate(text.split("\n"), 1)))


def test_attributes_are_words_with_their_comments_and_places() -> None:
    text = "# head\n\n  ## more\nSERVICE  x extra\n\n{\n# why\n\tPort =80\n a += b\tc \n# end\n}\n# last"
    entry, end = read(text)
    assert (entry.keyword, entry.name, entry.place.line, entry.comments) == ("service", "x", 4, ["head", "more"])
    first, second = entry.attributes
    assert (first.name, first.operator, first.values, first.place.line) == ("port", "=", ["80"], 8)
    assert (first.comments, first.text) == (["why"], "Port =80")
    assert (second.name, second.operator, second.values) == ("a", "+=", ["b", "c"])
    assert (entry.closing, entry.all_comments()) == (["end"], ["head", "more", "why", "end"])
    assert (end.keyword, end.comments) == ("", ["last"])


def test_quotes_backslashes_and_carriage_returns_are_characters() -> None:
    [entry] = read("service x\n{\nserver_args = -c 'a b' \\\nport = 7\r\n}")
    assert [one.values for one in entry.attributes] == [["-c", "'a", "b'", "\\"], ["7\r"]]


@pytest.mark.parametrize(
    ("text", "fault", "line"),
    [
        ("service x\n{\nport=80\nwait = no\n}\nservice y\n{\n}", "drops the whole entry", 3),
        ("service x {\nport = 80\n}\nservice y\n{\n}", "the { in a line of its own is missing", 2),
        ("service\n{\n}\nservice y\n{\n}", "name of the service is missing", None),
        ("thing x\n{\n a = b\n}\nservice y\n{\n}", "unknown keyword", None),
    ],
)
def test_a_faulty_entry_is_skipped_up_to_its_end(text: str, fault: str, line: int | None) -> None:
    entry, after = read(text)
    assert fault in entry.fault
    assert (entry.fault_place.line if entry.fault_place else None) == line
    assert (after.name, after.fault) == ("y", "")


@pytest.mark.parametrize("line", ["\N{LINE SEPARATOR}", "\N{NO-BREAK SPACE}", "service\N{NO-BREAK SPACE}x"])
def test_blank_of_unicode_is_a_character(line: str) -> None:
    first, after = read(f"{line}\n{{\n}}\nservice y\n{{\n}}")
    assert "unknown keyword" in first.fault
    assert (after.name, after.fault) == ("y", "")


@pytest.mark.parametrize("line", ["\f", "\v", " \f\t"])
def test_line_of_blanks_of_any_kind_is_blank(line: str) -> None:
    [entry] = read(f"{line}\nservice y\n{{\n}}")
    assert (entry.name, entry.fault) == ("y", "")


def test_an_entry_without_an_end_is_incomplete() -> None:
    [entry] = read("service x\n{\nport = 80")
    assert "} is missing" in entry.fault
    [entry] = read("service x")
    assert "{ is missing" in entry.fault


def test_a_line_has_at_most_16_kib() -> None:
    assert len(read("#" + "x" * 16383)) == 1
    with pytest.raises(ConfigError, match="f:1: the line is longer"):
        read("#" + "x" * 16384)


def test_line_ends_of_other_systems_are_named() -> None:
    [entry] = read("service x\r\n{\r\n}\r")
    assert entry.fault.endswith("the line ends in CR LF, and xinetd takes the CR for a character")
