"""Unsolicited datagrams: those that a service posts to earlier senders. The queue is bounded, and the loop sends it."""

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from netd.addresses import is_link_local, is_loopback
from netd.contract import Post
from netd.telemetry.service_events import ServiceEvents
from netd.transport.datagram.origins import Control, address_of, origin, send_from
from netd.transport.datagram.senders import SenderEntry
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.loop import Loop
from netd.transport.send_queue import SendQueue

_MOST = 262_144  # octets that wait to be sent


class Posts:
    """The unsolicited datagrams of one socket. ``failed`` is called for each that could not be sent."""

    def __init__(
        self, opened: Any, events: ServiceEvents, loop: Loop, failed: Callable[[OSError, SenderEntry], None]
    ) -> None:
        self.socket = opened
        """The socket that sends them, or the traced one."""
        self._events = events
        # A server that a reload has replaced is kept neither by its posts, which a service may keep, nor by a cycle.
        self._failed = WeakMethod(failed)
        send = WeakMethod(self._send)

        def wake() -> None:
            if (method := send()) is not None:
                loop.call(method)

        self._queue = SendQueue[tuple[bytes, Control, Any, SenderEntry]](_MOST, wake)

    def post_to(self, entry: SenderEntry) -> Post | None:
        """A `Post` to a sender, over UDP from the destination of its datagram. None if posts to it are not allowed.

        Over UDP the source may be forged, so it has to be on this host, or one that may get answers longer than its
        questions; the interface of a link-local one has to be known. Over UNIX it has to have a path.
        """
        sender = entry.sender
        if isinstance(sender, UnixSender):
            return self._post(sender.path, entry.control, entry) if sender.path else None
        if not entry.verdict.amplify and not is_loopback(sender.address):
            return None
        if is_link_local(sender.address) and not sender.interface:
            return None
        family = self.socket.family
        return self._post(address_of(sender, family), origin(sender, family), entry)

    def _post(self, address: Any, control: Control, entry: SenderEntry) -> Post:
        def post(data: bytes) -> bool:
            return self.socket.fileno() >= 0 and self._queue.put(data, (data, control, address, entry))

        return post

    def _send(self) -> None:
        for data, control, address, entry in self._queue.take():
            try:
                send_from(self.socket, data, control, address)
            except OSError as error:
                if (failed := self._failed()) is not None:
                    failed(error, entry)
            else:
                self._events.datagrams_answered(1, len(data))
