"""The cost of netd without traffic: the time to start, the time of its commands, and its memory, also with programs."""

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import processes
from bench.errors import FailedError
from bench.measure import free_port, wait_until_it_answers
from bench.peers import Place, netd

START = "start"
"""The seconds until `netd run` answers. Keys of the result; the others begin with `netd`, seconds of a command."""
MEMORY = "memory"
"""The octets of its processes."""
LAUNCHER = "launcher"
"""The memory that a service of type exec adds, as long as no program runs."""
DESCRIPTORS = "descriptors"
"""Descriptors of netd's processes for each running program,"""
PROGRAM = "program"
"""and octets of their memory (without that of the program)."""

PROGRAMS = 1000
"""Programs that run while descriptors and memory are measured."""

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
    """The values of netd by the keys above; one per round."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        began = time.perf_counter()
        with _started("tcp", cores) as (server, place):
            found.setdefault(START, []).append(time.perf_counter() - began)
            server.wait_until_idle()
            memory = server.memory()
            found.setdefault(MEMORY, []).append(memory)
            for words in COMMANDS:
                found.setdefault(f"netd {' '.join(words)}", []).append(_seconds(words, place.directory, cores))
        for key, value in of_programs(PROGRAMS, memory, cores).items():
            found.setdefault(key, []).append(value)
    return found


def of_programs(number: int, memory: int, cores: Sequence[int]) -> dict[str, float]:
    """What a service of type exec adds to these octets of memory, and what each of so many running programs adds."""
    with _started("beside", cores) as (server, place), contextlib.ExitStack() as stack:
        server.wait_until_idle()
        pids = server.pids
        launcher, own, descriptors = server.memory() - memory, server.own_memory(pids), server.descriptors(pids)
        for _ in range(number):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", place.second), 10))
            client.sendall(b"x")
            if client.recv(1) != b"x":
                raise FailedError("a program did not answer")
        server.wait_until_idle()
        return {
            LAUNCHER: launcher,
            DESCRIPTORS: (server.descriptors(pids) - descriptors) / number,
            PROGRAM: (server.own_memory(pids) - own) / number,
        }


@contextlib.contextmanager
def _started(protocol: str, cores: Sequence[int]) -> Iterator[tuple[processes.Server, Place]]:
    """A netd that answers."""
    with tempfile.TemporaryDirectory(prefix="netd-bench-") as name:
        port = free_port()
        place = Place(protocol, port, Path(name), PROGRAMS, free_port(besides=port) if protocol == "beside" else 0)
        server = processes.Server(netd()(place), cores, place.directory)
        try:
            wait_until_it_answers(server, place)
            yield server, place
        finally:
            server.stop()


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
