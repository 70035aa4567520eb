"""Fixtures, and the settings of hypothesis.

Each test has a directory of its own, to which all environment variables of netd and its commands point. At the end of a
test, the processes that it started have ended, its sockets are closed, and signals are handled as before.
"""

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support.directories import assert_untouched, directory_of, open_directory
from tests.support.leftovers import adopt_orphans, nothing_left, signals_as_before
from tests.support.programs import need_root
from tests.support.server import Server
from tests.support.sockets import ABSTRACT
from tests.support.users import ALEX

# No deadline, since the machine may be loaded; derandomized, so that a failure can be reproduced.
settings.register_profile("netd", deadline=None, derandomize=True)
settings.load_profile("netd")

# Variables from a service manager, a terminal or the administrator of this host, which are removed.
REMOVED = ("FDSTORE", "JOURNAL_STREAM", "LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_", "NO_COLOR", "COLUMNS", "LINES", "TZ")


def pytest_make_parametrize_id(val: object) -> str | None:
    """A name without the number of this process: all processes that share the tests must know them by one name."""
    return val.replace(ABSTRACT, "@") if isinstance(val, str) and ABSTRACT in val else None


def _move_to(place: Path, patch: pytest.MonkeyPatch) -> None:
    """Point the environment of this process and its children to this directory."""
    place.mkdir()
    patch.setenv("NETD_CONTROL", f"{place}/control.sock")
    patch.setenv("RUNTIME_DIRECTORY", f"{place}/run")
    patch.setenv("XDG_RUNTIME_DIR", f"{place}/user")
    patch.setenv("XDG_STATE_HOME", f"{place}/state")


@pytest.fixture(scope="session", autouse=True)
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[Path]]:
    """A new directory for each test; the first one is for the fixtures that several tests share."""
    above = tmp_path_factory.mktemp("places")
    found = (above / str(number) for number in itertools.count())
    mask = os.umask(0o022)
    # A background job ignores SIGINT (sh(1)), and one under nohup(1) SIGHUP; the processes of a test inherit that.
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)
    adopt_orphans()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(REMOVED)]:
            patch.delenv(name)
        _move_to(next(found), patch)
        yield found
    os.umask(mask)


@pytest.fixture(autouse=True)
def place(places: Iterator[Path]) -> Iterator[Path]:
    """The directory of this test, which must leave no process and no socket behind."""
    # Not the fixture monkeypatch, which a test may use for the same variables and undo. What a launcher does in this
    # process may change its working directory, from which the processes of later tests import `tests`.
    with nothing_left(), signals_as_before(), contextlib.chdir("."), pytest.MonkeyPatch.context() as patch:
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
    events.clear()  # exceptions among them hold, by their tracebacks, what has this log


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory of the test that every user can enter, unlike ``tmp_path``."""
    with open_directory() as directory:
        yield directory


@pytest.fixture
def theirs(open_path: Path) -> Path:
    """A directory of another user."""
    need_root()
    return directory_of(ALEX, open_path)


@pytest.fixture
def secret(open_path: Path) -> Iterator[Path]:
    """A file of root, which must be unchanged at the end of the test."""
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
