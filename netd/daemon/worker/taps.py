"""The taps of a worker, for `netd trace` (`netd.transport.tap`)."""

from collections.abc import Callable, Iterable

from netd.daemon.messages.from_supervisor import StartTrace
from netd.daemon.messages.from_worker import Notice, TraceLines
from netd.peer_filter import PeerFilter
from netd.transport.datagram.server import DatagramServer
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections
from netd.transport.tap import Tap

_INTERVAL = 0.1  # seconds between two packets of one trace


class Taps:
    """A tap for each trace. ``send`` sends a notice to the supervisor; false if the notice could not be sent now."""

    def __init__(self, loop: Loop, send: Callable[[Notice], bool]) -> None:
        self._loop = loop
        self._send = send
        self._taps: dict[int, Tap] = {}

    def start(self, request: StartTrace) -> None:
        """Make the tap of a trace. `attach` connects it to the sockets of its service."""
        number = request.trace
        wanted = PeerFilter(request.peer).matches if request.peer else lambda peer: True
        self._taps[number] = Tap(
            request.service, wanted, lambda tap: self._loop.call(lambda: self._schedule(number, tap))
        )

    def stop(self, number: int) -> None:
        """Remove the tap of a trace. `attach` disconnects it from the sockets."""
        self._taps.pop(number, None)

    def attach(self, traceable: Iterable[Connections | DatagramServer]) -> None:
        """Attach to each of these the taps of its service. Taps that were removed are detached."""
        for one in traceable:
            one.trace([tap for tap in self._taps.values() if tap.service == one.events.service])

    def _schedule(self, number: int, tap: Tap) -> None:
        self._loop.later(_INTERVAL, lambda: self._send_lines(number, tap))

    def _send_lines(self, number: int, tap: Tap) -> float | None:
        lines, skipped = tap.take()
        if number not in self._taps or self._send(TraceLines(number, lines, skipped)):
            return None
        tap.skip(len(lines) + skipped)
        return _INTERVAL
