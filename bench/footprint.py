"""The cost of netd without traffic: the time to start, the time of its commands, and its memory."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import processes
from bench.errors import FailedError
from bench.measure import free_port, wait_until_it_answers
from bench.peers import Place, netd

START = "start"
MEMORY = "memory"
"""Keys of the result; the others are commands."""

COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("connections",),
    ("diff",),
    ("explain", "--from", "192.0.2.7:5353", "--to", "echo/tcp"),
    ("ban", "list"),
    ("log-level", "info"),
)
"""Commands that only send a request to a running netd."""


def footprint(rounds: int, cores: Sequence[int]) -> dict[str, list[float]]:
    """Seconds until `netd run` answers, seconds of each command, and octets of netd's processes; a value per round."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="netd-bench-") as name:
            place = Place("tcp", free_port(), Path(name), 1)
            command = netd()(place)
            began = time.perf_counter()
            server = processes.Server(command, cores, place.directory)
            try:
                wait_until_it_answers(server, place)
                found.setdefault(START, []).append(time.perf_counter() - began)
                server.wait_until_idle()
                found.setdefault(MEMORY, []).append(server.memory())
                for words in COMMANDS:
                    found.setdefault(f"netd {' '.join(words)}", []).append(_seconds(words, place.directory, cores))
            finally:
                server.stop()
    return found


def _seconds(words: Sequence[str], directory: Path, cores: Sequence[int]) -> float:
    """The seconds from the start of a command until it has exited."""
    program = str(Path(sys.executable).with_name("netd"))
    began = time.perf_counter()
    process = processes.start(
        [program, *words],
        cores,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        environment={"NETD_CONTROL": str(directory / "control.sock")},
    )
    with contextlib.ExitStack() as stack:
        stack.callback(process.wait)
        stack.callback(process.kill)
        code = process.wait(20)
        took = time.perf_counter() - began
    if code:
        raise FailedError(f"netd {' '.join(words)} ended with {code}")
    return took
