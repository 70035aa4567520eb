"""How the kernel schedules the threads of netd beside each other, and beside programs that start.

Where the kernel or the C library does not do what is asked for here, the thread stays as it was.
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys

_SLICE = 500_000
"""Nanoseconds that a worker asks to run for at a time: less than the 0.7 to 2.8 ms that the kernel gives by default."""
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""The numbers of sched_setattr(2), which the C library has a function for only since glibc 2.41."""
_ATTRIBUTES = struct.Struct("=IIQiIQQQII")  # struct sched_attr of linux/sched/types.h
_restored: list[tuple[int, os.sched_param]] = []  # what programs of this process have to set, if it was changed


def ask_for_short_slices() -> None:
    """Have this thread, when it wakes, run before a program that has time left (sched_setattr(2)).

    Its share of the processor stays the same. Threads that it starts from now on ask for it too. It takes effect since
    Linux 6.12, and beside `wake_without_preempting` in the launchers alone: else these take the processor from the
    worker when they wake.
    """
    number = _SET_ATTRIBUTES.get(platform.machine()) if sys.maxsize > 2**32 else None
    if number is None or _policy() != os.SCHED_OTHER:
        return
    attributes = _ATTRIBUTES.pack(
        _ATTRIBUTES.size, os.SCHED_OTHER, 0, os.getpriority(os.PRIO_PROCESS, 0), 0, _SLICE, 0, 0, 0, 0
    )
    ctypes.CDLL(None).syscall(number, 0, attributes, 0)


def wake_without_preempting() -> None:
    """Have this thread, when it wakes, wait for what runs (SCHED_BATCH, sched(7)). Its children would do so too.

    Not under a policy that the operator has chosen (CPUSchedulingPolicy=, chrt(1)).
    """
    if _policy() == os.SCHED_OTHER:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            _restored[:] = [(os.SCHED_OTHER, os.sched_param(0))]


def policy_of_programs() -> tuple[int, os.sched_param] | None:
    """What a program has to set, so that it has the policy that netd was started with; None where it has it anyway."""
    return _restored[0] if _restored and _policy() == os.SCHED_BATCH else None


def _policy() -> int | None:
    """That of this thread; None where the C library cannot say, as musl."""
    try:
        return os.sched_getscheduler(0)
    except OSError:
        return None
