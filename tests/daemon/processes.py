"""The workers of a running daemon, as processes."""

import contextlib
import os
from pathlib import Path

from tests.support.daemon import Daemon

ECHO = "services:\n  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], limits: {{connections: {}}}}}\n"


def workers(running: Daemon) -> list[int]:
    """The process ids of the workers that are not draining."""
    return [worker["pid"] for worker in running.ask("status")["workers"] if not worker["leaving"]]


def counters(running: Daemon) -> dict[str, object]:
    """The counters of the first service."""
    found: dict[str, object] = running.ask("status")["services"][0]["counters"]
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with contextlib.suppress(OSError):
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def processor_time(pid: int) -> float:
    """Seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
