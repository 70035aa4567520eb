"""The scheduling of workers and launchers, and of the programs of these (sched(7))."""

import ctypes
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netd import scheduling
from tests.daemon.launcher.examples import printed, program
from tests.daemon.processes import workers
from tests.daemon.programs import config, launcher, said
from tests.support.daemon import daemon
from tests.support.forks import in_child

OTHER, BATCH, IDLE = os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE
# With a limit it is fork(2) and execve(2), else posix_spawn(3).
WAYS: list[dict[str, Any]] = [{}, {"limits": {"CORE": (0, 0)}}]
STAT = "/bin/cat", "/proc/self/stat"
_GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275, "riscv64": 275}
_HAS_SLICES = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 12)
pytestmark = pytest.mark.skipif(
    os.sched_getscheduler(0) != OTHER or os.getpriority(os.PRIO_PROCESS, 0) > 0,
    reason="needs the usual policy and priority (chrt(1), nice(1))",
)
with_slices = pytest.mark.skipif(
    not _HAS_SLICES or platform.machine() not in _GET_ATTRIBUTES, reason="needs Linux 6.12, on a machine that is known"
)


def policy(stat: str) -> int:
    """The policy of a process, of its /proc/PID/stat (proc(5))."""
    return int(stat.rpartition(")")[2].split()[38])


def slice_of(pid: int) -> int:
    """Nanoseconds that a process runs for at a time (sched_getattr(2))."""
    found = (ctypes.c_uint64 * 7)()
    number = _GET_ATTRIBUTES[platform.machine()]
    assert not ctypes.CDLL(None).syscall(number, pid, found, ctypes.sizeof(found), 0)
    return int(found[3])


def test_programs_keep_the_policy_where_the_c_library_cannot_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", refuse)  # as musl does
    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    scheduling.ask_for_short_slices()
    scheduling.wake_without_preempting()
    assert scheduling.policy_of_programs() is None


def refuse(*arguments: object) -> None:
    raise PermissionError("a filter of system calls")


@pytest.mark.parametrize("way", WAYS, ids=["spawn", "fork"])
@pytest.mark.parametrize(("before", "own"), [(OTHER, BATCH), (IDLE, IDLE)], ids=["usual", "idle"])
def test_process_waits_and_its_programs_have_the_policy_of_before(way: dict[str, Any], before: int, own: int) -> None:
    def check() -> None:
        os.sched_setscheduler(0, before, os.sched_param(0))
        scheduling.wake_without_preempting()
        assert os.sched_getscheduler(0) == own
        assert policy(printed(program(*STAT, **way))) == before

    in_child(check)


@pytest.mark.parametrize("way", WAYS, ids=["spawn", "fork"])
def test_programs_start_where_the_policy_must_not_be_set(way: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_setscheduler", refuse)

    def check() -> None:
        scheduling.wake_without_preempting()
        assert scheduling.policy_of_programs() is None
        assert policy(printed(program(*STAT, **way))) == OTHER

    in_child(check)


def in_slices(before: int, nice: int) -> Callable[[], None]:
    """Ask for short slices at this policy and priority, which stay."""

    def check() -> None:
        os.nice(nice)
        os.sched_setscheduler(0, before, os.sched_param(0))
        usual = slice_of(0)
        scheduling.ask_for_short_slices()
        assert (os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == (before, nice)
        assert slice_of(0) == (500_000 if before == OTHER else usual)

    return check


@with_slices
@pytest.mark.parametrize(("before", "nice"), [(OTHER, 0), (OTHER, 7), (BATCH, 0)], ids=["usual", "nice", "batch"])
def test_slices_are_short_under_the_usual_policy_alone(before: int, nice: int) -> None:
    in_child(in_slices(before, nice))


def test_slices_of_an_unknown_machine_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    scheduling.ask_for_short_slices()


@pytest.mark.slow
@with_slices
def test_worker_with_programs_has_short_slices_and_programs_have_what_netd_has(tmp_path: Path) -> None:
    with daemon(config(list(STAT)), tmp_path) as running:
        assert policy(said(running)) == os.sched_getscheduler(0)
        assert policy(Path(f"/proc/{launcher(running)}/stat").read_text()) == BATCH
        assert slice_of(workers(running)[0]) == 500_000


@pytest.mark.slow
@with_slices
def test_worker_without_programs_is_scheduled_as_others(tmp_path: Path) -> None:
    with daemon("services: {echo: {listen: ['tcp://127.0.0.1:0']}}\n", tmp_path) as running:
        assert slice_of(workers(running)[0]) == slice_of(0)
