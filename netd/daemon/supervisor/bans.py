"""The warden: keeps the bans, tells the workers of them, counts what the kernel drops, and explains who gets in.

What it explains it reads from the memory that admission in the workers writes, so nobody has to be asked.
"""

import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from netd import accounts
from netd.addresses import parse_address, split_port
from netd.admission.addresses import parse_source, source_of, source_text
from netd.admission.control import AdmissionControl, Check
from netd.admission.daemon import DaemonAdmission
from netd.config.model import ServiceConfig
from netd.daemon.messages.from_supervisor import SetBans
from netd.daemon.messages.from_worker import Offender
from netd.daemon.supervisor.control import Answer, CommandError
from netd.daemon.supervisor.listeners import Listeners, NumberedListener
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.errors import EXIT_USAGE
from netd.shared.table import SUPERVISOR
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents
from netd.transport.loop import Loop
from netd.values import parse_duration

_SO_MEMINFO = 55  # asm-generic/socket.h; the socket module does not have it
_MEMINFO = struct.Struct("9I")  # linux/sock_diag.h; the last one is SK_MEMINFO_DROPS
_OWN_DESCRIPTORS = 64  # of a process that serves, besides those of its connections and listeners
_MOST_OFFENDERS = 1000  # seen to at once; who goes on is reported again
_SOME_PORT = 49152  # of those that clients use (RFC 6335)
Tell = Callable[[SetBans], Result[Any]]
"""Tells all workers something. The result is there when they have taken it."""


class BanManager:
    """Decides about bans, which ``tell`` tells the workers, and says what decides about a peer."""

    def __init__(self, state: State, listeners: Listeners, events: DaemonEvents, loop: Loop, tell: Tell) -> None:
        self._state = state
        self._listeners = listeners
        self._events = events
        self._loop = loop
        self._tell_workers = tell
        self._drops: dict[int, int] = {}  # what the kernel had dropped when it was looked at last, by listener
        self._offenders: dict[str, Offender] = {}  # by source: reported, and not seen to yet
        self._service_events: dict[str, ServiceEvents] = {}

    def config_adopted(self) -> None:
        """A config is in force: warn of what it asks for at its own risk, or in vain."""
        self.count_drops()  # what new sockets had dropped before counts for nobody
        config = self._state.config
        udp = {one.listener.service for one in self._listeners if one.listener.transport == "udp"}
        for service in config.enabled:
            if service.name in udp and not service.policy.reply_guard:
                self._events_of(service).reply_guard_disabled()
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits = [service.policy.limits.connections or sys.maxsize for service in config.enabled]
        needed = min(config.daemon.connections or sys.maxsize, sum(limits))
        needed += 2 * sum(1 for _ in self._listeners) + _OWN_DESCRIPTORS
        if needed > limit != resource.RLIM_INFINITY:
            self._events.descriptors_limited(needed if needed < sys.maxsize else None, limit)

    # Bans.

    def reported(self, offender: Offender) -> None:
        """A worker reports a source that is refused too often. It is seen to once what is under way is done."""
        if not self._offenders:
            self._loop.call(self._see_to_offenders)
        if len(self._offenders) < _MOST_OFFENDERS:
            self._offenders[offender.source] = offender

    def _see_to_offenders(self) -> None:
        offenders, self._offenders = self._offenders, {}
        now = time.monotonic()
        banned: dict[bytes, tuple[float, str]] = {}
        for offender in offenders.values():
            # What makes no sense does not come from a worker as it should be, and is not worth a ban.
            if offender.service not in self._state.seen:
                continue
            source, why = bytes.fromhex(offender.source), f"{offender.service}: {offender.refusal}"
            seconds = self._state.bans.offend(source, why, now)
            if seconds is not None:
                banned[source] = seconds, why
        if banned:
            self._tell(*banned).then(lambda: self._log_banned(banned))

    def _log_banned(self, banned: dict[bytes, tuple[float, str]]) -> None:
        """Say of these, which every worker refuses by now, for how long and why."""
        for source, (seconds, why) in banned.items():
            self._events.source_banned(source_text(source), seconds, why)

    async def ban(self, text: str, duration: str, by: str) -> Answer:
        """Ban a source by hand."""
        source = _source(text)
        try:
            seconds = parse_duration(duration)
            self._state.bans.add(
                parse_address(text.partition("/")[0]), seconds, f"netd ban add, {by}", time.monotonic()
            )
        except ValueError as error:
            raise CommandError(f"{source_text(source)}: {error}", EXIT_USAGE) from None
        await self._tell(source)
        self._events.source_banned(source_text(source), seconds, by)
        return {"source": source_text(source), "seconds": seconds}

    async def unban(self, text: str, by: str) -> Answer:
        """Lift a ban."""
        source = _source(text)
        if not self._state.bans.remove(source, time.monotonic()):
            raise CommandError(f"{source_text(source)} is not banned")
        await self._tell(source)
        self._events.source_unbanned(source_text(source), by)
        return {"source": source_text(source)}

    def bans(self) -> Answer:
        """Who is banned."""
        now = time.monotonic()
        return {
            "bans": [
                {
                    "source": source_text(source),
                    "seconds": round(ban.until - now, 1),
                    "times": ban.times,
                    "why": ban.why,
                }
                for source, ban in self._state.bans.active(now).items()
            ]
        }

    def _tell(self, *sources: bytes) -> Result[Any]:
        now = time.monotonic()
        return self._tell_workers(SetBans({source.hex(): self._state.bans.until(source, now) for source in sources}))

    # What the kernel drops.

    def count_drops(self) -> None:
        """Count what the kernel has dropped at full queues since the last look."""
        services = {service.name: service for service in self._state.config.services}
        before, self._drops = self._drops, {}
        for one in self._listeners:
            number = self._drops[one.number] = _kernel_drops(one.listener.socket)
            since = (number - before.get(one.number, number)) & 0xFFFFFFFF
            if since:
                events = self._events_of(services[one.listener.service])
                if one.listener.streams:
                    events.connection_refused("backlog", number=since)
                else:
                    events.datagrams_dropped(since, "kernel")
        for events in self._service_events.values():
            events.summarize()

    def _events_of(self, service: ServiceConfig) -> ServiceEvents:
        """Kept, since what happens again and again is told once a minute."""
        table = self._state.table(service)
        events = self._service_events.get(service.name)
        if events is None or events.table is not table:
            events = self._service_events[service.name] = ServiceEvents(service.name, table, SUPERVISOR)
        return events

    # Why.

    def explain(self, peer: str, where: str) -> Answer:
        """What decides whether ``peer`` is served at ``where`` (SERVICE/TRANSPORT) now, check by check."""
        name, _, transport = where.partition("/")
        self._state.require(name, exit_code=EXIT_USAGE)
        service = next(one for one in self._state.config.services if one.name == name)
        served = _transports(service, list(self._listeners))
        if not served:
            raise CommandError("netd is about to stop")
        transport = transport or served[0]
        if transport not in served:
            raise CommandError(f"'{name}' serves {', '.join(served)}, not '{transport[:16]}'", EXIT_USAGE)
        checks = self._checks(service, peer, transport)
        if not service.enabled:
            checks = [Check("enabled", passes=False, why="the service is switched off")]
        decisive = next((check for check in checks if not check.passes), None)
        shown = checks[: checks.index(decisive) + 1] if decisive else checks
        return {
            "from": peer,
            "to": f"{name}/{transport}",
            "served": decisive is None,
            "decided_by": decisive.name if decisive else None,
            "why": decisive.why if decisive else "nothing speaks against it",
            "checks": [check._asdict() for check in shown],
        }

    def _checks(self, service: ServiceConfig, peer: str, transport: str) -> list[Check]:
        state = self._state
        now = time.monotonic()
        banned = {source: ban.until for source, ban in state.bans.active(now).items()}
        ports = {one.listener.socket.getsockname()[1] for one in self._listeners if one.listener.transport == "udp"}
        shared = DaemonAdmission(state.daemon_limits, banned=banned, ports=ports)
        shared.adopt(state.config.daemon.connections, state.config.bans)
        access = service.access.read()
        admission = AdmissionControl(service.name, service.policy, access, state.table(service), shared, time.time)
        if transport in ("unix", "unixgram"):
            user, groups = _account(peer)
            return list(admission.explain_unix(user, groups, now, datagram=transport == "unixgram"))
        address, port = _address(peer)
        checks = admission.explain(address, port, now, datagram=transport == "udp")
        source = source_of(address)
        why = state.bans.active(now)[source].why if source in banned else ""
        return [
            check._replace(why=f"{check.why} ({why})") if check.name == "bans" and why else check for check in checks
        ]


def _transports(service: ServiceConfig, listeners: list[NumberedListener]) -> list[str]:
    """The transports of a service: of its sockets, or of one that is off, as the config has them."""
    if service.enabled:
        return sorted({one.listener.transport for one in listeners if one.listener.service == service.name})
    return sorted({one.transport for one in service.listen})


def _source(text: str) -> bytes:
    try:
        return parse_source(text)
    except ValueError as error:
        raise CommandError(f"{error}; access.deny takes networks", EXIT_USAGE) from None


def _address(text: str) -> tuple[bytes, int]:
    """An address and port from ``192.0.2.7:5353``, ``[2001:db8::7]:5353``, or an address alone."""
    try:
        host, port = split_port(text)
        return parse_address(host), _SOME_PORT if port is None else port
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None


def _account(text: str) -> tuple[int, list[int]]:
    """A user's number and groups, from ``uid:NAME``, or of nobody but a group, from ``gid:NAME``."""
    kind, _, name = text.partition(":")
    try:
        if kind == "uid":
            user = accounts.number("uid", name)
            return user, accounts.groups_of(user)
        if kind == "gid":
            return -1, [accounts.number("gid", name)]
    except ValueError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    raise CommandError("over a UNIX socket a peer is uid:NAME or gid:NAME", EXIT_USAGE)


def _kernel_drops(opened: socket.socket) -> int:
    """How many datagrams or connections the kernel has dropped at this socket; 0 where it does not tell (Linux 4.12).

    It is the number that SO_RXQ_OVFL would put beside every datagram.
    """
    try:
        numbers = _MEMINFO.unpack(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))
    except (OSError, struct.error):
        return 0
    return int(numbers[-1])
