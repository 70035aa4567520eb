"""The sockets the supervisor holds open, and how they change from one config to the next."""

import itertools
import os
from collections.abc import Generator
from dataclasses import dataclass, field

from netd import paths
from netd.admission.access import NO_GROUPS
from netd.daemon import systemd
from netd.daemon.supervisor.config_diff import ConfigDiff, SocketKey
from netd.endpoints import LONGEST_PATH, Endpoint, SocketOptions
from netd.errors import OpenError
from netd.services import table
from netd.transport.activation import Inherited, InheritedSocket
from netd.transport.listen import Listener, Skipped, advice, configure, open_listeners, opening


@dataclass(frozen=True)
class NumberedListener:
    """A listener under the number by which workers know it."""

    number: int
    listener: Listener


@dataclass
class Pending:
    """The sockets of a config that is not in force yet."""

    diff: ConfigDiff
    places: dict[SocketKey, list[NumberedListener]]
    new: list[NumberedListener] = field(default_factory=list)
    gone: list[NumberedListener] = field(default_factory=list)


class Listeners:
    """Open sockets by place. `prepare` opens what is new; then comes `commit` or `abort`."""

    def __init__(self, inherited: list[InheritedSocket], skipped: Skipped, failed: Skipped) -> None:
        """``failed`` hears ``(service, url, error)`` of a socket whose options could not be changed."""
        self._inherited = Inherited(inherited)
        self._skipped = skipped
        self._failed = failed
        self._stores = systemd.has_store()
        self._places: dict[SocketKey, list[NumberedListener]] = {}
        self._numbers = itertools.count(1)

    def __iter__(self) -> "itertools.chain[NumberedListener]":
        return itertools.chain.from_iterable(self._places.values())

    def prepare(self, diff: ConfigDiff) -> Generator[None, None, Pending]:
        """Open what the new config needs and is not open. `OpenError`, and nothing opened, where that fails.

        Yields after each piece of the work; one that is not finished has opened nothing.
        """
        wanted = diff.sockets
        gone = [one for key, ones in self._places.items() if key not in wanted for one in ones]
        missing = [(service.name, endpoint) for key, (service, endpoint) in wanted.items() if key not in self._places]
        opened: dict[int, list[Listener]] = {}  # by endpoint; equal ones may be several
        yielding = [one.listener for one in gone]
        for listener in (yield from opening(missing, self._skipped, self._failed, self._inherited, yielding)):
            opened.setdefault(id(listener.endpoint), []).append(listener)
        pending = Pending(diff, {}, gone=gone)
        for key, (service, endpoint) in wanted.items():
            ones = self._places.get(key)
            if ones is None:
                ones = [NumberedListener(next(self._numbers), one) for one in opened[id(endpoint)]]
                pending.new += ones
            # A socket may pass from a service to another; who listens on it is not changed before all agree.
            pending.places[key] = [
                one
                if one.listener.service == service.name
                else NumberedListener(one.number, _for(service.name, one.listener))
                for one in ones
            ]
        self._check_kinds(pending)
        return pending

    def _check_kinds(self, pending: Pending) -> None:
        """What the service manager opened may not be what the service serves, or where its rules hold."""
        services = pending.diff.config.services
        types = {service.name: service.type for service in services}
        asks_groups = {service.name for service in services if service.access.asks_groups}
        problems = [
            f"services.{one.listener.service}: {one.listener.url}: {NO_GROUPS}"
            for ones in pending.places.values()
            for one in ones
            if one.listener.service in asks_groups and one.listener.transport == "unixgram"
        ]
        for one in pending.new:
            kind = table.find(types[one.listener.service])
            assert kind is not None, "the config was checked"
            if not (kind.streams if one.listener.streams else kind.datagrams):
                problems.append(
                    f"services.{one.listener.service}: {one.listener.endpoint} is a "
                    f"{'stream' if one.listener.streams else 'datagram'} socket, which '{kind.name}' does not serve"
                )
        if problems:
            self.abort(pending)
            raise OpenError(problems)

    def commit(self, pending: Pending) -> None:
        """The config is in force: change the options of what it keeps. `close_gone` closes the rest."""
        for key, (_, endpoint) in pending.diff.sockets.items():
            for one in pending.places[key]:
                if one.listener.endpoint != endpoint:
                    try:
                        configure(one.listener, endpoint)
                    except (OSError, ValueError) as error:  # an owner that is gone, another file in its place
                        reason = error.strerror if isinstance(error, OSError) else error
                        self._failed(one.listener.service, str(endpoint), str(reason))
        self._places = pending.places
        if self._stores:
            for one in pending.new:
                if not one.listener.kept and not one.listener.endpoint.name:
                    one.listener.kept = systemd.store(one.listener.socket)
        for left in self._inherited.pop_unused():
            systemd.remove_stored(left.name)
            left.socket.close()

    def close_gone(self, pending: Pending) -> Generator[None, None, None]:
        """Close what the config does not need, once no worker has it any more. Yields after each."""
        for one in pending.gone:
            self._close(one.listener)
            yield

    def abort(self, pending: Pending) -> None:
        """The config is not to be."""
        for one in pending.new:
            self._close(one.listener)

    def unclaimed(self) -> list[InheritedSocket]:
        """What the service manager handed over and no service asks for."""
        return self._inherited.unclaimed()

    def close(self) -> None:
        """Close all. What the service manager keeps stays open there, and its path in place, for the next start."""
        for one in self:
            one.listener.close(keep_path=bool(one.listener.kept))
        self._places = {}

    def _close(self, listener: Listener) -> None:
        if listener.kept:
            systemd.remove_stored(listener.kept)
        listener.close()


def _for(service: str, listener: Listener) -> Listener:
    return Listener(service, listener.endpoint, listener.socket, listener.file, listener.kept)


def control_listener(path: str, group: str | None) -> Listener:
    """Open the control socket, and its directory where that is missing. `OpenError` says why not."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OpenError([f"daemon.control: the path may have at most {LONGEST_PATH} octets: {path}"])
    endpoint = Endpoint("unix", path=path, options=SocketOptions(mode=0o660 if group else 0o600, group=group))
    if not path.startswith("@"):
        try:
            paths.check_directory(path)
        except ValueError as error:  # which could answer in netd's name
            problem = f"{error}, or name another place with daemon.control"
            raise OpenError([f"daemon.control: cannot listen on {endpoint}: {problem}"]) from None
        except OSError as error:  # without the verdict, nothing is bound
            problem = f"{error.strerror}{advice(error, endpoint)}"
            raise OpenError([f"daemon.control: cannot listen on {endpoint}: {problem}"]) from None
    try:
        [listener] = open_listeners([("control", endpoint)], lambda *skipped: None)
    except OpenError as error:
        raise OpenError(problem.replace("services.", "daemon.", 1) for problem in error.problems) from None
    return listener
