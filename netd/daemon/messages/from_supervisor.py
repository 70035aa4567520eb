"""What the supervisor sends: requests, to each of which a worker sends one response, and orders, which have none."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, get_args

from pydantic import TypeAdapter

from netd.daemon.channel import Message, ProtocolError
from netd.daemon.messages.coding import Fields, Flag, Natural, Seconds, Text, read, readers
from netd.daemon.messages.from_worker import Alive, ConnectionList, Done, Kicked, PeerList, R
from netd.telemetry.logs import Level
from netd.telemetry.service_events import ConnectionLog

# Requests of the supervisor.


@dataclass(frozen=True)
class Request(Fields, Generic[R]):
    """A worker answers with one `R`, or with `Failed`."""


@dataclass(frozen=True)
class Heartbeat(Request[Alive]):
    """Show that the loop turns."""


@dataclass(frozen=True)
class SetDaemonLimits(Request[Done]):
    """Use the ledger in the memory that comes with this."""


@dataclass(frozen=True)
class SetBans(Request[Done]):
    """Refuse these sources, in hexadecimal, until a moment (CLOCK_MONOTONIC); None: no more."""

    bans: Mapping[Text, Seconds | None]


@dataclass(frozen=True)
class ServiceEntry(Fields):
    """A service of a config. It is encoded on its own, so that a large config is read and written in slices."""

    name: Text
    type: Text
    options: Text
    """JSON; a text in it, since these may hold numbers of any size."""
    policy: Text
    """JSON of a `netd.admission.policy.Policy`."""
    access: tuple[Natural, Natural]
    """Where its table is in the memory of access tables: offset and length."""
    listeners: list[Natural]
    """By number."""
    changed: Flag
    """Whether new connections are to be served in another way than before."""

    def encode(self) -> str:
        """As `Prepare.services` holds it."""
        return json.dumps(vars(self), separators=(",", ":"))

    @staticmethod
    def decode(text: str) -> "ServiceEntry":
        """Reverse `encode`."""
        return _ENTRY.validate_json(text)


_ENTRY = TypeAdapter(ServiceEntry)


@dataclass(frozen=True)
class Prepare(Request[Done]):
    """Make ready what a config needs.

    With it come the memory of access tables, the listeners in ``new_listeners``, and the counters in ``new_counters``.
    """

    services: list[Text]
    """Each a `ServiceEntry`, encoded."""
    new_listeners: list[Natural]
    """By number."""
    new_counters: list[Text]
    """By service, each in ``services``."""
    draining: Mapping[Text, Seconds]
    """The services that end with the commit, and how many seconds their connections have."""
    log_connections: ConnectionLog
    connections: Natural | None
    """``daemon.connections``"""
    bans: Text
    """JSON of `netd.admission.bans.BanRules`."""

    def handed(self) -> Iterator[tuple[str, Any]]:
        """What each of the descriptors that come with it is."""
        yield "access", 0
        for number in self.new_listeners:
            yield "listener", number
        for service in self.new_counters:
            yield "counters", service


@dataclass(frozen=True)
class Commit(Request[Done]):
    """Serve what was prepared."""


@dataclass(frozen=True)
class Selection(Fields):
    """Which connections; an empty field selects all. A peer is what `netd.peer_filter.PeerFilter` takes."""

    id: Text = ""
    service: Text = ""
    peer: Text = ""


@dataclass(frozen=True)
class ListConnections(Selection, Request[ConnectionList]):
    """List these connections."""


@dataclass(frozen=True)
class ListPeers(Selection, Request[PeerList]):
    """List the peers of these connections."""


@dataclass(frozen=True)
class Kick(Selection, Request[Kicked]):
    """Close these connections."""


@dataclass(frozen=True)
class SetLogLevel(Request[Done]):
    """Log events of this level and above."""

    level: Level


@dataclass(frozen=True)
class SetLogFile(Request[Done]):
    """Write the log to the file that comes with this."""


@dataclass(frozen=True)
class StartTrace(Request[Done]):
    """Send what comes and goes at a service; with a ``peer``, of that one alone."""

    trace: Natural
    service: Text
    peer: Text


@dataclass(frozen=True)
class Attach(Request[Done]):
    """Serve the socket that comes with this, as a peer of the service over UNIX."""

    service: Text


# Orders of the supervisor.


@dataclass(frozen=True)
class Abort(Fields):
    """Forget what was prepared."""


@dataclass(frozen=True)
class Retire(Fields):
    """These services are switched off: close their connections after so many seconds."""

    drains: Mapping[Text, Seconds]


@dataclass(frozen=True)
class StopTrace(Fields):
    """End a trace."""

    trace: Natural


@dataclass(frozen=True)
class Report(Fields):
    """A report that the worker wanted."""

    report: Text
    answer: dict[str, Any]


@dataclass(frozen=True)
class Drain(Fields):
    """Accept nothing more, and end after the last connection."""


@dataclass(frozen=True)
class Stop(Fields):
    """Close the connections, and end."""


AnyRequest = (
    Heartbeat
    | SetDaemonLimits
    | SetBans
    | Prepare
    | Commit
    | ListConnections
    | ListPeers
    | Kick
    | SetLogLevel
    | SetLogFile
    | StartTrace
    | Attach
)
Order = Abort | Retire | StopTrace | Report | Drain | Stop

_RESPONSES: dict[type, type] = {Heartbeat: Alive, ListConnections: ConnectionList, ListPeers: PeerList, Kick: Kicked}
_NUMBERED, _ORDERS = readers(*get_args(AnyRequest)), readers(*get_args(Order))


def response_to(request: Request[R]) -> type[R]:
    """The type of a worker's response, unless that is `Failed`."""
    return _RESPONSES.get(type(request), Done)


def decode(message: Message, descriptors: Sequence[int]) -> tuple[int | None, AnyRequest | Order]:
    """What the supervisor sent, with these descriptors, and the number of the request; None for an order.

    `ProtocolError` says why it is no message, which is a bug.
    """
    request, command = read(message, _NUMBERED, _ORDERS)
    match command:
        case Prepare():
            expected = 1 + len(command.new_listeners) + len(command.new_counters)
        case SetDaemonLimits() | SetLogFile() | Attach():
            expected = 1
        case _:
            expected = 0
    if len(descriptors) != expected:
        raise ProtocolError(f"{type(command).__name__}: {expected} descriptors expected, got {len(descriptors)}")
    return request, command
