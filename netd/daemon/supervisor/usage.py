"""What programs use while they run: processor time and memory, as proc(5) has them."""

import os
from collections.abc import Container
from pathlib import Path
from typing import TypedDict

_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _GROUP, _USER, _LAST_TIME, _RESIDENT = 1, 2, 11, 14, 21  # fields after the name, in parentheses


class Usage(TypedDict, total=False):
    """What one program uses; empty where that is not known."""

    cpu_seconds: float
    """Of the process, and of those of its children that it has waited for."""
    memory_bytes: int
    """Resident set size."""


def usage_of(pid: int, launchers: Container[int]) -> Usage:
    """What the program with this process id uses, a child of one of these ``launchers``.

    An attacker may control the worker that names the process. So this tells nothing of any other process. After the
    launcher has exited a program is a child of this process, and leads a process group, as no process of netd does.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:  # it has ended, or is hidden (hidepid=)
        return {}
    parent = int(fields[_PARENT])
    if parent not in launchers and not (parent == os.getpid() and int(fields[_GROUP]) == pid):
        return {}
    times = map(int, fields[_USER : _LAST_TIME + 1])
    return {"cpu_seconds": round(sum(times) * _TICK, 3), "memory_bytes": int(fields[_RESIDENT]) * _PAGE}
