"""Relays that wait for the first octet of the client."""

from collections.abc import Callable

from netd.peer import Peer
from netd.transport.loop import Timer
from netd.transport.stream.connection import Owner
from netd.transport.stream.relay import RelayConnection
from netd.transport.stream.stream_socket import StreamSocket


class WaitingRelay(RelayConnection):
    """A relay to something that begins with the first octet of the client, so that a client that leaves before costs
    nothing.
    """

    __slots__ = ("_waits",)

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer, upstream: StreamSocket) -> None:
        super().__init__(owner, request, peer, upstream)
        self._waits: Timer | None = None

    def _begin(self) -> None:
        """The first octet has come, or nothing is waited for."""
        raise NotImplementedError

    def _wait_for_first(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """Wait for so long, then call ``otherwise``."""
        self._waits = self._owner.loop.later(seconds, otherwise)

    def _receive(self, mask: int) -> None:
        super()._receive(mask)
        if self._waits:
            self._look_for_first()

    def _receive_pending(self) -> None:
        super()._receive_pending()
        if self._waits:
            self._look_for_first()

    def _look_for_first(self) -> None:
        if self.bytes_in:
            self._wait_no_more()
            self._begin()
        elif self._client.finished:
            self.close("done")

    def _wait_no_more(self) -> bool:
        """Drop the time-out. Returns whether there was one."""
        waits, self._waits = self._waits, None
        if waits:
            self._owner.loop.wheel.drop(waits)
        return waits is not None
