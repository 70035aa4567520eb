"""Targets of a forward, on this host: one that is full, so that it answers nothing, and one where nothing listens."""

import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

from netd.contract import Context
from netd.services.forward import Forward
from netd.services.forward.options import ForwardOptions


def forwarding(*to: str, context: Context | None = None, **options: object) -> Forward:
    """A service that forwards to these targets."""
    given = ForwardOptions.model_validate_json(json.dumps({"to": to, **options}))
    return Forward(given, context or Context())


def url_of(one: socket.socket) -> str:
    """The URL at which this socket is reached, over IPv4."""
    return "tcp://{}:{}".format(*one.getsockname())


@contextlib.contextmanager
def full(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A listener that drops each handshake, since its queue is full (listen(2))."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, 0))
        listener.listen(0)
        client = stack.enter_context(socket.create_connection(listener.getsockname(), 20))
        assert client.getpeername()
        yield listener


@contextlib.contextmanager
def closed_port(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A socket that is bound to a port, on which nothing listens."""
    with socket.socket() as one:
        one.bind((host, 0))
        yield one


@contextlib.contextmanager
def listener(address: Any = ("127.0.0.1", 0)) -> Iterator[socket.socket]:
    """A listener that the test accepts from."""
    with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as one:
        one.settimeout(20)
        one.bind(address)
        one.listen()
        yield one
