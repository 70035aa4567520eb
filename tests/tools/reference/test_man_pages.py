"""The man pages: man and mandoc find nothing to complain of, and every option and command is there."""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from netd.config.model import DaemonSection, LogSection, ServiceSection
from netd.services import table
from netd.services.service_type import ServiceType
from tests.source_tree import ROOT
from tests.support.programs import need
from tools.reference.commands import commands
from tools.reference.options import tree

PAGES = sorted((ROOT / "man").iterdir())


@cache
def shown(page: str) -> str:
    """A page as man shows it, in long lines."""
    command = [need("mandoc"), "-T", "ascii", "-O", "width=1000", str(ROOT / "man" / page)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bare: list[str] = []
    for one in text:
        if one == "\b":
            bare.pop()
        else:
            bare.append(one)
    return "".join(bare)


def explained() -> set[str]:
    """The options that the page of the config explains."""
    return set(re.findall(r"(?m)^ +([\w.]+) +\(", shown("netd.yaml.5")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_has_no_complaint(page: Path) -> None:
    done = subprocess.run([need("mandoc"), "-T", "lint", page], capture_output=True, text=True, check=False)
    # A date would change with each commit.
    assert [line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_man_has_no_warning(page: Path) -> None:
    done = subprocess.run([need("man"), "--warnings", "-l", page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_page_of_the_config_has_every_option_of_the_models() -> None:
    for model, prefix in ((DaemonSection, "daemon."), (LogSection, "log."), (ServiceSection, "")):
        assert {option.name for option in tree(model, prefix)} - explained() == set()


@pytest.mark.parametrize("name", table.BUILT_IN)
def test_page_of_the_config_has_every_option_of_a_service_type(name: str) -> None:
    assert re.search(rf"(?m)^ +{name}$", shown("netd.yaml.5"))
    assert {option.name for option in tree(ServiceType.of(table.BUILT_IN[name]).options)} - explained() == set()


def test_pages_have_every_command_with_its_options() -> None:
    pages = {"talk": shown("netd-talk.1"), "probe": shown("netd-probe.1")}
    daemon = shown("netd.8")
    for command in commands():
        text = pages.get(command.name, daemon)
        assert f"netd {command.name}" in text
        for option in command.options:
            assert option.names in text
