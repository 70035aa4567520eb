"""Users, groups and directories of a config that this host does not have."""

import os
from pathlib import Path

import pytest

from netd.config import loader
from netd.errors import ConfigError


def problems(tmp_path: Path, daemon: str, services: str = "services: {}") -> list[str]:
    """The problems of a config with these settings, without the name of the file."""
    file = tmp_path / "netd.yaml"
    file.write_text(f"daemon: {{{daemon}}}\n{services}")
    try:
        loader.load(file)
    except ConfigError as error:
        return [problem.removeprefix(f"{file}:").partition("; did you mean")[0] for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("daemon", "problem"),
    [
        ("user: no-such-user", "1:16: daemon.user: there is no user 'no-such-user'"),
        ("group: no-such-group", "1:17: daemon.group: there is no group 'no-such-group'"),
        ("user: root", "1:16: daemon.user: 'root' is root; workers must run as another user"),
        ("group: root", "1:17: daemon.group: 'root' is the group of root; workers must not be in it"),
        ("chroot: /proc/none", "1:18: daemon.chroot: there is no directory /proc/none"),
        ("chroot: /proc/self/stat", "1:18: daemon.chroot: there is no directory /proc/self/stat"),
    ],
)
def test_setting_that_this_host_cannot_fulfil_is_a_problem(tmp_path: Path, daemon: str, problem: str) -> None:
    assert problems(tmp_path, daemon) == [problem]


@pytest.mark.parametrize("daemon", ["user: daemon", "group: daemon", "chroot: /proc", "user: '1', group: '1'"])
def test_setting_that_this_host_can_fulfil_is_no_problem(tmp_path: Path, daemon: str) -> None:
    assert problems(tmp_path, daemon) == []


def test_unix_datagrams_with_a_path_are_a_problem_in_a_chroot(tmp_path: Path) -> None:
    services = f"services: {{echo: {{listen: ['unixgram://{tmp_path}/a', 'unixgram://@{os.getpid()}', 'unix://{tmp_path}/b']}}}}"
    assert problems(tmp_path, "core: false", services) == []
    [problem] = problems(tmp_path, f"chroot: {tmp_path}", services)
    assert "services.echo.listen[0]: daemon.chroot hides the sockets of clients; listen on unixgram://@NAME" in problem
