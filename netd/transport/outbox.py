"""Datagrams that nobody asked for: what a service posts to who has spoken to it before, bounded, from the loop."""

import ipaddress
import socket
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from netd.conversation import Post
from netd.telemetry.events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.peers import IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender

_MOST = 262_144  # octets that wait to be sent,
_OVERHEAD = 64  # and so many that each datagram costs besides
_MAPPED = bytes(10) + b"\xff\xff"

Control = list[tuple[int, int, bytes]]


class Outbox:
    """What one datagram socket is to send unasked. ``failed`` hears of each datagram that could not be sent."""

    def __init__(self, opened: Any, events: ServiceEvents, loop: Loop, failed: Callable[[OSError, int], None]) -> None:
        self.socket = opened
        """What it sends through."""
        self._events = events
        self._loop = loop
        self._failed = failed
        self._lock = Lock()
        self._waiting: deque[tuple[bytes, Control, Any]] = deque()
        self._size = 0

    def post_to(self, who: Sender) -> Post | None:
        """A `Post` to who has sent a UDP datagram, from the address it came to; None where that cannot be named."""
        if len(who.address) == 16 and ipaddress.IPv6Address(who.address).is_link_local:
            return None  # it takes an interface too
        if self.socket.family == socket.AF_INET:
            address: Any = (socket.inet_ntop(socket.AF_INET, who.address), who.port)
            control = [(socket.IPPROTO_IP, IP_PKTINFO, IN_PKTINFO.pack(0, who.own, bytes(4)))]
        else:
            address = (socket.inet_ntop(socket.AF_INET6, _six(who.address)), who.port)
            control = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, IN6_PKTINFO.pack(_six(who.own), 0))]
        return self._post(address, control if who.own else [])

    def post_to_path(self, address: str | bytes, question: Control) -> Post | None:
        """A `Post` to the path of a UNIX socket from which a datagram with these control messages came.

        None for a client that has no path.
        """
        return self._post(address, question) if address else None

    def _post(self, address: Any, control: Control) -> Post:
        def post(data: bytes) -> bool:
            if not isinstance(data, bytes):
                raise TypeError(f"what is posted is bytes, not {type(data)}")
            size = len(data) + _OVERHEAD
            with self._lock:
                if self._size + size > _MOST or self.socket.fileno() < 0:
                    return False
                self._waiting.append((data, control, address))
                self._size += size
                first = len(self._waiting) == 1
            if first:
                self._loop.call(self._send)
            return True

        return post

    def _send(self) -> None:
        with self._lock:
            waiting, self._waiting, self._size = self._waiting, deque(), 0
        for data, control, address in waiting:
            try:
                self.socket.sendmsg([data], control, socket.MSG_DONTWAIT, address)
            except OSError as error:
                self._failed(error, 1)
            else:
                self._events.datagrams_answered(1, len(data))


def _six(address: bytes) -> bytes:
    return address if len(address) == 16 else _MAPPED + address
