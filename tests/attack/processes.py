"""What the processes of a daemon hold: memory and descriptors."""

import contextlib
import os
from pathlib import Path

from netd.errors import NotRunningError
from tests.support.daemon import Daemon


def memory(pid: int) -> int:
    """The octets that a process has written to (proc(5), Private_Dirty), whatever it shares with others."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) * 1024


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def megabytes(octets: float) -> str:
    return f"{octets / 1e6:.1f} MB"


def failures(running: Daemon) -> list[str]:
    """The events in the log that say that netd, a worker or a conversation has failed."""
    wrong = ("conversation_failed", "worker_lost", "worker_failed", "worker_aborted", "netd_failed", "command_failed")
    while not running._queue.empty():
        if line := running._queue.get():
            running.lines.append(line)
    return [str(line) for line in running.lines if line["event"] in wrong or "Traceback" in str(line)]


def ready(running: Daemon) -> bool:
    """Whether its control socket says so; at first there is none, or that of a netd that was killed."""
    with contextlib.suppress(NotRunningError):
        return bool(running.ask("status").get("ready"))
    return False


def requests(running: Daemon) -> int:
    """How many requests the first service has received."""
    return int(running.ask("status")["services"][0]["requests"])
