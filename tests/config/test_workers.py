"""Users, groups and directories of a config that this host does not have."""

import os
from pathlib import Path
from typing import Any

import pytest

from netd.config import loader
from netd.config.model import DaemonSection
from netd.config.workers import resolve
from netd.errors import ConfigError, OpenError, OperatorError
from netd.privileges import RunAs
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user


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


def section(**values: Any) -> DaemonSection:
    return DaemonSection.model_validate(values)


def test_root_resolves_a_user_by_name_and_number_with_its_groups() -> None:
    need_root()
    by_name = resolve(section(user="nobody"))
    assert (by_name.name, by_name.user, by_name.chroot) == ("nobody", 65534, None)
    assert by_name.groups == tuple(os.getgrouplist("nobody", by_name.group))
    assert resolve(section(user="65534")) == by_name


def test_root_resolves_a_group_and_a_chroot(tmp_path: Path) -> None:
    need_root()
    found = resolve(section(user="nobody", group="1", chroot=str(tmp_path)))
    assert (found.group, str(found.chroot)) == (1, str(tmp_path))
    assert 1 in found.groups


def test_root_resolves_a_default_user() -> None:
    need_root()
    assert resolve(section()).name in ("netd", "nobody")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"user": "no-such-user"}, "daemon.user: there is no user 'no-such-user'"),
        ({"user": "root"}, "daemon.user: 'root' is root; workers must run as another user"),
        ({"user": "nobody", "group": "no-such-group"}, "daemon.group: there is no group 'no-such-group'"),
        ({"user": "nobody", "group": "0"}, "daemon.group: 'nobody' would be in the group root (gid 0)"),
        ({"user": "nobody", "chroot": "/proc/none"}, "daemon.chroot: there is no directory /proc/none"),
    ],
)
def test_identity_that_workers_cannot_have_is_an_error(values: dict[str, str], problem: str) -> None:
    need_root()
    with pytest.raises(OperatorError) as raised:
        resolve(section(**values))
    assert raised.value.problems[0].startswith(problem)
    assert raised.value.exit_code == 78


def test_user_other_than_root_keeps_its_identity_and_cannot_change_it() -> None:
    need_root()

    def resolve_as_alex() -> None:
        assert resolve(section()) == RunAs(str(ALEX))
        assert resolve(section(group=str(ALEX))) == RunAs(str(ALEX))
        for values, problem in (
            ({"user": "nobody"}, "daemon.user: only root may become 'nobody'"),
            ({"group": "0"}, "daemon.group: only root may change to the group '0'"),
            ({"chroot": "/proc"}, "daemon.chroot: only root may chroot to /proc"),
        ):
            with pytest.raises(OpenError) as raised:
                resolve(section(**values))
            [found] = raised.value.problems
            assert found == f"{problem}; leave it out, or start netd as root"

    as_user(ALEX, resolve_as_alex)
