"""Checks the keys of a config that only a start applies: the next start must not fail because of them.

It tries what a start does, and leaves nothing behind. At a reload it runs in the process that reads the config, which
has the privileges of the supervisor.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

from netd import default_paths, paths
from netd.config.model import SYSLOG, Config, DaemonSection, LogSection
from netd.config.workers import resolve
from netd.daemon.log_output import connect_journal, open_file
from netd.daemon.pid_file import pid_file
from netd.daemon.supervisor.control_server import control_listener
from netd.errors import OpenError, OperatorError, PidFileTakenError

_TRIED = ".netd-check"  # the name of a socket beside the control socket


def check(initial: Config, new: Config) -> None:
    """Raise `OpenError` with the reasons why a netd that was started with ``initial`` cannot start with ``new``."""
    if found := problems(new, initial):
        raise OpenError(f"{problem} (netd could not restart)" for problem in found)


def problems(new: Config, initial: Config | None = None) -> list[str]:
    """The reasons why a netd cannot start with ``new``: of the keys that differ from ``initial``, else of all.

    Without ``initial``, a netd that runs already, and has the pid file, is no reason.
    """
    before, after = initial.daemon if initial else DaemonSection(), new.daemon
    log = initial.log if initial else LogSection()
    checks: list[Callable[[], None]] = []
    if new.log.file not in (None, SYSLOG, log.file):
        checks.append(lambda: _try_log_file(str(new.log.file)))
    if new.log.format == "journal" != log.format:
        checks.append(_try_journal)
    given = after.control or after.control_group  # a default path that cannot be used is no problem
    if given and (after.control, after.control_group) != (before.control, before.control_group):
        checks.append(lambda: _try_control(after.control, after.control_group))
    if after.pid_file not in (None, before.pid_file):
        checks.append(lambda: _try_pid_file(after.pid_file, may_run=initial is None))
    if initial is None or (after.user, after.group, after.chroot) != (before.user, before.group, before.chroot):
        checks.append(lambda: _try_user(new))
    return [problem for one in checks for problem in _problems(one)]


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
    if not path or path.startswith("@"):
        return
    directory = os.path.dirname(path)
    existed = os.path.isdir(directory)
    tried = os.path.join(directory, _TRIED)
    try:
        control_listener(tried, group).close()
    except OpenError as error:
        raise OpenError(problem.replace(tried, path) for problem in error.problems) from None
    finally:
        if not existed:
            with contextlib.suppress(OSError):
                os.rmdir(directory)


def _try_pid_file(path: str | None, *, may_run: bool) -> None:
    try:
        with pid_file(path):
            pass
    except PidFileTakenError:
        if not may_run:
            raise


def _try_user(new: Config) -> None:
    resolve(new.daemon)
