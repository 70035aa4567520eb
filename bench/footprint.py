"""What netd costs beside its traffic: how soon it is ready, how fast its commands answer, what it keeps in memory."""

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
"""Commands that only talk to a running netd."""


def footprint(rounds: int, cores: Sequence[int]) -> dict[str, list[float]]:
    """Seconds until `netd run` answers and that each command takes, and octets of its processes; a value a round."""
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
                server.settle()
                found.setdefault(MEMORY, []).append(server.memory())
                for words in COMMANDS:
                    found.setdefault(f"netd {' '.join(words)}", []).append(_seconds(words, place.directory, cores))
            finally:
                server.stop()
    return found


def _seconds(words: Sequence[str], directory: Path, cores: Sequence[int]) -> float:
    """How long a command takes, from starting it until it has ended."""
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
