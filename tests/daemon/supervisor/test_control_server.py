"""The control socket: where it is bound, and where not."""

import errno
import os
from pathlib import Path

import pytest

from netd import paths
from netd.daemon.supervisor.control_server import control_listener
from netd.errors import OpenError
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user


def test_control_socket_is_not_bound_in_a_directory_of_another_user(theirs: Path) -> None:
    as_user(ALEX, lambda: (theirs / "way").symlink_to(theirs.parent))
    for place in (f"{theirs}/c", f"{theirs}/sub/c", f"{theirs}/way/new/c"):
        with pytest.raises(OpenError) as raised:
            control_listener(place, None)
        [problem] = raised.value.problems
        assert problem == (
            f"daemon.control: cannot listen on unix://{place}: {theirs} belongs to another user (uid 1234); "
            f"chown root {theirs}, or name another place with daemon.control"
        )
    assert os.listdir(theirs) == ["way"]
    assert not list(theirs.parent.glob("new*"))


def test_control_socket_is_not_bound_if_its_directory_cannot_be_checked(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (open_path / "run").mkdir()

    def exchanged(path: str) -> None:
        raise OSError(errno.ELOOP, "the way was exchanged")

    monkeypatch.setattr(paths, "check_directory", exchanged)
    with pytest.raises(
        OpenError, match=f"^daemon.control: cannot listen on unix://{open_path}/run/c: the way was exch"
    ):
        control_listener(f"{open_path}/run/c", None)
    assert not os.listdir(open_path / "run")


def test_control_socket_is_bound_in_a_directory_that_only_root_can_replace(open_path: Path) -> None:
    open_path.chmod(0o1777)
    control_listener(f"{open_path}/run/netd/c", None).close()
    (open_path / "file").write_text("")
    with pytest.raises(OpenError) as raised:
        control_listener(f"{open_path}/file/c", None)
    assert raised.value.problems == (
        f"daemon.control: cannot listen on unix://{open_path}/file/c: {os.strerror(errno.ENOTDIR)}",
    )


def test_control_socket_that_the_user_may_not_bind_names_the_permission_it_needs(open_path: Path) -> None:
    need_root()

    def refused() -> None:
        with pytest.raises(OpenError, match=f"Permission denied; {open_path}/run and its owner must let this user"):
            control_listener(f"{open_path}/run/c", None)

    as_user(ALEX, refused)


def test_directory_that_replaces_a_new_one_keeps_its_mode(
    theirs: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def make_then_swap(path: str, *arguments: int, **more: int) -> None:
        make(path, *arguments, **more)
        (theirs / "run").rename(theirs / "made")
        as_user(ALEX, lambda: (theirs / "run").symlink_to(secret))

    monkeypatch.setattr(os, "mkdir", make_then_swap)
    with pytest.raises(OpenError):
        control_listener(f"{theirs}/run/c", None)
