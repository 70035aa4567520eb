"""The messages of the supervisor: requests, each of which has one response, and orders, which have none."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any, Generic, get_args

from netd.admission.daemon import DaemonBounds
from netd.daemon.channel import Message, ProtocolError
from netd.daemon.messages.coding import Fields, Flag, Natural, Seconds, Text, message, read, readers, validator
from netd.daemon.messages.from_worker import Alive, Busy, ConnectionList, Done, Kicked, PeerList, R
from netd.telemetry.logs import Level
from netd.telemetry.service_events import ConnectionLog

# Requests.


@message
class Request(Fields, Generic[R]):
    """A worker responds with one `R`, or with `Failed`."""


@message
class Heartbeat(Request[Alive]):
    """Respond, which shows that the loop turns."""


@message
class SetDaemonLimits(Request[Done]):
    """Count connections and datagrams against the daemon-wide limits, in the shared memory sent with this."""


@message
class Isolate(Request[Done]):
    """Serve this service alone, of the configs that follow. Other workers serve those that are not isolated."""

    service: Text


@message
class SetRunning(Request[Done]):
    """Record the code of services that runs in the memory sent with this (`netd.shared.running`)."""


@message
class SetBans(Request[Done]):
    """Set or lift bans."""

    bans: Mapping[Text, Seconds | None]
    """By source in hexadecimal: the end of the ban (CLOCK_MONOTONIC). None lifts it."""


@message
class ServiceEntry(Fields):
    """A service of a config. It is encoded on its own, so that a large config is read and written in slices."""

    name: Text
    type: Text
    options: Text
    """JSON in a string: options may have numbers that the channel rejects."""
    policy: Text
    """A `netd.admission.policy.Policy` as JSON."""
    access: tuple[Natural, Natural]
    """Offset and length of its table in the memory of access tables, in octets."""
    listeners: list[Natural]
    """The numbers of its listeners."""
    changed: Flag
    """Whether it differs from the service of this name in the config in force."""
    log_connections: ConnectionLog
    program: tuple[Natural, Natural] | None = None
    """The number of the launcher that starts its program, and that of the program."""
    targets: list[Natural] = field(default_factory=list)
    """Of each of its targets the row in the memory of its counters."""
    tls_listeners: list[Natural] = field(default_factory=list)
    """Those of its listeners that have TLS."""
    through: list[tuple[Natural, Flag]] = field(default_factory=list)
    """The listeners of services of the type `tcpmux` that pass connections on to it, and whether they have TLS."""
    certificates: list[tuple[Natural, list[Text]]] = field(default_factory=list)
    """For these: the file of each certificate and key, by its position in those sent with `Prepare`, and its names."""
    trust: Natural | None = None
    """The file with the authorities of clients, and their revocation lists."""
    to_trust: Natural | None = None
    """The file with the certificates that are trusted of its targets,"""
    to_certificate: Natural | None = None
    """and the one with the certificate and key for them."""
    banners: tuple[Text, Text] = ("", "")
    """The banner of peers that it gets and that of refused ones; each character stands for an octet."""
    isolated: Flag = False
    """Whether a worker of its own serves it."""
    code: Text | None = None
    """The text of the file of a `python` service, empty for a module; None: it has another type."""

    def encode(self) -> str:
        """An item of `Prepare.services`."""
        return json.dumps(vars(self), separators=(",", ":"))

    @staticmethod
    def decode(text: str) -> "ServiceEntry":
        """The inverse of `encode`."""
        entry: ServiceEntry = validator(ServiceEntry).validate_json(text)
        return entry


@message
class Prepare(Request[Done]):
    """Make the objects that a config needs.

    The descriptors are the memory of access tables, ``new_listeners``, ``new_counters``, and ``files`` of TLS, in this
    order.
    """

    services: list[Text]
    """A `ServiceEntry` each, encoded."""
    new_listeners: list[Natural]
    """The numbers of listeners that are new to the worker."""
    new_counters: list[Text]
    """The names of services, each in ``services``, with counters that are new to the worker."""
    draining: Mapping[Text, Seconds]
    """The services that end with the commit, and the seconds until their connections are closed."""
    connections: Natural | None
    """``daemon.connections``"""
    threads: Natural
    """``daemon.threads``"""
    bans: Text
    """`netd.admission.bans.BanRules` as JSON."""
    files: Natural = 0

    @property
    def bounds(self) -> DaemonBounds:
        """What all services may use together."""
        return DaemonBounds(self.connections, self.threads)

    def attached(self) -> Iterator[tuple[str, Any]]:
        """The kind of each descriptor sent with this, in order, and its number, or the name of its service."""
        yield "access", 0
        for number in self.new_listeners:
            yield "listener", number
        for service in self.new_counters:
            yield "counters", service
        for number in range(self.files):
            yield "file", number


@message
class Commit(Request[Done]):
    """Put the prepared config in force. The listeners that it does not have stay in service until `CloseRemoved`."""


@message
class CloseRemoved(Request[Done]):
    """Serve what is in the queues of the listeners that the config in force does not have, and close them."""


@message
class Selection(Fields):
    """Connections that match all fields that are not empty. ``peer`` is what `netd.peer_filter.PeerFilter` takes."""

    id: Text = ""
    service: Text = ""
    peer: Text = ""


@message
class ListConnections(Selection, Request[ConnectionList]):
    """List the selected connections."""


@message
class ListPeers(Selection, Request[PeerList]):
    """List the peers of the selected connections."""


@message
class Kick(Selection, Request[Kicked]):
    """Close the selected connections."""


@message
class CountTraffic(Request[Done]):
    """Count what has moved on open connections, which otherwise is counted when they are closed."""


@message
class ConnectLauncher(Request[Done]):
    """Have this launcher start programs. The descriptor is a channel."""

    launcher: Natural


@message
class SyncPrograms(Request[Done]):
    """Ask this launcher, which has taken the place of another one, which programs run."""

    launcher: Natural


@message
class SetLogLevel(Request[Done]):
    """Log events of this level and above."""

    level: Level


@message
class SetLogFile(Request[Done]):
    """Write the log to the file sent with this."""


@message
class StartTrace(Request[Done]):
    """Send `TraceLines` for a service, or for one peer of it unless ``peer`` is empty."""

    trace: Natural
    service: Text
    peer: Text


@message
class Attach(Request[Done]):
    """Serve the socket sent with this, as a peer of the service over UNIX."""

    service: Text


# Orders.


@message
class Abort(Fields):
    """Release the prepared config."""


@message
class Retire(Fields):
    """Close the connections of services that were switched off."""

    drains: Mapping[Text, Seconds]
    """The seconds until then, by service."""


@message
class LeaveTarget(Fields):
    """Close the connections of a service with a target that was disabled."""

    service: Text
    target: Text


@message
class StopTrace(Fields):
    """End a trace."""

    trace: Natural


@message
class Report(Fields):
    """The report that a worker requested with `ReportWanted`."""

    report: Text
    answer: dict[str, Any]


@message
class Drain(Fields):
    """Close the listeners, and exit after the last connection."""

    leave: Flag
    """Do not wait for those that a program has."""


@message
class Stop(Fields):
    """Close the connections, and exit."""


AnyRequest = (
    Heartbeat
    | SetDaemonLimits
    | SetBans
    | SetRunning
    | Isolate
    | Prepare
    | Commit
    | CloseRemoved
    | ListConnections
    | ListPeers
    | Kick
    | CountTraffic
    | ConnectLauncher
    | SyncPrograms
    | SetLogLevel
    | SetLogFile
    | StartTrace
    | Attach
)
Order = Abort | Retire | LeaveTarget | StopTrace | Report | Drain | Stop

AT_START = (
    SetDaemonLimits,
    SetRunning,
    SetBans,
    Prepare,
    ServiceEntry,
    Commit,
    Abort,
    Retire,
    ConnectLauncher,
    CountTraffic,
    Heartbeat,
    Drain,
    Stop,
    Done,
    Busy,
    Alive,
)
"""What each worker gets and sends when netd starts, drops a config or stops, for which there may be no memory then."""

_RESPONSES: dict[type, type] = {Heartbeat: Alive, ListConnections: ConnectionList, ListPeers: PeerList, Kick: Kicked}
_NUMBERED, _ORDERS = readers(*get_args(AnyRequest)), readers(*get_args(Order))


def response_to(request: Request[R]) -> type[R]:
    """The type of the response, unless that is `Failed`."""
    return _RESPONSES.get(type(request), Done)


def decode(message: Message, descriptors: Sequence[int]) -> tuple[int | None, AnyRequest | Order]:
    """The number of the request, None for an order, and the message that was received with these descriptors.

    Raises `ProtocolError` for an invalid message, which is a bug in the supervisor.
    """
    request, command = read(message, _NUMBERED, _ORDERS)
    match command:
        case Prepare():
            expected = 1 + len(command.new_listeners) + len(command.new_counters) + command.files
        case SetDaemonLimits() | SetRunning() | SetLogFile() | Attach() | ConnectLauncher():
            expected = 1
        case _:
            expected = 0
    if len(descriptors) != expected:
        raise ProtocolError(f"{type(command).__name__}: {expected} descriptors expected, got {len(descriptors)}")
    return request, command
