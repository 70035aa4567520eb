"""The user, the groups and the root directory of a worker."""

import contextlib
import ctypes
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from netd.errors import EXIT_OSERR
from netd.privileges import RunAs, close_all_but, close_to_others, drop_to, end_with
from tests.support.leftovers import is_gone
from tests.support.programs import need_root
from tests.support.users import ALEX
from tests.support.waiting import until

PR_GET_DUMPABLE = 3  # linux/prctl.h


def status(*keys: str) -> list[list[str]]:
    """Fields of this process's /proc/PID/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
    return [fields[key] for key in keys]


def in_child(run: Callable[[], object]) -> int:
    """Run a function in a child process. Returns the exit code, 1 for an exception, or the negative signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_process_has_no_privileges_after_it_has_dropped_them(open_path: Path) -> None:
    need_root()
    parent = os.getpid()
    identity = RunAs("alex", ALEX, ALEX, (ALEX, 4321), str(open_path))

    def drop() -> None:
        proc = os.open("/proc/self/status", os.O_RDONLY)  # not in the chroot
        drop_to(identity, parent)
        assert (os.getcwd(), os.path.exists("/proc")) == ("/", False)
        lines = os.read(proc, 10_000).decode().splitlines()
        fields = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        assert (fields["Uid"], fields["Gid"]) == ([str(ALEX)] * 4, [str(ALEX)] * 4)
        assert fields["Groups"] == [str(ALEX), "4321"]
        assert fields["NoNewPrivs"] == ["1"]
        assert {fields[key][0] for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}

    assert in_child(drop) == 0


def test_process_that_can_become_root_again_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    need_root()
    parent = os.getpid()
    set_all = os.setresuid

    def keep_saved_uid(real: int, effective: int, saved: int) -> None:
        set_all(real, effective, 0 if saved else saved)

    def drop() -> None:
        monkeypatch.setattr(os, "setresuid", keep_saved_uid)
        monkeypatch.setattr(os, "getresuid", lambda: (ALEX,) * 3)
        with pytest.raises(RuntimeError, match="the process can become root again"):
            drop_to(RunAs("alex", ALEX, ALEX, (ALEX,)), parent)

    assert in_child(drop) == 0


def test_process_without_a_user_keeps_its_own_and_drops_capabilities() -> None:
    parent, uid = os.getpid(), os.getuid()

    def drop() -> None:
        drop_to(RunAs("me"), parent)
        assert os.getuid() == uid
        assert status("NoNewPrivs", "CapEff") == [["1"], ["0" * 16]]

    assert in_child(drop) == 0


def test_process_is_killed_when_its_parent_ends() -> None:
    pids, exits = os.pipe(), os.pipe()
    parent = os.fork()
    if parent == 0:
        me = os.getpid()
        if os.fork() == 0:
            end_with(me)
            os.write(pids[1], str(os.getpid()).encode())
            signal.pause()
        os.read(exits[0], 1)
        os._exit(0)
    child = int(os.read(pids[0], 20))
    assert not is_gone(child)
    os.write(exits[1], b"x")
    os.waitpid(parent, 0)
    until(lambda: is_gone(child))
    for descriptor in (*pids, *exits):
        os.close(descriptor)


def test_process_exits_if_its_parent_has_ended() -> None:
    assert in_child(lambda: end_with(1 if os.getppid() != 1 else 2)) == EXIT_OSERR


def test_process_of_another_user_has_the_priority_that_only_root_may_set() -> None:
    need_root()
    parent = os.getpid()

    def drop() -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        drop_to(RunAs("alex", ALEX, ALEX, (ALEX,), nice=-3), parent)
        assert os.getpriority(os.PRIO_PROCESS, 0) == max(-20, before - 3)

    assert in_child(drop) == 0


@pytest.mark.parametrize("is_closed", [False, True])
def test_process_that_is_closed_to_others_stays_so_when_it_becomes_another_user(is_closed: bool) -> None:
    need_root()
    parent = os.getpid()
    dumpable = ctypes.CDLL(None).prctl

    def drop() -> None:
        if is_closed:
            close_to_others()
        drop_to(RunAs("alex", ALEX, ALEX, (ALEX,)), parent)
        before = int(Path("/proc/sys/fs/suid_dumpable").read_text())
        assert dumpable(PR_GET_DUMPABLE, 0, 0, 0, 0) == (0 if is_closed else before)

    assert in_child(drop) == 0


def is_open(descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        os.fstat(descriptor)
        return True
    return False


def test_close_all_but_keeps_the_named_descriptors_alone() -> None:
    reader, writer = os.pipe()
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    kept = {0, 1, 2, writer, others[1]}
    pid = os.fork()
    if pid == 0:
        close_all_but(kept)
        os.write(writer, " ".join(str(number) for number in range(1024) if is_open(number)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    found = {int(number) for number in os.read(reader, 10_000).split()}
    assert found == {number for number in kept if is_open(number)}
    for descriptor in (reader, writer, *others):
        os.close(descriptor)
