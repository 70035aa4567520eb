"""The near end of a service that forwards, in this process."""

import socket
from functools import partial
from typing import Any

from netd.services.forward import Forward
from netd.transport.stream.server import StreamServer
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.stream.peers import connect, ended


class Near:
    """The near end of a forward."""

    def __init__(self, server: Server, service: Forward, url: str = "tcp://127.0.0.1:0", **given: Any) -> None:
        self.server, self.service = server, service
        self.address, self.events = server.add(service, url, **given)
        stream = server.servers[-1]
        assert isinstance(stream, StreamServer)
        self.connections = stream.connections

    def connect(self) -> socket.socket:
        return connect(self.address)

    def searching(self) -> socket.socket:
        """A client for which a target is searched."""
        client = self.connect()
        until(lambda: any(getattr(one, "_attempt", None) for one in self.connections))
        return client

    def outcome(self, number: int = 1) -> str:
        until(partial(ended, self.events, number))
        [outcome] = self.events.counters.closed
        assert not any(self.service.targets.active())
        self.server.settle()
        assert self.server.loop.wheel.due == float("inf"), "nothing is timed"
        return outcome

    def counted(self) -> dict[str, int]:
        return {name.removeprefix("forward_"): number for name, number in self.events.counters.own.items()}


def is_reset(near: Near) -> bool:
    """Whether a client is reset, which may come before its connect(2) returns."""
    try:
        with near.connect() as client:
            client.recv(1)
    except ConnectionResetError:
        return True
    return False
