"""Time of the server alone for a request, to a hundredth of a microsecond: turns of its loop within one process.

    python -m bench.turn [--service NAME] [--connections N] [--rounds N] [--connect]

Client and server take turns on one core, and only the turns of the server are timed. So the figure has no second
core, no wake-ups, and no load that could be the bottleneck. The benchmark has all of these, and its spread hides the
cost of a few lines of code. The loop of bench/limit.c is timed too, on the same sockets.

With --connect, each request has a connection of its own: accept, answer, close. The C loop has no part in that.
"""

import argparse
import ctypes
import os
import random
import select
import socket
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

from bench import processes
from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.contract import Context
from netd.endpoints import Endpoint
from netd.services import table
from netd.telemetry.service_events import ServiceEvents
from netd.transport.listen import open_listeners
from netd.transport.loop import Loop
from netd.transport.stream.server import StreamServer

BENCH = Path(__file__).parent
REQUEST = b"x" * 62 + b"\r\n"
BATCH = 32  # connections opened at once: fewer than the backlog


class Turns:
    """A service with open connections on netd's loop. An eventfd in the loop runs the client after each turn."""

    def __init__(self, service: str, number: int, rounds: int) -> None:
        kind = table.find(service)
        if kind is None:
            raise SystemExit(f"unknown service type {service}")
        [listener] = open_listeners([(service, Endpoint.parse("tcp://127.0.0.1:0"))], lambda *skipped: None)
        self._address = listener.socket.getsockname()
        self._events = events = ServiceEvents(service)
        events.set_connection_log("off")
        context = Context(clock=time.time, random=random.SystemRandom(), line_limit=4096)
        policy = Policy.model_validate_json('{"limits": {"connections": "off", "per_source": "off"}}')
        admission = AdmissionControl(
            service, policy, Access.of(AccessRules()), events.table, DaemonAdmission(), time.time
        )
        self._loop = Loop()
        built: Any = kind.build(kind.options(), context)
        self._server = StreamServer(listener.socket, kind, built, admission, events, self._loop)
        self._server.start()
        self._number = number
        self._rounds = rounds
        self._clients: list[socket.socket] = []
        # epoll reports edges in the order in which they arrived, so this one is the last of a turn.
        self._last = os.eventfd(0)
        self._loop.watch(self._last, select.EPOLLIN | select.EPOLLET, self._on_turn_end)
        self._began = 0
        self.netd: list[float] = []
        """Microseconds for a request, one value per turn."""
        self.limit: list[float] = []
        """The same for the C loop."""

    def run(self) -> None:
        """Run all rounds."""
        os.eventfd_write(self._last, 1)
        self._loop.run()

    def _on_turn_end(self, mask: int) -> None:
        now = time.perf_counter_ns()
        os.eventfd_read(self._last)
        if len(self._clients) < self._number:
            for _ in range(min(BATCH, self._number - len(self._clients))):
                self._clients.append(socket.create_connection(self._address, 10))
                self._clients[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        elif len(self._server.connections) == self._number:
            if self._began:
                self.netd.append((now - self._began) / self._number / 1000)
                self._receive_answers()
            if len(self.netd) == self._rounds:
                return self._loop.stop()
            self.limit.append(self._time_c_loop())
            self._send_requests()
            self._began = time.perf_counter_ns()
        os.eventfd_write(self._last, 1)

    def _send_requests(self) -> None:
        for client in self._clients:
            client.sendall(REQUEST)

    def _receive_answers(self) -> None:
        for client in self._clients:
            client.recv(65536)

    def _time_c_loop(self) -> float:
        turn = ctypes.CDLL(str(BENCH / "build" / "limit.so")).echo_turn
        with select.epoll() as epoll:
            for connection in self._server.connections:
                epoll.register(connection.descriptor, select.EPOLLIN)
            self._send_requests()
            left = self._number
            began = time.perf_counter_ns()
            while left > 0:
                left -= turn(epoll.fileno())
            took = time.perf_counter_ns() - began
        self._receive_answers()
        return took / self._number / 1000


class Connects(Turns):
    """A service that gets one request per connection, from clients that have finished sending by then."""

    _expected = 0
    """Connections that have ended when the round has."""

    def _on_turn_end(self, mask: int) -> None:
        now = time.perf_counter_ns()
        os.eventfd_read(self._last)
        if not len(self._server.connections) and self._events.counters.closed.total() == self._expected:
            if self._began:
                self.netd.append((now - self._began) / self._number / 1000)
                self._receive_answers()
                for client in self._clients:
                    client.close()
            if len(self.netd) == self._rounds:
                return self._loop.stop()
            self._clients = [socket.create_connection(self._address, 10) for _ in range(self._number)]
            self._send_requests()
            for client in self._clients:
                client.shutdown(socket.SHUT_WR)
            self._expected += self._number
            self._began = time.perf_counter_ns()
        os.eventfd_write(self._last, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", default="echo", help="one that answers a line with one segment (echo)")
    parser.add_argument("--connections", type=int, default=64, help="on each of which a request waits (64)")
    parser.add_argument("--rounds", type=int, default=500, help="of both loops in turn (500)")
    parser.add_argument("--connect", action="store_true", help="a connection for each request")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    processes.allow_descriptors(1024 + 2 * options.connections)  # both ends are here
    library = BENCH / "build" / "limit.so"
    library.parent.mkdir(exist_ok=True)
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, BENCH / "limit.c"], check=True)
    if options.connect:
        options.connections = min(options.connections, BATCH)
    turns = (Connects if options.connect else Turns)(options.service, options.connections, options.rounds)
    turns.run()
    for name, figures in (("C", turns.limit), ("netd", turns.netd)):
        if not figures:
            continue
        least, median = min(figures), statistics.median(figures)
        print(f"{name:5} {median:6.2f} us a request, at least {least:.2f}")


if __name__ == "__main__":
    main()
