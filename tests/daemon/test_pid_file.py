"""The pid file: its lock, its content, and other users that change its directory."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from netd.daemon.pid_file import default_pid_file, pid_file
from netd.errors import OpenError
from tests.support.users import ALEX, as_user


def test_pid_file_holds_the_process_id_and_is_removed_at_the_end(open_path: Path) -> None:
    path = open_path / "pid"
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not path.exists()


def test_pid_file_without_a_path_is_not_made(open_path: Path) -> None:
    with pid_file(None):
        assert os.listdir(open_path) == []


def test_locked_pid_file_is_an_error_that_names_the_process(open_path: Path) -> None:
    path = open_path / "pid"
    with pid_file(str(path)):
        with pytest.raises(OpenError) as raised, pid_file(str(path)):
            pass
        assert raised.value.problems == (f"netd is running already, as process {os.getpid()} ({path})",)
        assert path.read_text() == f"{os.getpid()}\n", "the second attempt has changed nothing"


@pytest.mark.parametrize("left", ["1\n", "", "4194304\n" * 2])
def test_pid_file_left_by_a_crash_is_replaced(open_path: Path, left: str) -> None:
    path = open_path / "pid"
    path.write_text(left)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("text", ["Dear all", "1\nx"])
def test_other_file_is_not_changed(open_path: Path, text: str) -> None:
    path = open_path / "letter"
    path.write_text(text)
    with pytest.raises(OpenError, match="is not a pid file, and was not changed"), pid_file(str(path)):
        pass
    assert path.read_text() == text


def test_default_pid_file_is_in_the_runtime_directory_which_is_created(place: Path) -> None:
    assert default_pid_file() == f"{place}/run/netd.pid"
    assert (place / "run").is_dir()


def test_pid_file_is_not_written_through_links_of_another_user(theirs: Path, secret: Path) -> None:
    (theirs.parent / "roots").mkdir()
    victim = theirs.parent / "roots" / "pid"
    victim.write_text("1\n")
    as_user(ALEX, lambda: (theirs / "way").symlink_to(theirs.parent / "roots"))
    as_user(ALEX, lambda: (theirs / "pid").symlink_to(victim))
    os.link(victim, theirs / "hard")
    for path in (theirs / "way" / "pid", theirs / "pid", theirs / "hard"):
        with pytest.raises(OpenError, match=f"daemon.pid_file: cannot open {path}: "), pid_file(str(path)):
            pass
    assert victim.read_text() == "1\n"


def test_pid_file_removed_before_it_is_locked_is_created_again(
    open_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a netd does that ends at this moment. A lock on the removed file would not keep a third netd out."""
    path, lock = open_path / "pid", fcntl.flock
    path.write_text("1\n")

    def remove_then_lock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    with pid_file(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(OpenError, match="netd is running already"), pid_file(str(path)):
            pass


def test_pid_file_in_a_directory_that_another_user_replaced_is_not_removed(theirs: Path) -> None:
    (theirs.parent / "roots").mkdir()
    (theirs.parent / "roots" / "pid").write_text("1\n")
    as_user(ALEX, (theirs / "run").mkdir)
    with pid_file(f"{theirs}/run/pid"):
        assert (theirs / "run/pid").read_text() == f"{os.getpid()}\n"
        as_user(ALEX, lambda: (theirs / "run").rename(theirs / "moved"))
        as_user(ALEX, lambda: (theirs / "run").symlink_to(theirs.parent / "roots"))
    assert (theirs.parent / "roots" / "pid").exists()
