"""Measure: start the servers of a workload, and run the load on each in turn, round by round."""

import contextlib
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.errors import FailedError
from bench.load import Load
from bench.peers import BUILD, Peer, Place
from bench.results import Cell, Figure
from bench.tls_load import context_of_client
from bench.workloads import Workload

_PORTS = 5000  # to choose from
_SLOW_RATE = 5000  # answers a second of a slow server: with many connections, each is to have some answers


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
        running: dict[str, tuple[processes.Server, Place]] = {}
        for round_number in range(plan.rounds):
            for peer in peers:
                cell = cells[peer.name]
                figure = None
                if not cell.failure:
                    try:
                        if workload.measure == "idle":
                            # A new server each time: one that has freed memory would use it again without growing.
                            with _served(peer, workload, plan) as (server, place):
                                figure = _run(peer, workload, server, place, plan)
                        else:
                            if not round_number:
                                running[peer.name] = stack.enter_context(_served(peer, workload, plan))
                            figure = _run(peer, workload, *running[peer.name], plan)
                    except FailedError as error:
                        cell.failure = str(error)
                cell.rounds.append(figure)
    return cells


@contextlib.contextmanager
def _served(peer: Peer, workload: Workload, plan: Plan) -> Iterator[tuple[processes.Server, Place]]:
    """A running server that gives right answers, and its place."""
    protocol = "tcp" if peer.echoes and workload.as_echo is not None else workload.protocol
    with (
        tempfile.TemporaryDirectory(prefix="netd-bench-") as name,
        socket.socket(socket.AF_INET, kind_of(protocol)) as reserved,
    ):
        port = free_port()
        second = free_port(besides=port) if workload.programs or workload.has_target else 0
        if workload.has_target:  # between two loads nothing listens there: keep it from the next server
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind(("127.0.0.1", second))
        place = Place(protocol, port, Path(name), workload.connections, second)
        server = processes.Server(
            peer.command(place), plan.cores_of(peer), place.directory, asked_to_stop=peer.asked_to_stop
        )
        try:
            with contextlib.ExitStack() as target:
                if workload.has_target:
                    target.enter_context(_target(place, plan))
                wait_until_it_answers(server, place, plan.start_timeout)
                if not workload.over_tls:
                    target.close()  # from here on it is in the process of the load
                yield server, place
        finally:
            server.stop()


@contextlib.contextmanager
def _target(place: Place, plan: Plan) -> Iterator[None]:
    """The echo behind a server that forwards, until it has answered once: then load.c has its port."""
    directory = place.directory / "target"
    directory.mkdir()
    protocol = "udp" if kind_of(place.protocol) == socket.SOCK_DGRAM else "tcp"
    target = processes.Server([str(BUILD / "limit"), protocol, str(place.second)], plan.cores[-1:], directory)
    try:
        wait_until_it_answers(target, Place(protocol, place.second, directory, place.connections), plan.start_timeout)
        yield
    finally:
        target.stop()


def _run(peer: Peer, workload: Workload, server: processes.Server, place: Place, plan: Plan) -> Figure:
    seconds = plan.seconds + workload.connections / _SLOW_RATE
    server.wait_until_idle()
    with contextlib.ExitStack() as stack:

        def ready(arguments: Sequence[str], port: int) -> Load:
            load = stack.enter_context(Load(arguments, port, seconds, plan.warm_up, plan.cores[-1:]))
            load.wait_until_ready()
            return load

        try:
            beside = [ready(arguments, place.second) for arguments in workload.beside()]
            target = ["-e", str(place.second)] if workload.has_target and not workload.over_tls else []
            load = ready([*workload.arguments(of_echo=peer.echoes), *target], place.port)
            idle = workload.measure == "idle"  # only then: reading the memory of a thousand processes takes long
            memory, processor = server.memory() if idle else 0, server.processor_seconds()
            for one in [*beside, load]:
                one.begin()
            found = load.result()
            processor = server.processor_seconds() - processor
            if lost := sum(one.result()["lost"] for one in beside):
                raise FailedError(f"{lost} of {workload.programs * seconds:.0f} programs were not answered")
        except FailedError:
            server.check()
            raise
        if idle:
            server.wait_until_idle()
            memory = server.memory() - memory
        server.check()
        return Figure(**found, processor=processor, memory=memory)  # type: ignore[arg-type]  # the counts are whole


def kind_of(protocol: str) -> socket.SocketKind:
    """The kind of socket of a protocol of servers."""
    return socket.SOCK_DGRAM if protocol in ("udp", "udp-forward") else socket.SOCK_STREAM


def free_port(besides: int = 0) -> int:
    """A port (not ``besides``) that is free for TCP and UDP, below those that the kernel takes for clients (ip(7))."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for step in range(_PORTS):
        port = low - 1 - (os.getpid() * 100 + step) % _PORTS  # another benchmark may look for one too
        if port == besides:
            continue
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                return port
    raise FailedError("no port is free")


_QUESTIONS = {
    "pingpong": (b"ping 0123456789\n", re.compile(rb"pong 0123456789\r?\n")),
    "time": (b"\n", re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\r\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n")),
    "check": (b"GET / HTTP/1.0\n\n", re.compile(rb"HTTP/1\.1 200 OK\r\n.*exit code 0\n", re.DOTALL)),
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
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(socket.socket(socket.AF_INET, kind_of(place.protocol)))
        client.settimeout(1)
        client.connect(("127.0.0.1", place.port))
        if place.protocol == "tls":
            client = stack.enter_context(context_of_client().wrap_socket(client))
        client.sendall(question)
        answer = b""
        while not right.match(answer) and len(answer) < 4096 and (piece := client.recv(4096)):
            answer += piece
        return answer
