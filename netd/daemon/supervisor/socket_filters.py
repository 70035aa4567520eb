"""Address rules and bans at the listeners that programs have: socket filters, attached through the supervisor's copies.

No other part of netd sees the peers there. A socket gets its filter before it is bound, where netd opens it; one that
passes to a program while it is open gets it before the workers close it, or at the start, if the service manager passed
it: then what was in its queue before was not judged by these rules. Each listener of a program has a filter, also
without rules and bans, so that the kernel's count of drops always has the same meaning (`kernel_drops.py`).
"""

import contextlib
import errno
import socket
import time
from collections.abc import Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from netd.admission.access_memory import AccessPlace
from netd.admission.access_table import Access
from netd.admission.address_filter import MOST_INSTRUCTIONS, AddressFilter, Instruction, compiling
from netd.admission.addresses import Prefixes
from netd.admission.bans import exemption
from netd.config.model import Config, ServiceConfig
from netd.daemon.supervisor.control import log_exceptions
from netd.daemon.supervisor.listeners import ListenerRecord, Listeners
from netd.daemon.supervisor.programs import is_listener
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Tasks
from netd.errors import OpenError
from netd.steps import finish
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.listener_events import ListenerEvents
from netd.transport.listen import subject
from netd.transport.listener import Listener
from netd.transport.loop import Loop, Timer
from netd.transport.socket_filter import attach, detach, may_attach_to_tcp

_INTERVAL = 1.0  # seconds from one exchange for bans to the next, at least
_SHARE = 3  # and so many times as long as the compilation took
_SMALLER = 0.75  # the size of the next attempt where there is no memory for a filter

# As `netd.config.programs` has it for sockets that the service manager does not pass.
_NO_RIGHT = "access rules take the right CAP_NET_ADMIN where a program has the TCP socket"
_NO_ADDRESS = "access rules cannot hold where a program has the socket, and peers over UNIX have no address"
_NO_MEMORY = "there is no memory for a socket filter: raise the sysctl net.core.optmem_max"

Program = tuple[Instruction, ...]


class Attached(NamedTuple):
    """The filter that a listener has."""

    program: Program
    banned: tuple[bytes, ...]
    """The sources that it does not accept for their bans."""


@dataclass
class PreparedFilters:
    """The filters of a config that is not in force yet."""

    config: Config
    exempt: Prefixes[str]
    banned: tuple[bytes, ...] = ()
    """The sources with a ban, in the order in which their bans end."""
    by_service: dict[str, AddressFilter] = field(default_factory=dict)
    """The filter of each service with a program that gets the listeners."""
    attached: set[socket.socket] = field(default_factory=set)
    """The new sockets, which have their filters."""

    def filter_of(self, service: str) -> Attached | None:
        """The filter for the listeners of a service; None: no program has them."""
        made = self.by_service.get(service)
        return Attached(made.program, self.banned[made.left_out :]) if made else None

    def attach(self, service: str, opened: socket.socket) -> None:
        """Attach the filter of a service to a socket that was not bound yet. Raises OSError."""
        made = self.filter_of(service)
        if made and opened.family != socket.AF_UNIX and (opened.type == socket.SOCK_DGRAM or may_attach_to_tcp()):
            attach(opened, made.program)
            self.attached.add(opened)


class SocketFilters:
    """The filters of the listeners that programs have. `prepare` compiles them; `check` and `commit` follow."""

    def __init__(self, state: State, listeners: Listeners, events: DaemonEvents, tasks: Tasks, loop: Loop) -> None:
        self._state = state
        self._listeners = listeners
        self._events = events
        self._tasks = tasks
        self._loop = loop
        self._in_force = PreparedFilters(state.config, Prefixes(()))
        self._most = MOST_INSTRUCTIONS  # for which there is memory, as far as is known
        self._attached: dict[int, Attached] = {}  # by the id of the listener
        self._unfiltered: set[int] = set()  # TCP listeners for which netd has no right to attach a filter
        self._failing: set[int] = set()  # listeners at which the last exchange has failed
        self._left_out: dict[str, int] = {}  # bans without room, by service
        self._timer: Timer | None = None  # of the next exchange for bans
        self._is_exchanging = False
        self._earliest = 0.0  # when the next one may be

    # Of a config.

    async def prepare(self, config: Config) -> PreparedFilters:
        """Compile the filters of a config, with the bans in force. Raises `OpenError` if its rules have no room."""
        self._most = MOST_INSTRUCTIONS
        prepared = PreparedFilters(config, exemption(config.bans.exempt))
        await self._compile(prepared, strict=True)
        return prepared

    def check(self, prepared: PreparedFilters, records: Iterable[ListenerRecord]) -> None:
        """Raise `OpenError` for listeners of a config at which its rules cannot hold."""
        ruled = {service.name for service in _listening(prepared.config) if not service.access.read().open}
        problems = []
        for listener in (record.listener for record in records if record.listener.service in ruled):
            where = subject(listener.service, listener.endpoint)
            if _is_unix(listener):
                problems.append(f"{where}: {_NO_ADDRESS}")
            elif listener.streams and not may_attach_to_tcp():
                problems.append(f"{where}: {_NO_RIGHT}")
        if problems:
            raise OpenError(problems)

    def commit(self, prepared: PreparedFilters, new: Iterable[ListenerRecord]) -> None:
        """Put the prepared filters in force, at the listeners in force, and remove all others."""
        self._in_force = prepared
        unknown = {record.id for record in new}
        present = {record.id for record in self._listeners}
        for gone in (*self._attached.keys() - present, *self._unfiltered - present, *self._failing - present):
            self._attached.pop(gone, None)
            self._unfiltered.discard(gone)
            self._failing.discard(gone)
        for record in self._listeners:
            if _is_unix(record.listener):
                continue
            if made := prepared.filter_of(record.listener.service):
                if record.listener.socket in prepared.attached:
                    self._attached[record.id] = made
                self._exchange(record, made)
            elif record.id in unknown or record.id in self._attached or record.id in self._failing:
                self._detach(record)
        prepared.attached.clear()
        self._log_left_out()
        self.bans_changed()

    # Of bans.

    def bans_changed(self) -> None:
        """Exchange the filters soon, for the bans in force."""
        if self._in_force.by_service and not self._is_exchanging:
            self._exchange_at(self._earliest)

    def _exchange_at(self, when: float) -> None:
        if self._timer:
            self._loop.wheel.drop(self._timer)
        self._timer = self._loop.later(max(0.0, when - time.monotonic()), self._start_exchange)

    def _start_exchange(self) -> None:
        self._timer = None
        self._is_exchanging = True
        result = self._tasks.start(self._exchange_for_bans())
        result.then(lambda: log_exceptions(self._events, "exchange of socket filters", result.get))

    async def _exchange_for_bans(self) -> None:
        """Compile the filters with the bans in force, and exchange those that differ. Again when the next ban ends."""
        filters, started = self._in_force, time.monotonic()
        try:
            await self._compile(filters)
            await self._tasks.in_slices(self._exchange_all(filters))
        finally:
            self._is_exchanging = False
            now = time.monotonic()
            self._earliest = now + max(_INTERVAL, _SHARE * (now - started))
        active = self._state.bans.active(now)
        if filters is not self._in_force or tuple(active) != filters.banned:
            self.bans_changed()
        elif active:
            self._exchange_at(max(self._earliest, next(iter(active.values())).until))

    def _exchange_all(self, filters: PreparedFilters) -> Generator[None, None, None]:
        """Exchange the filters of a config while it is in force. Yields after each."""
        for record in list(self._listeners):
            if filters is not self._in_force:
                return
            made = filters.filter_of(record.listener.service)
            if made and not _is_unix(record.listener):
                self._exchange(record, made)
            yield
        self._log_left_out()

    def banned_at(self, listener: ListenerRecord) -> Collection[bytes]:
        """The sources that the filter of a listener does not accept for a ban."""
        attached = self._attached.get(listener.id)
        return attached.banned if attached else ()

    # Of sockets.

    @property
    def filtered(self) -> Collection[int]:
        """The ids of the listeners with a filter."""
        return self._attached.keys()

    async def _compile(self, filters: PreparedFilters, *, strict: bool = False) -> None:
        """Compile the filters of a config anew, each set of rules once.

        If ``strict``, it raises `OpenError` where there is no memory for the rules.
        """
        banned = tuple(self._state.bans.active(time.monotonic()))
        made: dict[AccessPlace, AddressFilter] = {}
        by_service: dict[str, AddressFilter] = {}
        problems = []
        for service in _listening(filters.config):
            if service.access not in made:
                before = self._in_force.by_service.get(service.name)
                try:
                    made[service.access] = await self._tasks.in_slices(
                        self._fitting(service.access.read(), banned, filters.exempt, before, strict=strict)
                    )
                except ValueError as error:
                    problems.append(f"services.{service.name}.access: {error}")
                    continue
            by_service[service.name] = made[service.access]
        if problems:
            raise OpenError(problems)
        filters.banned, filters.by_service = banned, by_service

    def _fitting(
        self,
        access: Access,
        banned: Collection[bytes],
        exempt: Prefixes[str],
        before: AddressFilter | None,
        *,
        strict: bool,
    ) -> Generator[None, None, AddressFilter]:
        """Compile a filter for which there is memory beside the one before, and so for the next one of its size.

        If there is none for the rules alone: ValueError if ``strict``, else that filter.
        """
        while True:
            made = yield from compiling(access, banned, exempt, self._most)
            if _fits(made.program, before.program if before else ()):
                return made
            if made.left_out == len(banned):
                if strict:
                    raise ValueError(_NO_MEMORY)
                return made
            rules = yield from compiling(access, (), exempt)
            self._most = max(int(len(made.program) * _SMALLER), len(rules.program))

    def _exchange(self, record: ListenerRecord, made: Attached) -> None:
        """Attach a filter to a listener, unless it has an equal one."""
        listener = record.listener
        before = self._attached.get(record.id)
        if before and before.program == made.program:
            self._attached[record.id] = made
            return
        if listener.streams and not may_attach_to_tcp():
            if record.id not in self._unfiltered:
                self._unfiltered.add(record.id)
                ListenerEvents(listener.service).filter_refused(listener.url)
            return
        try:
            attach(listener.socket, made.program)
        except OSError as error:
            self._failed(record, error)
        else:
            self._attached[record.id] = made
            self._failing.discard(record.id)

    def _detach(self, record: ListenerRecord) -> None:
        """Remove the filter of a listener that no program has any more."""
        self._unfiltered.discard(record.id)
        try:
            detach(record.listener.socket)
        except OSError as error:
            self._failed(record, error)
        else:
            self._attached.pop(record.id, None)
            self._failing.discard(record.id)

    def _failed(self, record: ListenerRecord, error: OSError) -> None:
        if record.id not in self._failing:
            self._failing.add(record.id)
            listener = record.listener
            ListenerEvents(listener.service).filter_failed(listener.url, error.strerror or str(error))

    def _log_left_out(self) -> None:
        before, self._left_out = self._left_out, {}
        for service, made in self._in_force.by_service.items():
            if made.left_out:
                self._left_out[service] = made.left_out
                if service not in before:
                    ListenerEvents(service).filter_limited(made.left_out, len(self._in_force.banned) - made.left_out)


def refusals(config: Config) -> Iterator[str]:
    """The rules for which there is no memory as a filter, for `netd check --system`."""
    for service in _listening(config):
        access = service.access.read()
        if not access.open and not _fits(finish(compiling(access, (), Prefixes(()))).program):
            yield f"services.{service.name}.access: {_NO_MEMORY}"


def _fits(program: Program, before: Program = ()) -> bool:
    """Whether there is memory for a filter at a socket that has the one before, or another one of its own size."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            attach(tried, max(program, before, key=len))
            attach(tried, program)
        except OSError as error:
            return error.errno != errno.ENOMEM
    return True


def _listening(config: Config) -> Iterator[ServiceConfig]:
    """The services with a program that gets the listeners."""
    return (service for service in config.enabled if is_listener(service))


def _is_unix(listener: Listener) -> bool:
    return listener.socket.family == socket.AF_UNIX
