"""Bans of sources: workers report offenders, `netd.admission.bans` has the rules, workers get and enforce the bans."""

import contextlib
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from netd.addresses import parse_address
from netd.admission.addresses import parse_source, source_of, source_text
from netd.admission.bans import MOST
from netd.daemon.messages.from_supervisor import SetBans
from netd.daemon.messages.from_worker import MOST_VISITORS, Offender, Visitor, Visitors
from netd.daemon.supervisor.control import Answer, CommandError
from netd.daemon.supervisor.sensors import Sensors
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.errors import EXIT_USAGE
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from netd.values import parse_duration

_MOST_OFFENDERS = 1000  # processed at once; a source that continues is reported again
_PAUSE = 0.1  # seconds in which no more visitors of sensors are banned than `MOST_VISITORS`

Send = Callable[[SetBans], Result[Any]]
"""Sends a message to all workers. The result is set once all have applied it."""


class BanManager:
    """Bans sources. ``send`` sends the bans to the workers, and ``changed`` is called after that."""

    def __init__(
        self,
        state: State,
        events: DaemonEvents,
        loop: Loop,
        send: Send,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = state
        self._events = events
        self._loop = loop
        self._send_to_workers = send
        self._changed = changed
        self._offenders: dict[str, Offender] = {}  # by source: reported, and not processed yet
        self._visitors: dict[str, Visitor] = {}  # by address, likewise
        self._is_pausing = False
        self._sensors = Sensors(state.config)

    def record(self, notice: Offender | Visitors) -> None:
        """Store a source that a worker refused too often, or those that have connected to sensors, for later."""
        if isinstance(notice, Visitors):
            self._record_visitors(notice.visitors)
        else:
            self._record_offender(notice)

    def _record_visitors(self, visitors: Iterable[Visitor]) -> None:
        for visitor in visitors:
            if len(self._visitors) < MOST:  # another one is reported again when it comes again
                self._visitors[visitor.address] = visitor
        if not self._is_pausing:
            self._is_pausing = True
            self._loop.call(self._process_visitors)

    def _process_visitors(self) -> None:
        visitors = list(islice(self._visitors.values(), MOST_VISITORS))
        self._is_pausing = bool(visitors)
        if not visitors:
            return
        self._loop.later(_PAUSE, self._process_visitors)
        if self._sensors.config is not self._state.config:
            self._sensors = Sensors(self._state.config)
        now = time.monotonic()
        banned: dict[bytes, tuple[float, str]] = {}
        for visitor in visitors:
            del self._visitors[visitor.address]
            address, why = bytes.fromhex(visitor.address), f"{visitor.service}: sensor"
            seconds, source = self._sensors.seconds(visitor), source_of(address)
            if seconds is None or self._state.bans.until(source, now) is not None:
                continue
            with contextlib.suppress(ValueError):  # it is exempt
                self._state.bans.add(address, seconds, why, now)
                banned[source] = seconds, why
        self._enforce(banned)

    def _record_offender(self, offender: Offender) -> None:
        if not self._offenders:
            self._loop.call(self._process_offenders)
        if len(self._offenders) < _MOST_OFFENDERS:
            self._offenders[offender.source] = offender

    def _process_offenders(self) -> None:
        offenders, self._offenders = self._offenders, {}
        now = time.monotonic()
        banned: dict[bytes, tuple[float, str]] = {}
        for offender in offenders.values():
            # A report about a service that does not exist comes from a faulty worker.
            if offender.service not in self._state.seen:
                continue
            source, why = bytes.fromhex(offender.source), f"{offender.service}: {offender.refusal}"
            seconds = self._state.bans.record_offence(source, why, now)
            if seconds is not None:
                banned[source] = seconds, why
        self._enforce(banned)

    def _enforce(self, banned: dict[bytes, tuple[float, str]]) -> None:
        if banned:
            self._send(*banned).then(lambda: self._log_banned(banned))

    def _log_banned(self, banned: dict[bytes, tuple[float, str]]) -> None:
        """Log these bans, once every worker enforces them."""
        for source, (seconds, why) in banned.items():
            self._events.source_banned(source_text(source), seconds, why)

    async def ban(self, text: str, duration: str, by: str) -> Answer:
        """`netd ban add`. Raises `CommandError` for an invalid source or duration, and for an exempt source."""
        source = _source(text)
        try:
            seconds = parse_duration(duration)
            self._state.bans.add(parse_address(text.partition("/")[0]), seconds, by, time.monotonic())
        except ValueError as error:
            raise CommandError(f"{source_text(source)}: {error}", EXIT_USAGE) from None
        await self._send(source)
        self._events.source_banned(source_text(source), seconds, by)
        return {"source": source_text(source), "remaining_seconds": seconds}

    async def unban(self, text: str, by: str) -> Answer:
        """`netd ban remove`. Raises `CommandError` if the source is not banned."""
        source = _source(text)
        if not self._state.bans.remove(source, time.monotonic()):
            raise CommandError(f"{source_text(source)} is not banned")
        await self._send(source)
        self._events.source_unbanned(source_text(source), by)
        return {"source": source_text(source)}

    def bans(self) -> Answer:
        """`netd ban list`: the banned sources, each with seconds left, number of bans and reason."""
        now = time.monotonic()
        return {
            "bans": [
                {
                    "source": source_text(source),
                    "remaining_seconds": round(ban.until - now, 1),
                    "times": ban.times,
                    "why": ban.why,
                }
                for source, ban in self._state.bans.active(now).items()
            ]
        }

    def _send(self, *sources: bytes) -> Result[Any]:
        now = time.monotonic()
        message = SetBans({source.hex(): self._state.bans.until(source, now) for source in sources})
        result = self._send_to_workers(message)
        self._changed()
        return result


def _source(text: str) -> bytes:
    try:
        return parse_source(text)
    except ValueError as error:
        raise CommandError(f"{error}; access.deny takes networks", EXIT_USAGE) from None
