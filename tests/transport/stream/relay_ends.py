"""The client and the far end of a relay, over TCP and UNIX sockets."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.server import StreamServer
from netd.transport.stream.stream_socket import StreamSocket
from tests.support.server import Server
from tests.support.sockets import most_held, read_all
from tests.support.waiting import until
from tests.transport.stream.peers import RESET, connect, ended
from tests.transport.stream.relayed import Relayed

DATA = b"".join(struct.pack(">I", number) for number in range(2**21))
"""8 MiB, more than all buffers hold, in which every piece is another one."""


def connected(family: str) -> tuple[socket.socket, socket.socket]:
    """Two ends that are connected, the first of them non-blocking."""
    if family == "unix":
        here, there = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            here = socket.create_connection(listener.getsockname())
            there, _ = listener.accept()
    here.setblocking(False)
    there.settimeout(20)
    return here, there


class Ends:
    """The client and the far end of one relay after the other."""

    def __init__(self, server: Server, near: str, far: str, place: Path) -> None:
        self.server = server
        self.near, self.family = near, far
        self.url = "tcp://127.0.0.1:0?sndbuf=16KiB" if near == "tcp" else f"unix://{place}/s"
        self.wrap: Callable[[socket.socket], StreamSocket] = lambda upstream: upstream
        self.client: socket.socket
        self.far: socket.socket
        self._open = contextlib.ExitStack()

    def serve(self, **limits: Any) -> None:
        self.service = Relayed(self._connect)
        self._address, self.events = self.server.add(self.service, self.url, **limits)
        stream = self.server.servers[-1]
        assert isinstance(stream, StreamServer)
        self.connections = stream.connections

    def _connect(self) -> StreamSocket:
        here, self.far = connected(self.family)
        self._open.enter_context(self.far)
        return self.wrap(here)

    def join(self, **limits: Any) -> RelayConnection:
        """A new client and far end."""
        if not hasattr(self, "service"):
            self.serve(**limits)
        self.client = self._open.enter_context(connect(self._address))
        until(lambda: any(type(one) is RelayConnection for one in self.connections))
        self.server.settle()
        [connection] = self.connections
        assert isinstance(connection, RelayConnection)
        return connection

    def of(self, client_first: bool) -> tuple[socket.socket, socket.socket]:
        return (self.client, self.far) if client_first else (self.far, self.client)

    def outcome(self) -> str:
        """The outcome of the one connection, after which nothing is left."""
        until(partial(ended, self.events, 1))
        until(lambda: not len(self.connections) and self.service.outcomes)
        assert not self.events.counters.active
        assert self.server.loop.wheel.due == float("inf"), "nothing is timed"
        assert self.service.outcomes == list(self.events.counters.closed.elements())
        return self.service.outcomes[0]

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """The loop does nothing within this."""
        held, go_on = threading.Event(), threading.Event()
        self.server.loop.call(held.set)
        self.server.loop.call(partial(go_on.wait, 10))
        assert held.wait(10)
        yield
        go_on.set()

    def close(self) -> None:
        self._open.close()


def fill(ends: Ends, sender: socket.socket) -> int:
    """Send until all buffers are full: the octets sent."""
    sender.setblocking(False)
    sent = idle = 0
    while idle < 10:
        try:
            sent += sender.send(DATA[sent % len(DATA) :][:50_000])
            idle = 0
        except BlockingIOError:
            idle += 1
            ends.server.settle()
        assert sent < most_held(), "it reads on and on"
    sender.settimeout(20)
    return sent


def reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()


def assert_was_reset(end: socket.socket) -> None:
    """The end was reset, or over UNIX closed."""
    if end.family == socket.AF_UNIX:
        with contextlib.suppress(ConnectionError):
            read_all(end)
        with pytest.raises(ConnectionError):
            end.send(b"x")
    else:
        with pytest.raises(ConnectionError):
            while end.recv(2**20):
                pass
            pytest.fail("an end of file")
