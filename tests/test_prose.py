"""The words of the code and its pages: things are nouns, and a test is named after its subject."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import ROOT

_WORDS = "who|whose|whom|whoever|nobody|somebody|anybody|everybody|someone|anyone|everyone"
_PEOPLE = re.compile(rf"(?<![\w`'\"./=<-])(?:{_WORDS})(?![\w`/=-])", re.IGNORECASE)
_NAME = re.compile(rf"(?:^|_)(?:{_WORDS})(?:_|$)", re.IGNORECASE)
_PERHAPS = re.compile(rf"(?:{_WORDS})(?![\w/=-])", re.IGNORECASE)
"""What the text of a file has if one of its sentences has such a word, whatever mark or escape is before it."""
_SUBJECT = re.compile(
    r"test_(?:what|who|whoever|whatever|it|one|nobody|nothing|all|this|that|these|those|others)(?:_|$)"
)

# Text that is not a description: what users say in a chat, and the account of that name.
_SPOKEN = {
    "docs/tour.md": r"who is there|anybody here",
    "netd/services/chat/room.py": r"say who you are",
    "tests/client/talk/test_template.py": r".*",
    "tests/services/chat/test_chat_datagrams.py": r"anybody here",
    "tests/services/chat/test_room_names.py": r"say who you are|somebody : hello",
    "tests/services/test_qotd.py": r"- someone",
    "tests/test_prose.py": r".*",
}
_ACCOUNT = r"user(?::|\s+=)?\s+nobody|nobody-at-all"

PYTHON = sorted(
    file
    for part in ("netd", "tests", "bench", "tools")
    for file in (ROOT / part).rglob("*.py")
    if "build" not in file.parts  # what `make bench` installs
)
PAGES = sorted(
    file
    for part in (
        "*.md",
        "docs/**/*.md",
        "tools/**/*.md",
        "config/*",
        "netd/config/*.yaml",
        "systemd/**/*",
        "deploy/**/*",
        "examples/*.py",
        "Makefile",
    )
    for file in ROOT.glob(part)
    if file.is_file()
)


def sentences(file: Path) -> Iterator[str]:
    """The docstrings, comments and other texts of a Python file, or the lines of a page, if one can name a person."""
    text = file.read_text()
    if not _PERHAPS.search(text):
        return  # without the time to parse it
    if file.suffix != ".py":
        yield from text.splitlines()
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from node.value.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


@pytest.mark.parametrize("file", [*PYTHON, *PAGES], ids=lambda file: str(file.relative_to(ROOT)))
def test_sentences_name_things_and_not_people(file: Path) -> None:
    spoken = re.compile(f"{_SPOKEN.get(str(file.relative_to(ROOT)), _ACCOUNT)}|{_ACCOUNT}")
    assert [text for text in sentences(file) if _PEOPLE.search(spoken.sub("", text))] == []


@pytest.mark.parametrize("file", PYTHON, ids=lambda file: str(file.relative_to(ROOT)))
def test_names_of_functions_and_classes_name_things(file: Path) -> None:
    names = re.findall(r"(?m)^\s*(?:async def|def|class)\s+(\w+)", file.read_text())
    assert [name for name in names if _NAME.search(name) or _SUBJECT.match(name)] == []


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("Refuse who waits.", True),
        ("A peer whose address is forged", True),
        ("Nobody reads it", True),
        ("the user `nobody`", False),
        ("knowhow, whole", False),
    ],
)
def test_the_test_of_sentences_sees_people(text: str, is_found: bool) -> None:
    assert bool(_PEOPLE.search(text)) is is_found


def test_a_word_after_an_escape_is_in_the_sentences_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('x = "a line\\nwho waits"\n')
    assert list(sentences(file)) == ["a line", "who waits"]
    file.write_text('x = "the whole line"\n')
    assert list(sentences(file)) == []
