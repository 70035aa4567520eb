"""`make attack`: each test is a row of a table of what was tried and what was lost; the table is printed at the end."""

from collections.abc import Callable

import pytest

from tests.systemd.conftest import booted, lab

__all__ = ["booted", "lab"]

ROWS = pytest.StashKey[list[tuple[str, str, str]]]()

Row = Callable[[str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name == "attack":
            item.add_marker(pytest.mark.attack)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """A function that adds a row: how much was tried, and what was lost or seen."""
    rows = request.config.stash[ROWS]
    name = request.node.name.removeprefix("test_").replace("_", " ")
    return lambda tried, seen: rows.append((name, tried, seen))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rows := config.stash[ROWS]:
        terminalreporter.section("what was tried, and what was lost or seen")
        for name, tried, seen in rows:
            terminalreporter.write_line(f"{name}\n    {tried}: {seen}")
