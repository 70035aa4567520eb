"""Datagrams that nobody asked for: what a service posts to who has spoken to it before, bounded, from the loop."""

import socket
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any

from netd.conversation import Post
from netd.telemetry.events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.origins import Control, origin, send_from, six
from netd.transport.peers import Sender, is_link_local

_MOST = 262_144  # octets that wait to be sent,
_OVERHEAD = 64  # and so many that each datagram costs besides


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
        """A `Post` to who has sent a UDP datagram, from the address it came to.

        None for a link-local one of which the interface is not known.
        """
        if is_link_local(who.address) and not who.interface:
            return None
        family = self.socket.family
        if family == socket.AF_INET:
            address: Any = (socket.inet_ntop(family, who.address), who.port)
        else:
            interface = who.interface if is_link_local(who.address) else 0
            address = (socket.inet_ntop(family, six(who.address)), who.port, 0, interface)
        return self._post(address, origin(who, family))

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
                send_from(self.socket, data, control, address)
            except OSError as error:
                self._failed(error, 1)
            else:
                self._events.datagrams_answered(1, len(data))
