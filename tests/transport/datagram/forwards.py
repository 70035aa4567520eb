"""Forwards, and targets of which a test receives and answers each datagram."""

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from netd.contract import Context
from netd.services.forward import Forward
from netd.services.forward.options import ForwardOptions
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.forward import ForwardServer
from tests.support.server import Server

ANY: dict[str, object] = {"amplify": ["any"]}


def forward(*urls: str, context: Context | None = None, **options: Any) -> Forward:
    """A forward to these targets."""
    return Forward(ForwardOptions.model_validate({"to": urls, **options}), context or Context())


@contextlib.contextmanager
def target(host: str = "127.0.0.1") -> Iterator[tuple[str, socket.socket]]:
    """The URL and the socket of a target over UDP."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(20)
        shown = f"[{host}]" if ":" in host else host
        yield f"udp://{shown}:{sock.getsockname()[1]}", sock


@contextlib.contextmanager
def unix_target(path: str) -> Iterator[tuple[str, socket.socket]]:
    """The same over UNIX."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(20)
        yield f"unixgram://{path}", sock


@contextlib.contextmanager
def asking(address: Any, host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A client with a port of its own, which takes answers from this address alone."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        sock.settimeout(20)
        sock.connect(address)
        yield sock


def last(server: Server) -> ForwardServer:
    """The server that was added last."""
    found = server.servers[-1]
    assert isinstance(found, ForwardServer)
    return found


def in_loop(server: Server, function: Any) -> None:
    """Call this in the loop of a server, and wait until it was."""
    server.loop.call(function)
    server.settle()


def dropped(events: ServiceEvents, **expected: int) -> bool:
    """Whether so many datagrams were dropped, by reason, and no others."""
    return events.counters.dropped == expected


def drops(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines about datagrams that were dropped."""
    return [event for event in log if event["event"] == "datagrams_dropped"]
