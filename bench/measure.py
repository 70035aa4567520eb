"""Measure: start the servers of a workload, and run the load on each in turn, round by round."""

import contextlib
import json
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.errors import FailedError
from bench.peers import BUILD, Peer, Place
from bench.results import Cell, Figure
from bench.workloads import Workload

_PORTS = 5000  # to choose from
_SLOW_RATE = 5000  # answers a second of a slow server: with many connections, each is to have some answers
_OPEN_TIMEOUT = 90.0  # seconds for opening all connections of a load


@dataclass(frozen=True)
class Plan:
    """How to measure."""

    rounds: int
    seconds: float
    warm_up: float
    cores: Sequence[int]
    """The last one is for the load, the others are for the servers."""
    start_timeout: float = 20.0
    """Seconds until a server has to answer."""

    def cores_of(self, peer: Peer) -> Sequence[int]:
        """The cores of a server."""
        return self.cores[:-1][: peer.cores]


def measure(workload: Workload, peers: Sequence[Peer], plan: Plan) -> dict[str, Cell]:
    """Run a workload on each of these servers. Their cells, by name."""
    cells = {peer.name: Cell() for peer in peers}
    with contextlib.ExitStack() as stack:
        running: dict[str, tuple[processes.Server, int]] = {}
        for round_number in range(plan.rounds):
            for peer in peers:
                cell = cells[peer.name]
                figure = None
                if not cell.failure:
                    try:
                        if workload.measure == "idle":
                            # A new server each time: one that has freed memory would use it again without growing.
                            with _served(peer, workload, plan) as (server, port):
                                figure = _run(peer, workload, server, port, plan)
                        else:
                            if not round_number:
                                running[peer.name] = stack.enter_context(_served(peer, workload, plan))
                            figure = _run(peer, workload, *running[peer.name], plan)
                    except FailedError as error:
                        cell.failure = str(error)
                cell.rounds.append(figure)
    return cells


@contextlib.contextmanager
def _served(peer: Peer, workload: Workload, plan: Plan) -> Iterator[tuple[processes.Server, int]]:
    """A running server that gives right answers, and its port."""
    protocol = "tcp" if peer.echoes and workload.as_echo is not None else workload.protocol
    with tempfile.TemporaryDirectory(prefix="netd-bench-") as name:
        place = Place(protocol, free_port(), Path(name), workload.connections)
        server = processes.Server(peer.command(place), plan.cores_of(peer), place.directory)
        try:
            wait_until_it_answers(server, place, plan.start_timeout)
            yield server, place.port
        finally:
            server.stop()


def _run(peer: Peer, workload: Workload, server: processes.Server, port: int, plan: Plan) -> Figure:
    command = [str(BUILD / "load"), *workload.arguments(of_echo=peer.echoes), "-p", str(port)]
    seconds = plan.seconds + workload.connections / _SLOW_RATE
    command += ["-t", f"{seconds:.3f}", "-w", f"{plan.warm_up:.3f}"]
    server.wait_until_idle()
    load = processes.start(
        command, plan.cores[-1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert load.stdin
    assert load.stderr
    try:
        processes.read_line(load, _OPEN_TIMEOUT)
        idle = workload.measure == "idle"  # only then: reading the memory of a thousand processes takes long
        memory, processor = server.memory() if idle else 0, server.processor_seconds()
        load.stdin.write(b"\n")
        found = json.loads(processes.read_line(load, seconds + _OPEN_TIMEOUT))
        processor = server.processor_seconds() - processor
        if idle:
            server.wait_until_idle()
            memory = server.memory() - memory
        server.check()
        return Figure(**found, processor=processor, memory=memory)
    except (FailedError, BrokenPipeError) as error:
        server.check()
        load.kill()
        output = load.stderr.read().decode(errors="replace").strip()
        raise FailedError(output or str(error)) from None
    finally:
        load.kill()
        load.wait()
        for pipe in (load.stdin, load.stdout, load.stderr):
            assert pipe
            pipe.close()


def free_port() -> int:
    """A port that is free for TCP and UDP, outside the range from which the kernel takes ports (ip(7))."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for step in range(_PORTS):
        port = low - 1 - (os.getpid() * 100 + step) % _PORTS  # another benchmark may look for one too
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                return port
    raise FailedError("no port is free")


_QUESTIONS = {
    "pingpong": (b"ping 0123456789\n", re.compile(rb"pong 0123456789\r?\n")),
    "time": (b"\n", re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\r\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n")),
    "chargen": (b"", re.compile(rb"[ -~]{72}\r\n[ -~]{72}\r\n", re.DOTALL)),
}
_ECHO = (b"netd and its peers\n", re.compile(rb"netd and its peers\n"))


def wait_until_it_answers(server: processes.Server, place: Place, seconds: float = 20.0) -> None:
    """Send a question until there is an answer. Raises `FailedError` if it is wrong: all servers do the same work."""
    question, right = _QUESTIONS.get(place.protocol, _ECHO)
    limit = time.monotonic() + seconds
    answer = b""
    while time.monotonic() < limit:
        server.check()
        with contextlib.suppress(OSError):
            answer = _ask(place, question, right)
            if right.match(answer):
                return
        time.sleep(0.002)
    raise FailedError(f"answered {answer[:60]!r}" if answer else f"no answer within {seconds:.0f} s")


def _ask(place: Place, question: bytes, right: re.Pattern[bytes]) -> bytes:
    kind = socket.SOCK_DGRAM if place.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as client:
        client.settimeout(1)
        client.connect(("127.0.0.1", place.port))
        client.sendall(question)
        answer = b""
        while not right.match(answer) and len(answer) < 4096 and (piece := client.recv(4096)):
            answer += piece
        return answer
