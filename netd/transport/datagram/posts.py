"""Unsolicited datagrams: what a service posts to senders that it knows, bounded, and sent from the loop."""

import socket
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from netd.addresses import is_link_local, is_loopback, map_to_ipv6
from netd.contract import Post
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.origins import Control, origin, send_from
from netd.transport.datagram.senders import SenderEntry
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.loop import Loop
from netd.transport.send_queue import SendQueue

_MOST = 262_144  # octets that wait to be sent


class Posts:
    """What one datagram socket is to send unasked. ``failed`` is called for each datagram that could not be sent."""

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

    def post_to(self, entry: SenderEntry) -> Post | None:
        """A `Post` to a sender, over UDP from the address that its datagram came to. None where that may not be.

        Over UDP anything may have sent the datagram in its name, so it has to be on this host, or among those whose
        questions may have longer answers; and of a link-local one the interface has to be known. Over UNIX it has to
        have a path.
        """
        sender = entry.sender
        if isinstance(sender, UnixSender):
            return self._post(sender.path, entry.control) if sender.path else None
        if not entry.verdict.amplify and not is_loopback(sender.address):
            return None
        if is_link_local(sender.address) and not sender.interface:
            return None
        family = self.socket.family
        if family == socket.AF_INET:
            address: Any = (socket.inet_ntop(family, sender.address), sender.port)
        else:
            interface = sender.interface if is_link_local(sender.address) else 0
            address = (socket.inet_ntop(family, map_to_ipv6(sender.address)), sender.port, 0, interface)
        return self._post(address, origin(sender, family))

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
