"""Services with programs behind a relay, of which the test is the launcher."""

import os
import socket
from collections.abc import Sequence
from typing import Any

from netd.contract import Context, End
from netd.peer import Peer
from netd.services.exec import Exec
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from tests.support.server import Server
from tests.support.waiting import until
from tests.transport.stream.peers import connect


class Launcher:
    """Starts no programs: it keeps their ends of the socket pairs, and what is to be told of them."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.observers: list[Any] = []
        self.stopped = 0

    def start(self, peer: Peer, facts: Any, descriptors: Sequence[int], observer: Any) -> "Launcher":
        self.facts = facts
        self.ends.append(socket.socket(fileno=os.dup(descriptors[0])))
        self.ends[-1].settimeout(20)
        self.observers.append(observer)
        observer.sent()
        return self

    def stop(self) -> None:
        self.stopped += 1


class Relayed:
    """A service with programs behind a relay, on a server."""

    def __init__(self, server: Server, preambles: Preambles = NO_PREAMBLES, **options: object) -> None:
        self.server = server
        self.launcher = Launcher()
        given = Exec.Options.model_validate({"command": ["/bin/cat"], "relay": True, "stderr": "null", **options})
        service = Exec(given, Context(start=self.launcher.start))
        self.address, self.events = server.add(service, "tcp://127.0.0.1:0", preambles=preambles)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """A client, and the end of its program, which runs."""
        client = connect(self.address)
        until(lambda: self.launcher.ends)
        self.call(lambda: self.launcher.observers[0].started(4711))
        return client, self.launcher.ends[0]

    def call(self, function: Any) -> None:
        """Call a function in the loop."""
        self.server.loop.call(function)
        self.server.settle()

    def close(self) -> None:
        for end in self.launcher.ends:
            end.close()

    def end(self, code: int | None = 0) -> None:
        """The program has ended."""
        self.launcher.ends[0].close()
        self.call(lambda: self.launcher.observers[0].ended(End(code, 1.0, 0.0, 0.0, 0, timed_out=False)))
