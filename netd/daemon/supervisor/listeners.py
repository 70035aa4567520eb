"""The listening sockets that the supervisor holds open, and their change from one config to the next."""

import itertools
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from functools import partial

from netd.admission.access import NO_GROUPS
from netd.admission.proxies import NO_DATAGRAMS
from netd.daemon import systemd
from netd.daemon.supervisor.config_diff import ConfigDiff, SocketKey, Sockets
from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.services import table
from netd.transport.activation import Inherited, InheritedSocket
from netd.transport.arrivals import stop_arrivals
from netd.transport.listen import BeforeBind, Skipped, configure, opening, subject
from netd.transport.listener import Listener


@dataclass(frozen=True)
class ListenerRecord:
    """A listener, and the id that messages to workers use for it."""

    id: int
    listener: Listener


@dataclass
class PreparedListeners:
    """The listeners of a config that is not in force yet."""

    diff: ConfigDiff
    by_key: dict[SocketKey, list[ListenerRecord]]
    new: list[ListenerRecord] = field(default_factory=list)
    removed: list[ListenerRecord] = field(default_factory=list)

    @property
    def records(self) -> list[ListenerRecord]:
        """All listeners of the config."""
        return [record for records in self.by_key.values() for record in records]

    def with_tls(self) -> set[int]:
        """The numbers of the listeners that have TLS in the config."""
        sockets = self.diff.sockets
        with_tls = [records for key, records in self.by_key.items() if sockets[key][1].transport == "tls"]
        return {record.id for records in with_tls for record in records}

    def replaced(self) -> list[ListenerRecord]:
        """The removed TCP listeners with an address that a new listener serves too."""
        new: dict[int, list[Endpoint]] = {}
        for record in self.new:
            new.setdefault(record.listener.endpoint.port, []).append(record.listener.endpoint)
        return [
            record
            for record in self.removed
            if record.listener.transport == "tcp"
            and any(record.listener.endpoint.overlaps(one) for one in new.get(record.listener.endpoint.port, ()))
        ]


class Listeners:
    """The open listeners by `SocketKey`. `prepare` opens the new records; `commit` or `abort` follows."""

    def __init__(self, inherited: list[InheritedSocket], skipped: Skipped, failed: Skipped) -> None:
        """``failed`` is called with ``(service, url, error)`` if the options of an open socket cannot be changed, or if
        another file is in the place of its file.
        """
        self._inherited = Inherited(inherited)
        self._skipped = skipped
        self._failed = failed
        self.store_size = systemd.store_size()
        """How many sockets the service manager stores for the next start; 0: none."""
        self._by_key: dict[SocketKey, list[ListenerRecord]] = {}
        self._ids = itertools.count(1)

    def __iter__(self) -> "itertools.chain[ListenerRecord]":
        return itertools.chain.from_iterable(self._by_key.values())

    def prepare(
        self, diff: ConfigDiff, before_bind: BeforeBind = lambda service, opened: None
    ) -> Generator[None, None, PreparedListeners]:
        """Open the sockets of the new config that are not open. Yields after each piece of the work.

        A UNIX socket that has lost its file is opened anew, since no client can find it.
        Raises `OpenError` if one cannot be opened. Then, and if the generator is closed before its end, none is open.
        """
        wanted = diff.sockets
        in_force = yield from self._usable(wanted)
        removed = [record for key, records in self._by_key.items() if key not in in_force for record in records]
        missing = [(service.name, endpoint) for key, (service, endpoint) in wanted.items() if key not in in_force]
        opened: dict[int, list[Listener]] = {}  # by endpoint; several may be equal
        yielding = [record.listener for record in removed]
        work = opening(missing, self._skipped, self._failed, self._inherited, yielding, before_bind)
        for listener in (yield from work):
            opened.setdefault(id(listener.endpoint), []).append(listener)
        prepared = PreparedListeners(diff, {}, removed=removed)
        by_socket = {record.listener.socket: record for record in removed}
        for key, (service, endpoint) in wanted.items():
            records = in_force.get(key, [])
            if key not in in_force:
                for listener in opened[id(endpoint)]:
                    if same := by_socket.get(listener.socket):  # its address has another text, or other options
                        prepared.removed.remove(same)
                        records.append(ListenerRecord(same.id, listener))
                    else:
                        records.append(ListenerRecord(next(self._ids), listener))
                        prepared.new.append(records[-1])
            # A socket may pass from one service to another. Until the commit, the old record keeps its service.
            prepared.by_key[key] = [
                record
                if record.listener.service == service.name
                else ListenerRecord(record.id, _reassigned(service.name, record.listener))
                for record in records
            ]
        self._check_types(prepared)
        return prepared

    def _usable(self, wanted: Sockets) -> Generator[None, None, dict[SocketKey, list[ListenerRecord]]]:
        """The records in force that a config can use as they are."""
        found: dict[SocketKey, list[ListenerRecord]] = {}
        for key, records in self._by_key.items():
            yield
            if key not in wanted or any(record.listener.has_lost_file for record in records):
                continue
            found[key] = records
            for listener in (record.listener for record in records):
                if listener.file and listener.endpoint == wanted[key][1]:  # else `configure` does it at the commit
                    self._try(listener, listener.file.check)
        return found

    def _check_types(self, prepared: PreparedListeners) -> None:
        """Raise `OpenError` for inherited sockets that their service, or its access rules, do not support."""
        services = prepared.diff.config.services
        types = {service.name: service.type for service in services}
        asks_groups = {service.name for service in services if service.access.asks_groups}
        has_proxies = {service.name for service in services if service.policy.proxy_protocol}
        problems = []
        for record in prepared.records:
            listener = record.listener
            place = f"{subject(listener.service, listener.endpoint)}: {listener.url}"
            if listener.service in asks_groups and listener.transport == "unixgram":
                problems.append(f"{place}: {NO_GROUPS}")
            if listener.service in has_proxies and not listener.streams:
                problems.append(f"{place}: {NO_DATAGRAMS}")
        code = {service.name: service.code for service in services}
        for record in prepared.new:
            kind = table.find(types[record.listener.service])
            assert kind is not None, "the config was checked"
            serves = code[record.listener.service] or kind
            if not (serves.serving if record.listener.streams else serves.datagrams):
                problems.append(
                    f"{subject(record.listener.service, record.listener.endpoint)}: {record.listener.endpoint} is a "
                    f"{'stream' if record.listener.streams else 'datagram'} socket, which '{kind.name}' does not serve"
                )
        if problems:
            self.abort(prepared)
            raise OpenError(problems)

    def commit(self, prepared: PreparedListeners) -> None:
        """Put the prepared listeners in force, and change the options of those that stay open.

        The removed records stay open until `close_removed`.
        """
        before = {record.id: record.listener.endpoint for record in self}
        for key, (_, endpoint) in prepared.diff.sockets.items():
            for record in prepared.by_key[key]:
                if before.get(record.id, endpoint) != endpoint:
                    self._try(record.listener, partial(configure, record.listener, endpoint))
        self._by_key = prepared.by_key
        for left in self._inherited.pop_unused():
            systemd.remove_stored(left.name)
            left.socket.close()
        for record in prepared.removed:
            _remove_stored(record.listener)
        not_stored = self.not_stored()
        stored = sum(1 for record in self if record.listener.kept)
        for listener in not_stored[: max(0, self.store_size - stored)]:
            listener.kept = systemd.store(listener.socket)

    def _try(self, listener: Listener, change: Callable[[], None]) -> None:
        try:
            change()
        except (OSError, ValueError) as error:  # such as a removed user, or another file at the path
            reason = error.strerror if isinstance(error, OSError) else error
            self._failed(listener.service, str(listener.endpoint), str(reason))

    def not_stored(self) -> list[Listener]:
        """The listeners that the service manager does not keep open for the next start."""
        return [one.listener for one in self if not one.listener.kept and not one.listener.endpoint.name]

    def stop_arrivals(self, records: Iterable[ListenerRecord]) -> None:
        """Have what arrives from now on go to the listeners that replace these."""
        for record in records:
            _stop_arrivals(record.listener)

    def close_removed(self, prepared: PreparedListeners) -> Generator[None, None, None]:
        """Close the listeners that the config does not have; workers have them still. Yields after each.

        Nothing arrives at them from now on.
        """
        for record in prepared.removed:
            self._close(record.listener)
            yield

    def abort(self, prepared: PreparedListeners) -> None:
        """Close the new listeners of a config that is not put in force."""
        for record in prepared.new:
            self._close(record.listener)

    def unclaimed(self) -> list[InheritedSocket]:
        """The sockets that the service manager passed and no service uses."""
        return self._inherited.unclaimed()

    def close(self) -> None:
        """Close all listeners. Those in the file descriptor store of systemd stay open there, with their paths."""
        for record in self:
            if not record.listener.kept:
                _stop_arrivals(record.listener)
            record.listener.close(keep_path=bool(record.listener.kept))
        self._by_key = {}

    def _close(self, listener: Listener) -> None:
        _remove_stored(listener)
        _stop_arrivals(listener)
        listener.close()


def _remove_stored(listener: Listener) -> None:
    if listener.kept:
        systemd.remove_stored(listener.kept)
        listener.kept = ""


def _stop_arrivals(listener: Listener) -> None:
    """As `stop_arrivals`, but for a socket of the service manager, which keeps it open."""
    if not listener.endpoint.name:
        stop_arrivals(listener.socket)


def _reassigned(service: str, listener: Listener) -> Listener:
    return Listener(service, listener.endpoint, listener.socket, listener.file, listener.kept)
