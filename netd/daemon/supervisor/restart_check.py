"""Checks the keys of a new config that only a restart applies: the next start must not fail because of them.

It tries what a start does, and leaves nothing behind. It runs in the process that reads the config, which has the
privileges of the supervisor.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

from netd import default_paths, paths
from netd.config.model import SYSLOG, Config
from netd.daemon import privileges
from netd.daemon.log_output import connect_journal, open_file
from netd.daemon.pid_file import pid_file
from netd.daemon.supervisor.listeners import control_listener
from netd.errors import OpenError, OperatorError

_TRIED = ".netd-check"  # the name of a socket beside the control socket


def check(initial: Config, new: Config) -> None:
    """Raise `OpenError` with the reasons why a netd that was started with ``initial`` cannot start with ``new``."""
    before, after = initial.daemon, new.daemon
    checks: list[Callable[[], None]] = []
    if new.log.file not in (None, SYSLOG, initial.log.file):
        checks.append(lambda: _try_log_file(str(new.log.file)))
    if new.log.format == "journal" != initial.log.format:
        checks.append(_try_journal)
    given = after.control or after.control_group  # a default path that cannot be used is no problem
    if given and (after.control, after.control_group) != (before.control, before.control_group):
        checks.append(lambda: _try_control(after.control, after.control_group))
    if after.pid_file not in (None, before.pid_file):
        checks.append(lambda: _try_pid_file(after.pid_file))
    if (after.user, after.group, after.chroot) != (before.user, before.group, before.chroot):
        checks.append(lambda: _try_user(new))
    problems = [problem for one in checks for problem in _problems(one)]
    if problems:
        raise OpenError(f"{problem} (netd could not restart)" for problem in problems)


def _problems(one: Callable[[], None]) -> Iterator[str]:
    try:
        one()
    except OperatorError as error:
        yield from error.problems


def _try_log_file(path: str) -> None:
    existed = os.path.lexists(path)
    descriptor = open_file(path)
    try:
        if not existed:
            with contextlib.suppress(OSError):
                paths.remove(path, descriptor)
    finally:
        os.close(descriptor)


def _try_journal() -> None:
    os.close(connect_journal())


def _try_control(path: str | None, group: str | None) -> None:
    path = default_paths.control_socket() if path == "" else path
    if path and not path.startswith("@"):
        control_listener(os.path.join(os.path.dirname(path), _TRIED), group).close()


def _try_pid_file(path: str | None) -> None:
    with pid_file(path):
        pass


def _try_user(new: Config) -> None:
    privileges.resolve(new.daemon)
