"""The visitors of the sensors of a worker, on their way to the supervisor: few messages, of many visitors each."""

from collections.abc import Callable
from itertools import islice

from netd.admission.bans import MOST
from netd.daemon.messages.from_worker import MOST_VISITORS, Notice, Visitor, Visitors
from netd.transport.loop import Loop

_PAUSE = 0.1  # seconds from one message to the next: a flood leaves the channel to the other messages


class WaitingVisitors:
    """Those that are not sent yet. ``send`` sends a notice to the supervisor; false if it could not be sent now."""

    def __init__(self, loop: Loop, send: Callable[[Notice], bool]) -> None:
        self._loop = loop
        self._send = send
        self._waiting: dict[bytes, str] = {}  # the sensor, by address
        self._is_pausing = False

    def record(self, address: bytes, service: str) -> None:
        """Report a peer of a sensor. No more wait than can be banned: the next connection of another repeats it."""
        if len(self._waiting) < MOST:
            self._waiting[address] = service
        if not self._is_pausing:
            self._is_pausing = True
            self._loop.call(self._send_some)

    def _send_some(self) -> None:
        some = dict(islice(self._waiting.items(), MOST_VISITORS))
        self._is_pausing = bool(some)
        if not some:
            return
        if self._send(Visitors([Visitor(address.hex(), service) for address, service in some.items()])):
            for address in some:
                del self._waiting[address]
        self._loop.later(_PAUSE, self._send_some)
