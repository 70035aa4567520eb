"""The messages of a worker: responses to requests, and notices. An attacker may control the worker."""

from dataclasses import field
from heapq import nlargest
from typing import Annotated, TypeVar, get_args

from pydantic import Field, Strict

from netd.daemon.channel import Message
from netd.daemon.messages.coding import Fields, Flag, Natural, Seconds, message, read, readers
from netd.peer import Transport
from netd.reasons import Refusal
from netd.telemetry.program_events import How
from netd.transport.handler_watch import LONGEST_PLACE
from netd.transport.tap import SHOWN, Way

MOST_ROWS = 1000
"""Connections in the list of one worker. It counts the others."""
MOST_ROW_OCTETS = 900_000
"""Octets of the connections in a list, encoded, so that it fits into a message. Only long paths use them up."""
MOST_HANGING = 20
"""Handlers that hang, of one worker, which `netd status` names."""
LONGEST_ERROR = 2000
"""Characters of an error."""
LONGEST_UNANSWERED = 100
"""Characters of what a peer gets no answer to."""
LONGEST_TARGET = 300
"""Characters of a target: of a URL with a name, or with a path of 108 octets."""
MOST_PEERS = 100
"""Peers in a list, those with the most connections: more than a screen shows, few enough for frequent requests."""
MOST_VISITORS = 100
"""Visitors of sensors in one notice, and banned at once: a packet holds them."""
_MOST_LINES = 500  # of a trace in one notice; a tap holds fewer
_LONGEST_PEER = 648  # characters: a path of 108 octets (unix(7)), each of which may be escaped as six
_NEVER = 2.0**40  # seconds since 1970 that no clock shows

_Few = Annotated[int, Strict(), Field(ge=0, le=1_000_000)]
_Used = Annotated[float, Strict(), Field(ge=0, le=1e10)]  # seconds

Name = Annotated[str, Strict(), Field(max_length=64)]
PeerName = Annotated[str, Strict(), Field(max_length=_LONGEST_PEER)]


# Responses.


@message
class Done(Fields):
    """The request was carried out."""


@message
class Failed(Fields):
    """The request was not carried out. A response to a request of any kind."""

    error: Annotated[str, Strict(), Field(max_length=LONGEST_ERROR)]


@message
class HangingRow(Fields):
    """A handler that hangs (`netd.transport.handler_watch`)."""

    service: Name
    at: Annotated[str, Strict(), Field(max_length=LONGEST_PLACE)]
    peer: PeerName
    seconds: Seconds
    cpu_seconds: Seconds


@message
class Alive(Fields):
    """The worker's loop turns."""

    lines_lost: Natural
    """Lines of its log that the worker could not write."""
    hanging: Annotated[list[HangingRow], Field(max_length=MOST_HANGING)] = field(default_factory=list)
    """Handlers that hang, the first ones."""


@message
class ConnectionRow(Fields):
    """An open connection."""

    id: Name
    service: Name
    transport: Transport
    peer: PeerName
    local: PeerName
    seconds: Seconds
    """Since the connection was opened."""
    idle: Seconds
    """Since octets were last received or sent."""
    bytes_in: Natural
    bytes_out: Natural
    unanswered: Annotated[str, Strict(), Field(max_length=LONGEST_UNANSWERED)]
    """What the peer has sent and gets no answer to as yet; empty if there is nothing."""
    pid: Natural = 0
    """The program that serves it; 0: none does."""
    handed_over: Flag = False
    """Whether the program has the connection itself, so that its octets are not seen."""
    via: PeerName = ""
    """The proxy that has named the peer; empty if none has."""
    target: Annotated[str, Strict(), Field(max_length=LONGEST_TARGET)] = ""
    """What it is passed on to; empty: nothing."""


@message
class ConnectionList(Fields):
    """The number of selected connections, and the first of them that fit, at most `MOST_ROWS`."""

    total: Natural
    connections: Annotated[list[ConnectionRow], Field(max_length=MOST_ROWS)]


@message
class PeerRow(Fields):
    """A peer, the number of its connections, and their octets."""

    peer: PeerName
    connections: Natural
    bytes_in: Natural
    bytes_out: Natural


@message
class PeerList(Fields):
    """The number of selected connections, and the `MOST_PEERS` peers with the most of them."""

    total: Natural
    peers: Annotated[list[PeerRow], Field(max_length=MOST_PEERS)]

    @classmethod
    def of(cls, total: int, sums: dict[str, list[int]]) -> "PeerList":
        """The list, from connections, octets received and octets sent by peer."""
        most = nlargest(MOST_PEERS, sums.items(), key=lambda one: one[1])
        return cls(total, [PeerRow(peer, *numbers) for peer, numbers in most])


@message
class Kicked(Fields):
    """The number of connections that were closed."""

    number: Natural


Response = Done | Failed | Alive | ConnectionList | PeerList | Kicked
R = TypeVar("R", bound=Response)


# Notices.


@message
class Busy(Fields):
    """The worker begins to prepare a config. It may miss heartbeats until it has finished."""


@message
class Offender(Fields):
    """A source that a service has refused repeatedly."""

    source: Annotated[str, Strict(), Field(pattern=r"^(?:[0-9a-f]{8}|[0-9a-f]{16}|[0-9a-f]{32})$")]
    """As admission counts it (`netd.admission.addresses`), in hexadecimal."""
    service: Name
    refusal: Refusal


@message
class Visitor(Fields):
    """A peer that has connected to a sensor. Part of a notice."""

    address: Annotated[str, Strict(), Field(pattern=r"^(?:[0-9a-f]{8}|[0-9a-f]{32})$")]
    """In hexadecimal."""
    service: Name


@message
class Visitors(Fields):
    """Peers that have connected to sensors."""

    visitors: Annotated[list[Visitor], Field(max_length=MOST_VISITORS)]


@message
class ReportWanted(Fields):
    """A thread of the worker waits for a `Report`."""

    report: Annotated[str, Strict(), Field(pattern=r"^(?:status|history)$")]


TraceLine = tuple[
    Annotated[float, Strict(), Field(ge=0, lt=_NEVER)],
    Way,
    PeerName,
    Natural,
    Annotated[str, Strict(), Field(pattern=rf"^(?:[0-9a-f]{{2}}){{0,{SHOWN}}}$")],
    PeerName,
]
"""A `netd.transport.tap.Line`."""


@message
class TraceLines(Fields):
    """Octets and datagrams that the service of a trace has received and sent."""

    trace: Natural
    lines: Annotated[list[TraceLine], Field(max_length=_MOST_LINES)]
    skipped: Natural
    """Lines that were dropped, because the tap was full."""


@message
class ProgramsChanged(Fields):
    """Of a launcher: a program that no worker waits for has started, has ended or cannot be started, or a worker has
    left some.
    """

    service: Name
    running: _Few
    """How many of the service there are now."""
    started: _Few = 0
    """How many have started since the last of these messages."""
    ended: How | None = None
    """How one has ended; None: none has."""
    fault: _Few = 0
    """The `fault_of` that end, or `NOT_STARTED`."""
    cpu: _Used = 0.0
    """The processor time of the one that has ended."""
    seconds: _Used = 0.0
    """How long it has run."""


@message
class ListenerHeld(Fields):
    """Of a launcher: a process is about to become a program that has a listener, or that has ended.

    It is sent before the program runs, so that the supervisor knows of each also if the launcher is killed.
    """

    program: Natural
    pid: Natural
    """0: it has ended."""


@message
class WorkerFault(Fields):
    """Of a launcher: a worker has sent it an invalid message."""

    worker: Natural
    error: Annotated[str, Strict(), Field(max_length=LONGEST_ERROR)]


Notice = Busy | Offender | Visitors | ReportWanted | TraceLines | ProgramsChanged | ListenerHeld | WorkerFault


_NUMBERED, _NOTICES = readers(*get_args(Response)), readers(*get_args(Notice))


def decode(message: Message) -> tuple[int | None, Response | Notice]:
    """The number of the request that a response belongs to, None for a notice, and the message.

    ``message`` may be any JSON object. Raises `ProtocolError` where it is not a message.
    """
    return read(message, _NUMBERED, _NOTICES)
