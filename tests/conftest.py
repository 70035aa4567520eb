"""Fixtures, and the settings of hypothesis.

A test has a place of its own: what a netd, or a command that looks for one, takes from its environment leads there, and
what a test started or opened is gone at its end.
"""

import itertools
import os
import signal
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support import (
    ALEX,
    Server,
    adopt_orphans,
    assert_untouched,
    directory_of,
    need_root,
    nothing_left,
    open_directory,
)

# A loaded machine is no reason to fail, and a failure has to come again.
settings.register_profile("netd", deadline=None, derandomize=True)
settings.load_profile("netd")

# What a service manager, a terminal or the administrator of this host says, and is not meant for a test.
STRANGE = ("FDSTORE", "JOURNAL_STREAM", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "NO_COLOR", "COLUMNS", "LINES", "TZ")


def _move_to(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process and its children find a netd, and keep what a netd or `netd talk` keeps, in this place alone."""
    place.mkdir()
    patch.setenv("NETD_CONTROL", f"{place}/control.sock")
    patch.setenv("RUNTIME_DIRECTORY", f"{place}/run")
    patch.setenv("XDG_RUNTIME_DIR", f"{place}/user")
    patch.setenv("XDG_STATE_HOME", f"{place}/state")


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """A new place for each test; the first one is for the fixtures that several tests share."""
    above = tmp_path_factory.mktemp("places")
    found = (above / str(number) for number in itertools.count())
    mask = os.umask(0o022)
    # A job in the background ignores the one (sh(1)), nohup(1) the other, and so would what a test starts.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    adopt_orphans()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(STRANGE)]:
            patch.delenv(name)
        _move_to(next(found), patch)
        yield found
    os.umask(mask)


@pytest.fixture(autouse=True)
def place(places: Iterator[Path]) -> Iterator[Path]:
    """The place of this test, which leaves neither a process nor a socket behind."""
    # Not the fixture monkeypatch, which a test may use for this itself and undo.
    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        where = next(places)
        _move_to(where, patch)
        yield where


@pytest.fixture(autouse=True)
def log() -> Iterator[list[dict[str, Any]]]:
    """The events of this process, instead of lines on standard error."""
    events: list[dict[str, Any]] = []

    def keep(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        events.append({"level": method, **event})
        raise structlog.DropEvent

    structlog.configure(
        processors=[keep],
        wrapper_class=structlog.make_filtering_bound_logger("debug"),
        cache_logger_on_first_use=False,
    )
    yield events
    structlog.reset_defaults()


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory of the test's own where every user may go, unlike ``tmp_path``."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def theirs(open_path: Path) -> Path:
    """A directory of another user's."""
    need_root()
    return directory_of(ALEX, open_path)


@pytest.fixture
def secret(open_path: Path) -> Iterator[Path]:
    """A file of root's, which is the same at the end of the test."""
    file = open_path / "secret"
    file.write_text("secret")
    file.chmod(0o600)
    yield file
    assert_untouched(file)


@pytest.fixture
def server() -> Iterator[Server]:
    """A running server in this process."""
    with Server() as running:
        yield running
