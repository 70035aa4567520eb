"""The kinds of stream connections, as rows for `test_conformance.py`."""

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from netd.admission.banner import NO_BANNERS
from netd.contract import Conversation, Post
from netd.peer import Peer
from netd.services.echo import Echo
from netd.services.forward import Forward
from netd.telemetry.service_events import ServiceEvents
from netd.transport.handler_watch import watch_of
from netd.transport.stream.connection import Connection
from netd.transport.stream.connections import Connections
from netd.transport.stream.conversation import ConversationConnection, PushConnection, SendOnlyConnection
from netd.transport.stream.coroutine import CoroutineConnection, CoroutineRelay
from netd.transport.stream.echo import EchoConnection, WrappedEchoConnection
from netd.transport.stream.forward import ForwardConnection
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.server import StreamServer
from netd.transport.stream.threaded import ThreadedConnection
from netd.transport.stream.threaded_relay import ThreadedRelay
from tests.support.certificates import Authority
from tests.support.server import Server
from tests.support.sockets import ABSTRACT, most_held, read_exactly
from tests.support.tls import TlsClient, client_context, tls_preambles
from tests.support.waiting import until
from tests.transport.sample_services import PlainEcho
from tests.transport.stream.peers import connect, ended
from tests.transport.stream.targets import forwarding
from tests.transport.stream.toy_preambles import BOTH, NAMED, PEER, TRANSFORMED, xor

SENT = bytes(range(256)) * 2**14
"""The output of the service that only sends: more than all buffers hold."""


class PushEcho:
    """Sends back its input, and may post."""

    server_initiated = True

    def stream(self, peer: Peer, post: Post) -> Conversation:
        while data := (yield None):
            yield data


class SendOnly:
    """Sends `SENT`, and discards its input."""

    discards_input = True

    def stream(self, peer: Peer) -> Conversation:
        for start in range(0, len(SENT), 10_000):
            yield SENT[start : start + 10_000]


class BlockingEcho:
    """Sends back its input, from a thread."""

    def handler(self, request: socket.socket, client_address: Any, server: Any) -> None:
        while data := request.recv(65536):
            request.sendall(data)


class BlockingEchoThatWaits(BlockingEcho):
    """As `BlockingEcho`, with a thread only from the first octet on."""

    client_speaks_first = True


class AsyncEcho:
    """Sends back its input, from a coroutine that waits for nothing but its input."""

    async def handler(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)


@dataclass(frozen=True)
class Kind:
    """A kind of connection. Its service sends back its input, or is `SendOnly`."""

    name: str
    service: Callable[[Server], Any]
    way: type[Connection]
    preambles: Preambles = NO_PREAMBLES
    is_spliced: bool = True
    """Whether there may be a pipe."""
    tls: ssl.TLSVersion | None = None
    """The version of TLS; None: there is none."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing precedes the service, and nothing is switched off."""
        return self.preambles is NO_PREAMBLES and self.is_spliced and not self.tls

    @property
    def echoes(self) -> bool:
        return self.way is not SendOnlyConnection

    def says(self, data: bytes) -> bytes:
        """The output of the service for this input."""
        return data if self.echoes else SENT

    @property
    def begins(self) -> bytes:
        """The preamble that a client sends first."""
        return (PEER if self.preambles.naming else b"") + (b"XOR\n" if self.preambles.transforming else b"")

    def code(self, data: bytes) -> bytes:
        """This data in the coding of the wire; the coding is its own inverse."""
        return xor(data) if self.preambles.transforming else data


def simple(service: type) -> Callable[[Server], Any]:
    return lambda server: service()


def forwarded(url: str) -> Callable[[Server], Forward]:
    """A service that forwards to an echo on the same loop, at this URL."""

    def service(server: Server) -> Forward:
        address, _ = server.add(Echo(), url)
        return forwarding(f"tcp://127.0.0.1:{address[1]}" if isinstance(address, tuple) else url)

    return service


_1_2, _1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_TCP, _UNIX = "tcp://127.0.0.1:0", f"unix://{ABSTRACT}-upstream"

KINDS = [
    Kind("echo", simple(Echo), EchoConnection),
    Kind("echo-without-splice", simple(Echo), EchoConnection, is_spliced=False),
    Kind("echo-named", simple(Echo), EchoConnection, NAMED),
    Kind("echo-wrapped", simple(Echo), WrappedEchoConnection, TRANSFORMED),
    Kind("conversation", simple(PlainEcho), ConversationConnection),
    Kind("conversation-named", simple(PlainEcho), ConversationConnection, NAMED),
    Kind("conversation-wrapped", simple(PlainEcho), ConversationConnection, BOTH),
    Kind("push", simple(PushEcho), PushConnection),
    Kind("push-wrapped", simple(PushEcho), PushConnection, TRANSFORMED),
    Kind("send-only", simple(SendOnly), SendOnlyConnection),
    Kind("send-only-wrapped", simple(SendOnly), SendOnlyConnection, BOTH),
    Kind("threaded", simple(BlockingEcho), ThreadedConnection),
    Kind("threaded-waiting", simple(BlockingEchoThatWaits), ThreadedConnection),
    Kind("threaded-named", simple(BlockingEcho), ThreadedConnection, NAMED),
    Kind("asyncio", simple(AsyncEcho), CoroutineConnection),
    Kind("asyncio-named", simple(AsyncEcho), CoroutineConnection, NAMED),
    Kind("asyncio-wrapped", simple(AsyncEcho), CoroutineRelay, TRANSFORMED),
    Kind("asyncio-tls", simple(AsyncEcho), CoroutineRelay, tls=_1_3),
    Kind("forward", forwarded(_TCP), ForwardConnection),
    Kind("forward-without-splice", forwarded(_TCP), ForwardConnection, is_spliced=False),
    Kind("forward-named", forwarded(_TCP), ForwardConnection, NAMED),
    Kind("forward-wrapped", forwarded(_TCP), ForwardConnection, BOTH),
    Kind("forward-to-unix", forwarded(_UNIX), ForwardConnection),
    Kind("forward-to-unix-wrapped", forwarded(_UNIX), ForwardConnection, TRANSFORMED),
    Kind("echo-tls", simple(Echo), WrappedEchoConnection, tls=_1_3),
    Kind("conversation-tls", simple(PlainEcho), ConversationConnection, tls=_1_3),
    Kind("send-only-tls", simple(SendOnly), SendOnlyConnection, tls=_1_3),
    Kind("threaded-waiting-tls-1.2", simple(BlockingEchoThatWaits), ThreadedRelay, tls=_1_2),
    Kind("forward-tls", forwarded(_TCP), ForwardConnection, tls=_1_3),
]


class Case:
    """A kind of connection on a server."""

    def __init__(self, kind: Kind, server: Server, url: str, directory: Path) -> None:
        self.kind = kind
        self.server = server
        self._url = url
        self._directory = directory
        self.banners = NO_BANNERS
        self.events: ServiceEvents
        self.connections: Connections

    def serve(self, **limits: Any) -> None:
        """Serve it, with these limits."""
        service = self.kind.service(self.server)
        preambles = self.kind.preambles
        if self.kind.tls:
            self._authority = Authority(self._directory)
            preambles = tls_preambles(self._authority.issue("server"))
        preambles = replace(preambles, banners=self.banners)
        self._address, self.events = self.server.add(service, self._url, preambles=preambles, **limits)
        stream = self.server.servers[-1]
        assert isinstance(stream, StreamServer)
        self.connections = stream.connections

    def raw(self) -> socket.socket:
        """A connection on which nothing was sent yet."""
        return connect(self._address)

    def connect(self) -> Any:
        """A connection that has passed its preamble, as a socket."""
        before = self.events.counters.closed.total()
        client: Any = self.raw()
        if self.kind.tls:
            client = TlsClient(client, client_context(self._authority, self.kind.tls)).handshake()
        if begins := self.kind.begins:
            client.sendall(begins)
        if self.kind.preambles.transforming:
            assert read_exactly(client, 3) == b"OK\n"
        until(lambda: self._serves_one() or not ended(self.events, before))
        return client

    def _serves_one(self) -> bool:
        return any(type(one) is self.kind.way for one in self.connections)

    def exchange(self, client: Any, data: bytes) -> None:
        """Send this and receive it back. From the service that only sends, receive as many octets."""
        if self.kind.echoes:
            client.sendall(self.kind.code(data))
            assert self.kind.code(read_exactly(client, len(data))) == data
        else:
            assert len(read_exactly(client, len(data))) == len(data)

    def fill(self, client: Any) -> int:
        """Send, and receive nothing, until all buffers are full: the octets sent."""
        client.setblocking(False)
        moved = idle = sent = 0
        while idle < 5:
            if self.kind.echoes:
                with contextlib.suppress(OSError):  # no room, or a time-out has expired
                    sent += client.send(self.kind.code(SENT[:65536]))
            self.server.settle()
            select.select([], [client] if self.kind.echoes else [], [], 0.02)
            before, moved = moved, sent + sum(one.bytes_out for one in self.connections)
            idle = idle + 1 if moved == before else 0
            assert sent < most_held(), "it reads on and on"
        client.settimeout(20)
        return sent

    def outcome(self) -> str:
        """The outcome of the one connection."""
        until(partial(ended, self.events, 1))
        [outcome] = self.events.counters.closed
        return outcome

    def assert_nothing_is_left(self) -> None:
        """All that connections had taken was released, once."""
        for one in self.server.servers:
            assert isinstance(one, StreamServer)
            until(lambda one=one: not one.connections)  # type: ignore[misc]
            until(lambda one=one: not one.events.counters.active)  # type: ignore[misc]
            assert not any(one.events.table.sources)
            if one.connections.threads:
                until(lambda threads=one.connections.threads: not threads.slots.taken)  # type: ignore[misc]
        self.server.settle()
        assert sum(self.server.shared.daemon_limits.active) == 0
        # A look at the handlers of all services may follow within a second.
        timed = {
            getattr(one, "_function", one) for members in self.server.loop.wheel._slots.values() for one in members
        }
        assert timed <= {watch_of(self.server.loop)._look}, "nothing else is timed"
