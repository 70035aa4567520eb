"""Commands of README and of pages that need a systemd, typed in the lab."""

import re
from collections.abc import Iterator

import pytest

from tests.support.pages import Command, all_commands, elsewhere
from tests.systemd.conftest import ROOT, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180, func_only=True)]


# The file is the last argument.
EDITOR = """#!/bin/sh
for file; do :; done
printf '[Unit]\\nDescription=edited\\n' >"$file"
"""


def of_the_lab(page: str) -> list[Command]:
    """The commands of a page that are said to be typed here."""
    return [
        one for one in all_commands(page) if (found := elsewhere(one)) and found.where == "tests/systemd/test_pages.py"
    ]


@pytest.fixture
def installed(lab: Lab) -> Iterator[Lab]:
    """The lab with the shipped config."""
    lab.config((ROOT / "config" / "netd.yaml").read_text())
    lab.config("services:\n  chat: {listen: [tcp://*:9999]}\n", "guests")
    yield lab
    lab.run("systemctl", "disable", "--now", "netd", "netd@guests", code=None)
    lab.reset()


def type_all(lab: Lab, page: str) -> None:
    """Type the commands of a page, and compare what they print with it."""
    for command in of_the_lab(page):
        text = re.sub(r"^sudo |(?<=&& )sudo ", "", command.text).replace("journalctl -u netd -f", "journalctl -u netd")
        if "| nc " in text and not lab.run("sh", "-c", "command -v nc", code=None):
            continue  # the tree of Debian 13 has none
        if text.startswith("systemctl edit "):  # it takes no editor without a terminal
            lab.write("/usr/local/bin/edit", EDITOR)
            text = f"chmod +x /usr/local/bin/edit; SYSTEMD_EDITOR=/usr/local/bin/edit script -qec '{text}' /dev/null"
        output = lab.run("sh", "-c", f"export SYSTEMD_PAGER= PATH=/usr/local/bin:$PATH; {text}")
        for line in command.shown:
            assert line in output, f"{page}:{command.line}: {output}"


def test_netd_is_deployed_as_readme_says(installed: Lab) -> None:
    type_all(installed, "README.md")
    assert "tcp://*:13 " in installed.netd("status")


@pytest.mark.parametrize("page", ["docs/operating.md", "docs/logging.md"])
def test_commands_of_the_page_do_what_it_says(installed: Lab, page: str) -> None:
    installed.run("systemctl", "start", "netd")
    type_all(installed, page)
    assert installed.show("ActiveState") == "active"
    assert (installed.show("Description") == "edited") == (page == "docs/operating.md"), "systemctl edit"
