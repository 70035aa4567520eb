"""In a worker: who looks on at which service, for `netd trace` (`netd.transport.tap`)."""

from collections.abc import Callable, Iterable

from netd.daemon.messages.from_supervisor import StartTrace
from netd.daemon.messages.from_worker import Notice, TraceLines
from netd.peer_filter import PeerFilter
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections
from netd.transport.tap import Tap

_EVERY = 0.1  # seconds between two packets of one trace


class Taps:
    """The taps that somebody looks through. ``say`` tells the supervisor, and says whether it listens."""

    def __init__(self, loop: Loop, say: Callable[[Notice], bool]) -> None:
        self._loop = loop
        self._say = say
        self._taps: dict[int, Tap] = {}

    def start(self, request: StartTrace) -> None:
        """Begin to look; `look_at` says at what."""
        number = request.trace
        wanted = PeerFilter(request.peer).matches if request.peer else lambda peer: True
        self._taps[number] = Tap(request.service, wanted, lambda tap: self._loop.call(lambda: self._soon(number, tap)))

    def stop(self, number: int) -> None:
        """Look no more."""
        self._taps.pop(number, None)

    def look_at(self, observed: Iterable[Connections | DatagramServer]) -> None:
        """Put the taps to all of their services, and take away what is not wanted any more."""
        for one in observed:
            one.trace([tap for tap in self._taps.values() if tap.service == one.events.service])

    def __bool__(self) -> bool:
        return bool(self._taps)

    def _soon(self, number: int, tap: Tap) -> None:
        self._loop.later(_EVERY, lambda: self._tell(number, tap))

    def _tell(self, number: int, tap: Tap) -> float | None:
        lines, skipped = tap.take()
        if number not in self._taps or self._say(TraceLines(number, lines, skipped)):
            return None
        tap.lose(len(lines) + skipped)
        return _EVERY
