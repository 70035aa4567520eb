"""Owner, group and mode of socket files, where other users can replace them."""

import ctypes
import os
import socket
import stat
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netd import paths
from tests.support.directories import assert_untouched
from tests.support.programs import need, need_root
from tests.support.users import ALEX, MALLORY, as_user


def bound(path: Path, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket, bound as netd does."""
    opened = socket.socket(socket.AF_UNIX, kind)
    umask = os.umask(0o777)
    opened.bind(str(path))
    os.umask(umask)
    return opened


def without_net_admin(do: Callable[[], object]) -> None:
    """Do something as root without CAP_NET_ADMIN, as in many containers, in a child process."""

    def limited() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
        data = ctypes.create_string_buffer(24)
        assert libc.capget(header, data) == 0
        effective, *rest = struct.unpack("=6I", data.raw)
        data = ctypes.create_string_buffer(struct.pack("=6I", effective & ~(1 << 12), *rest), 24)
        assert libc.capset(header, data) == 0
        do()

    as_user(0, limited)


def twice(do: Callable[[], object]) -> None:
    """Do something with CAP_NET_ADMIN, with which the kernel gives the file of a socket, and without."""
    as_user(0, do)
    without_net_admin(do)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_owner_and_mode_are_set_on_the_socket_and_on_no_file_that_replaced_it(
    theirs: Path, secret: Path, kind: int
) -> None:
    path = theirs / "s"

    def change() -> None:
        opened = bound(path, kind)
        file = paths.bound_file(opened, str(path), new=True)
        assert file
        file.change(ALEX, -1, 0o600)
        assert (path.stat().st_uid, path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (ALEX, 0, 0o600)
        as_user(ALEX, lambda: path.rename(theirs / "moved"))
        for user, swap in (
            (ALEX, lambda: path.symlink_to(secret)),
            (ALEX, lambda: bound(path).close()),
            (ALEX, path.mkdir),
            (0, lambda: os.link(secret, path)),  # as any user can where fs.protected_hardlinks is off
        ):
            as_user(user, swap)
            before = path.lstat()[:6]  # without the times
            with pytest.raises(OSError, match="another file has taken its place"):
                file.change(MALLORY, MALLORY, 0o777)
            assert path.lstat()[:6] == before
            path.rmdir() if path.is_dir() else path.unlink()
        file.close(keep=False)
        assert (theirs / "moved").exists()
        (theirs / "moved").unlink()
        assert_untouched(secret)

    twice(change)


GIVE_AWAY = """
import socket, sys
from netd import paths
with socket.socket(socket.AF_UNIX) as opened:
    opened.bind(sys.argv[1])
    paths.bound_file(opened, sys.argv[1], new=True).change(int(sys.argv[2]), -1, 0o640)
"""


def test_socket_is_given_away_with_its_permissions_without_the_right_to_change_those_of_others(
    theirs: Path,
) -> None:
    path = theirs / "s"
    command = [need("setpriv"), "--bounding-set=-fowner,-fsetid", sys.executable, "-c", GIVE_AWAY, str(path), str(ALEX)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (ALEX, 0o640)
    path.unlink()


@pytest.mark.parametrize("call", ["chown", "chmod"])
def test_replacement_at_the_last_moment_changes_no_other_file(
    theirs: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = theirs / "s"
    real = getattr(os, call)

    def exchange_then_call(where: str, *arguments: int) -> None:
        as_user(ALEX, path.unlink)
        as_user(ALEX, lambda: path.symlink_to(secret))
        real(where, *arguments)

    monkeypatch.setattr(os, call, exchange_then_call)
    with bound(path) as opened:
        file = paths.bound_file(opened, str(path), new=True)
        assert file
        file.change(ALEX, ALEX, 0o666)
        assert os.fstat(file.descriptor).st_uid == ALEX
        assert stat.S_IMODE(os.fstat(file.descriptor).st_mode) == 0o666
        file.close(keep=False)
    assert path.is_symlink()
    assert_untouched(secret)


def test_new_socket_is_not_mistaken_for_a_file_that_replaced_it(theirs: Path, secret: Path) -> None:
    path, served = theirs / "s", theirs / "served"

    def look() -> None:
        for swap in (
            lambda: path.symlink_to(secret),
            lambda: path.symlink_to(served),
            lambda: bound(path).close(),
            lambda: path.write_text(""),
            lambda: served.rename(path),
            lambda: None,
        ):
            with bound(path) as opened, bound(served):  # another socket of root's
                served.chmod(0o666)
                as_user(ALEX, path.unlink)
                as_user(ALEX, swap)
                assert paths.bound_file(opened, str(path), new=True) is None
            path.unlink(missing_ok=True)
            served.unlink(missing_ok=True)

    twice(look)
    assert_untouched(secret)


def test_socket_of_an_earlier_start_is_verified_or_not_changed(theirs: Path, secret: Path) -> None:
    path = theirs / "s"
    with bound(path) as opened:
        path.chmod(0o666)

        def known() -> None:
            file = paths.bound_file(opened, str(path), new=False)
            assert file
            file.change(-1, -1, 0o666)
            file.close(keep=True)
            assert path.exists()

        twice(known)

        def changed() -> None:
            file = paths.bound_file(opened, str(path), new=False)
            assert file
            with pytest.raises(OSError, match="without CAP_NET_ADMIN"):
                file.change(-1, -1, 0o600)
            file.close(keep=False)
            assert path.exists(), "it may be another program's"

        without_net_admin(changed)
        as_user(ALEX, lambda: path.rename(theirs / "moved"))

        def gone() -> None:
            assert paths.bound_file(opened, str(path), new=False) is None

        twice(gone)
        as_user(ALEX, lambda: path.symlink_to(secret))
        twice(gone)
        path.unlink()
        as_user(ALEX, lambda: path.symlink_to(theirs / "moved"))
        twice(gone)
        path.unlink()
        as_user(ALEX, lambda: bound(path).close())
        as_user(0, gone)
        without_net_admin(lambda: paths.bound_file(opened, str(path), new=False).change(-1, -1, 0))  # type: ignore[union-attr]
    assert_untouched(secret)


def test_a_user_without_rights_changes_its_own_sockets_in_its_own_directory(theirs: Path) -> None:
    path = theirs / "s"

    def change() -> None:
        with bound(path) as opened:
            for new in (True, False):
                file = paths.bound_file(opened, str(path), new=new)
                assert file
                file.change(-1, -1, 0o640 + new)
                assert stat.S_IMODE(path.stat().st_mode) == 0o640 + new
                file.close(keep=new)
        assert not path.exists()

    as_user(ALEX, change)


def test_socket_with_a_path_is_refused_without_proc(open_path: Path) -> None:
    need_root()
    script = (
        "from tests.transport.test_listen import open_all\n"
        f"try: open_all('unix://{open_path}/s')\n"
        "except Exception as error: print(error)"
    )
    command = ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$@"', "sh", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"services.s: cannot listen on unix://{open_path}/s: "
        "a UNIX socket with a path needs /proc, which is not mounted\n"
    )
    assert not (open_path / "s").exists()
