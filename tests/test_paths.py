"""Files in directories of other users: those that netd opens, changes and removes, and those that it refuses."""

import ctypes
import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from netd import paths
from tests.support.directories import assert_untouched
from tests.support.programs import need_root
from tests.support.users import ALEX, MALLORY, as_user

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def refusal(path: Path, flags: int = _APPEND, *, follow: bool = True) -> str:
    with pytest.raises(OSError) as raised:  # noqa: PT011
        os.close(paths.open_file(str(path), flags, 0o640, follow=follow))
    return raised.value.strerror or ""


def test_link_of_another_user_is_not_followed_within_or_at_the_end_of_a_path(theirs: Path, secret: Path) -> None:
    as_user(ALEX, lambda: (theirs / "log").symlink_to(secret))
    as_user(ALEX, lambda: (theirs / "way").symlink_to(secret.parent))
    (theirs.parent / "chain").symlink_to(theirs / "log")
    for path in (theirs / "log", theirs / "way" / "secret", theirs / "way" / "new", theirs.parent / "chain"):
        assert "is a symbolic link that another user made (uid 1234)" in refusal(path)
    assert not (secret.parent / "new").exists()
    assert_untouched(secret)


def test_a_link_of_root_is_not_followed_where_another_user_can_have_put_it(theirs: Path, secret: Path) -> None:
    (theirs / "some").symlink_to(secret)
    (theirs / "way").symlink_to(secret.parent)
    as_user(ALEX, lambda: (theirs / "some").rename(theirs / "log"))
    shared = secret.parent / "shared"
    shared.mkdir()
    (shared / "log").symlink_to(secret)
    (secret.parent / "chain").symlink_to(theirs / "log")
    # The group, or every user, may rename files here, and may move files here from its own directories.
    as_user(ALEX, lambda: (theirs / "moved").symlink_to("x"))
    os.lchown(theirs / "moved", 0, 0)
    for mode in (0o775, 0o777, 0o1777):
        shared.chmod(mode)
        for path in (theirs / "log", theirs / "way" / "new", shared / "log", secret.parent / "chain"):
            assert "is a symbolic link in a directory that another user can write to" in refusal(path)
    as_user(ALEX, lambda: (theirs / "moved").rename(shared / "moved"))
    assert not (secret.parent / "new").exists()
    assert_untouched(secret)
    shared.chmod(0o755)
    os.close(paths.open_file(str(shared / "log"), _APPEND, 0o640, follow=True))


def test_directory_of_root_is_safe_within_a_sticky_directory(open_path: Path) -> None:
    open_path.chmod(0o1777)
    (open_path / "run").mkdir()
    (open_path / "run" / "log").symlink_to("new")
    os.close(paths.open_file(str(open_path / "run" / "log"), _APPEND, 0o640, follow=True))
    with paths.find(str(open_path / "run" / "x")) as place:
        assert place.protected


def test_link_of_the_operator_is_followed_within_a_path_and_with_follow_at_its_end(open_path: Path) -> None:
    (open_path / "logs").mkdir()
    (open_path / "way").symlink_to("./logs/")
    (open_path / "log").symlink_to("way/../logs/./new")
    (open_path / "far").symlink_to(open_path / "log")
    for path in (open_path / "far", open_path / "log", open_path / "way" / "new"):
        descriptor = paths.open_file(str(path), _APPEND, 0o640, follow=True)
        assert os.path.samestat(os.fstat(descriptor), (open_path / "logs/new").stat())
        os.close(descriptor)
    assert refusal(open_path / "far", follow=False) == os.strerror(errno.ELOOP)
    (open_path / "round").symlink_to("round")
    assert refusal(open_path / "round") == os.strerror(errno.ELOOP)
    assert refusal(open_path / "no" / "log") == os.strerror(errno.ENOENT)
    assert refusal(open_path / "logs" / "new" / "log") == os.strerror(errno.ENOTDIR)


def test_a_relative_path_begins_where_the_process_is(open_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(open_path)
    os.close(paths.open_file("log", _APPEND, 0o640))
    assert stat.S_IMODE((open_path / "log").stat().st_mode) == 0o640


def test_target_of_a_magic_link_can_be_a_pipe_or_a_file(open_path: Path) -> None:
    (open_path / "log").symlink_to("/dev/stdout")
    write = "import os, sys; from netd import paths; d = paths.open_file(sys.argv[1], os.O_WRONLY | os.O_APPEND, 0"
    write += ", follow=True); os.write(d, b'said')"
    for path in ("/dev/stdout", f"{open_path}/log", "/dev/fd/1", "/proc/self/fd/1", "/proc/self/root/proc/self/fd/1"):
        done = subprocess.run([sys.executable, "-c", write, path], stdout=subprocess.PIPE, check=True)
        assert done.stdout == b"said", path
        with (open_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", write, path], stdout=out, check=True)
        assert (open_path / "out").read_bytes() == b"said", path


@pytest.mark.parametrize("mapped", [True, False])
def test_owner_of_the_root_directory_is_root_where_root_is_not_mapped(open_path: Path, mapped: bool) -> None:
    """As in rootless containers, where root's files appear to belong to user 65534."""
    need_root()
    (open_path / "run").mkdir()
    os.chown(open_path / "run", ALEX, ALEX)
    (open_path / "way").symlink_to("run")
    (open_path / "log").symlink_to("/dev/stdout")
    as_user(ALEX, lambda: (open_path / "run" / "link").symlink_to("new"))

    def look() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.prctl(4, 1, 0, 0, 0) == 0  # PR_SET_DUMPABLE: it owns the files in /proc/self
        assert libc.unshare(0x10000000) == 0  # CLONE_NEWUSER
        if mapped:
            Path("/proc/self/uid_map").write_text(f"{ALEX} {ALEX} 1")
        assert os.lstat("/").st_uid == 65534
        reader, writer = os.pipe()
        os.dup2(writer, 1)
        for path in (open_path / "log", "/dev/stdout"):
            descriptor = paths.open_file(str(path), os.O_WRONLY, 0, follow=True)
            os.write(descriptor, b"x")
            assert os.read(reader, 2) == b"x"
        for path in (open_path / "way" / "new", open_path / "run" / "link"):
            os.close(paths.open_file(str(path), _APPEND, 0o640, follow=True))
        paths.check_directory(str(open_path / "way" / "c"))
        assert not paths.is_ours(MALLORY)

    as_user(ALEX, look)
    assert not paths.is_ours(65534)
    assert (open_path / "run" / "new").exists()


def test_a_hard_link_is_refused_where_another_user_could_have_made_it(theirs: Path, secret: Path) -> None:
    os.link(secret, theirs / "log")  # as any user can where fs.protected_hardlinks is off
    assert "it is a hard link" in refusal(theirs / "log")
    (theirs.parent / "shared").mkdir()
    (theirs.parent / "shared").chmod(0o1777)
    os.link(secret, theirs.parent / "shared" / "log")
    assert "it is a hard link" in refusal(theirs.parent / "shared" / "log")
    assert_untouched(secret)
    (theirs.parent / "shared" / "log").unlink()
    os.link(secret, secret.parent / "second")
    os.close(paths.open_file(str(secret.parent / "second"), _APPEND, 0o640))


@pytest.mark.parametrize("then", ["gone", "another file", "back"])
def test_hard_link_is_refused_also_if_it_is_removed_during_the_check(
    theirs: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    os.link(secret, theirs / "log")
    look = os.fstat

    def take_away_then_look(descriptor: int) -> os.stat_result:
        opened = not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_PATH
        if opened and os.path.samestat(look(descriptor), secret.stat()):
            (theirs / "log").unlink(missing_ok=True)
            status = look(descriptor)
            if then == "another file":
                (theirs / "log").write_text("")
            if then == "back":
                os.link(secret, theirs / "log")
            return status
        return look(descriptor)

    monkeypatch.setattr(os, "fstat", take_away_then_look)
    assert "it is a hard link" in refusal(theirs / "log")
    monkeypatch.undo()
    assert_untouched(secret)


def test_fifo_at_the_path_of_a_log_does_not_block_netd(theirs: Path) -> None:
    """Without O_NONBLOCK, open(2) would wait until a process reads (fifo(7))."""
    as_user(ALEX, lambda: os.mkfifo(theirs / "log"))

    def look() -> None:
        signal.alarm(20)
        assert refusal(theirs / "log") == os.strerror(errno.ENXIO)
        os.close(paths.open_file(str(theirs / "log"), os.O_RDONLY, 0))

    as_user(0, look)


def test_file_that_another_user_created_before_is_refused_in_a_sticky_directory(theirs: Path) -> None:
    shared = theirs.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    as_user(ALEX, lambda: (shared / "log").write_text(""))
    as_user(ALEX, lambda: os.mkfifo(shared / "fifo"))
    reader = os.open(shared / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    # With fs.protected_regular and fs.protected_fifos, the kernel refuses it first, with another message.
    for name in ("log", "fifo"):
        assert refusal(shared / name) in ("it was created by another user (uid 1234)", os.strerror(errno.EACCES))
    os.close(reader)
    # Files that logrotate(8) creates for the workers' user, and files of the owner of the directory, are accepted.
    for directory in (theirs, theirs.parent):
        (directory / "log").write_text("")
        os.chown(directory / "log", ALEX, ALEX)
        os.close(paths.open_file(str(directory / "log"), _APPEND, 0o640))


def test_a_path_is_removed_only_while_it_is_the_same_file(theirs: Path, secret: Path) -> None:
    (theirs / "a").write_text("")
    descriptor = paths.open_path(str(theirs / "a"))
    assert descriptor is not None
    as_user(ALEX, lambda: (theirs / "a").rename(theirs / "b"))
    os.link(secret, theirs / "a")
    paths.remove(str(theirs / "a"), descriptor)
    assert (theirs / "a").exists()
    paths.remove(str(theirs / "b"), descriptor)
    assert not (theirs / "b").exists()
    paths.remove(str(theirs / "b"), descriptor)
    os.close(descriptor)
    assert paths.open_path(str(theirs / "b")) is None


def test_directories_are_created_accessible_also_behind_a_dangling_link(open_path: Path) -> None:
    (open_path / "run").symlink_to("private/netd")  # as DynamicUser= leaves it
    umask = os.umask(0o077)
    paths.check_directory(str(open_path / "run" / "deep" / "socket"))
    os.umask(umask)
    for made in ("private", "private/netd", "private/netd/deep"):
        assert stat.S_IMODE((open_path / made).stat().st_mode) == 0o755
    assert not (open_path / "run" / "deep" / "socket").exists()


def test_directory_of_another_user_is_refused_for_the_control_socket(theirs: Path) -> None:
    as_user(ALEX, lambda: (theirs / "way").symlink_to(theirs.parent))
    (theirs / "roots").mkdir()
    for name in ("socket", "new/socket", "roots/socket", "roots/new/socket", "way/new/socket"):
        with pytest.raises(ValueError, match=rf"^{theirs} belongs to another user \(uid 1234\); chown root {theirs}$"):
            paths.check_directory(str(theirs / name))
    assert sorted(os.listdir(theirs)) == ["roots", "way"]
    assert not (theirs.parent / "new").exists()


def test_directory_that_every_user_can_replace_is_refused(theirs: Path) -> None:
    above = theirs.parent
    above.chmod(0o777)
    for name in ("socket", "new/socket"):
        with pytest.raises(ValueError, match=f"^{above} is world-writable; chmod o-w {above}$"):
            paths.check_directory(str(above / name))
    above.chmod(0o1777)
    paths.check_directory(str(above / "socket"))
    paths.check_directory(str(above / "new" / "socket"))
    with pytest.raises(ValueError, match=f"^{theirs} belongs to another user"):
        paths.check_directory(str(theirs / "socket"))
    as_user(ALEX, lambda: (above / "way").symlink_to(above))
    with pytest.raises(OSError, match="way is a symbolic link that another user made"):
        paths.check_directory(str(above / "way" / "made" / "socket"))
    assert not (above / "made").exists()


def test_descriptors_are_closed(open_path: Path, theirs: Path) -> None:
    (open_path / "link").symlink_to(open_path)
    as_user(ALEX, lambda: (theirs / "way").symlink_to(open_path))
    before = set(os.listdir("/proc/self/fd"))
    for path in ("link/link/x", "x/y", "link", "/proc/self/fd/1/x", "/proc/self/cwd/x", f"{theirs}/way/x", "/"):
        for follow in (True, False):
            try:
                with paths.find(os.path.join(open_path, path), follow=follow):
                    pass
            except OSError:
                pass
    assert set(os.listdir("/proc/self/fd")) == before


def test_link_replaces_a_file_and_is_read(tmp_path: Path) -> None:
    path = f"{tmp_path}/run/link"
    first = paths.make_link(path, "@one")
    assert paths.read_link(path) == "@one"
    second = paths.make_link(path, "/two")
    assert paths.read_link(path) == "/two"
    assert os.listdir(tmp_path / "run") == ["link"]
    paths.remove(path, first)
    assert paths.read_link(path) == "/two", "it is another one"
    paths.remove(path, second)
    assert paths.read_link(path) is None
    Path(path).write_text("")
    assert paths.read_link(path) is None
    Path(path).unlink()
    Path(path).mkdir()
    with pytest.raises(IsADirectoryError):
        paths.make_link(path, "/two")
    assert os.listdir(tmp_path / "run") == ["link"]
    for descriptor in (first, second):
        os.close(descriptor)


def test_link_is_not_created_where_another_user_can_replace_it(theirs: Path) -> None:
    shared = theirs.parent / "shared"
    shared.mkdir()
    for mode in (0o777, 0o1777, 0o775):
        shared.chmod(mode)
        with pytest.raises((ValueError, PermissionError)):
            paths.make_link(f"{shared}/link", "/one")
    with pytest.raises(ValueError, match="belongs to another user"):
        paths.make_link(f"{theirs}/link", "/one")
    assert [*shared.iterdir(), *theirs.iterdir()] == []


def test_link_is_read_if_root_netds_user_or_the_owner_of_the_directory_created_it(theirs: Path) -> None:
    as_user(ALEX, lambda: (theirs / "link").symlink_to("/one"))
    assert paths.read_link(f"{theirs}/link") == "/one"
    for mode in (0o777, 0o1777, 0o775):
        theirs.chmod(mode)
        assert paths.read_link(f"{theirs}/link") is None
    theirs.chmod(0o755)
    os.lchown(theirs / "link", MALLORY, MALLORY)
    assert paths.read_link(f"{theirs}/link") is None
    as_user(MALLORY, lambda: read(theirs / "link", "/one"))
    os.lchown(theirs / "link", 0, 0)
    assert paths.read_link(f"{theirs}/link") == "/one"


def read(link: Path, target: str) -> None:
    assert paths.read_link(str(link)) == target


def test_link_that_cannot_replace_a_directory_leaves_no_descriptor(open_path: Path) -> None:
    (open_path / "link").mkdir()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(IsADirectoryError):
        paths.make_link(f"{open_path}/link", "/x")
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert os.listdir(open_path) == ["link"]
