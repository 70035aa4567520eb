"""Clients of stream servers, and conditions on the counters of a server."""

import socket
import struct
from collections.abc import Iterable
from typing import Any

from netd.contract import Receive, Wait, WaitingConversation
from netd.errors import PeerError
from netd.telemetry.service_events import ServiceEvents
from tests.support.sockets import read_all

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


def connect(address: Any) -> socket.socket:
    """A client of a stream, connected."""
    family = (
        socket.AF_UNIX if isinstance(address, str | bytes) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    )
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(20)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def ask(address: Any, data: bytes) -> bytes:
    """All that a service sends in answer to ``data``, until it closes."""
    with connect(address) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def ended(events: ServiceEvents, number: int) -> bool:
    """Whether so many connections have ended."""
    return events.counters.closed.total() == number


def failed(events: ServiceEvents, number: int) -> bool:
    """Whether so many conversations have failed."""
    return events.counters.failed == number


def converse(conversation: WaitingConversation, pieces: Iterable[bytes], most: int = 2**20) -> bytes:
    """The output of a conversation for these pieces of input and then the end of file."""
    said = bytearray()
    waiting = iter([*pieces, b""])
    try:
        word = next(conversation)
        while len(said) < most:
            if word is None or isinstance(word, Receive):
                word = conversation.send(next(waiting))
            else:
                assert not isinstance(word, Wait), "there is nothing here to wait for"
                said += word
                word = next(conversation)
    except (StopIteration, RuntimeError):
        pass  # it returned, or waited for input after the end of file
    except PeerError as error:
        said += error.answer
    return bytes(said)
