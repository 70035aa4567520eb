"""Every page: its commands are run by a test, or a list says why not, and its links lead somewhere."""

import re
from pathlib import PurePosixPath

import pytest

from tests.source_tree import ROOT
from tests.support.pages import (
    ELSEWHERE,
    MAN_PAGES,
    PAGES,
    REQUESTS,
    Block,
    Command,
    Elsewhere,
    all_commands,
    blocks,
    commands,
    elsewhere,
)
from tools.reference.commands import commands as described

NO_COMMANDS = r"[\w-]+:( |$)|\[|#|from netd|import |5  cli/|netd run ──|#!/bin/sh|level="
"""How blocks begin that are indented and have no commands: configs, code and pictures."""


@pytest.mark.parametrize("page", [page for page in PAGES if page != REQUESTS])  # tests/test_commands.py sends those
def test_indented_block_is_known_for_what_it_is(page: str) -> None:
    for block in blocks(page):
        if not block.language and not commands(block):
            assert re.match(NO_COMMANDS, block.lines[0]), f"{page}:{block.line}: {block.lines[0]}"


@pytest.mark.parametrize("one", ELSEWHERE, ids=lambda one: f"{one.page} {one.pattern}")
def test_list_of_commands_elsewhere_has_no_needless_line(one: Elsewhere) -> None:
    said = [elsewhere(command) for page in (*PAGES, *MAN_PAGES) for command in all_commands(page)]
    assert one in said


@pytest.mark.parametrize("where", sorted({one.where for one in ELSEWHERE if one.where.startswith("tests/")}))
def test_test_that_is_said_to_run_commands_exists(where: str) -> None:
    assert (ROOT / where).is_file()


def test_man_pages_have_the_examples_of_help() -> None:
    shown = {command.text for page in MAN_PAGES for command in all_commands(page)}
    assert {example for command in described() for example in command.examples} - shown == set()


def anchor(heading: str) -> str:
    """The anchor of a heading, as web pages of Git repositories have it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md"])
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", (ROOT / page).read_text()):
        path, _, part = link.partition("#")
        target = ROOT / PurePosixPath(page).parent / path if path else ROOT / page
        assert target.exists(), link
        if part and target.suffix == ".md":
            headings = re.findall(r"(?m)^#+ (.+)$", target.read_text())
            assert part in map(anchor, headings), link


def test_commands_of_a_console_have_their_output_and_no_comment() -> None:
    block = Block(
        "x.md", 7, "", ("$ echo hello   # a comment", "hello", "$ cat <<'END'", "a", "END", "$ one \\", "  two")
    )
    assert commands(block) == [
        Command("x.md", 7, "echo hello", ("hello",)),
        Command("x.md", 9, "cat <<'END'\na\nEND", ()),
        Command("x.md", 12, "one \\\n  two", ()),
    ]
    assert commands(Block("x.md", 1, "", ("services:", "  echo: {}"))) == []
