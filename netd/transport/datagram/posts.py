"""Datagrams that nobody asked for: what a service posts to who has spoken to it before, bounded, from the loop."""

import socket
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from netd.addresses import is_link_local, six
from netd.contract import Post
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.origins import Control, origin, send_from
from netd.transport.loop import Loop
from netd.transport.send_queue import SendQueue
from netd.transport.sockaddr import Sender

_MOST = 262_144  # octets that wait to be sent


class Posts:
    """What one datagram socket is to send unasked. ``failed`` hears of each datagram that could not be sent."""

    def __init__(self, opened: Any, events: ServiceEvents, loop: Loop, failed: Callable[[OSError, int], None]) -> None:
        self.socket = opened
        """What it sends through."""
        self._events = events
        self._failed = failed
        # No circle, which would keep a server that a reload has replaced, and its descriptors, until a collection.
        send = WeakMethod(self._send)

        def wake() -> None:
            if (method := send()) is not None:
                loop.call(method)

        self._queue = SendQueue[tuple[bytes, Control, Any]](_MOST, wake)

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
            return self.socket.fileno() >= 0 and self._queue.put(data, (data, control, address))

        return post

    def _send(self) -> None:
        for data, control, address in self._queue.take():
            try:
                send_from(self.socket, data, control, address)
            except OSError as error:
                self._failed(error, 1)
            else:
                self._events.datagrams_answered(1, len(data))
