"""The messages of the supervisor to a launcher: requests, each of which has one response, and orders, which have none.

A launcher responds as a worker does (`netd.daemon.messages.from_worker`), and sends notices of its own there.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Strict

from netd.daemon.channel import Message, ProtocolError
from netd.daemon.messages.coding import Fields, Flag, Natural, Seconds, Text, message, read, readers, validator
from netd.daemon.messages.from_supervisor import (
    CountTraffic,
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    Request,
    SetLogFile,
    SetLogLevel,
)
from netd.daemon.messages.from_worker import Done

Integer = Annotated[int, Strict()]
Gives = Literal["connection", "output", "listener"]
"""What a program gets: a connection as its standard input and output; a pipe for its output, which a worker reads; or
a listening socket."""
Errors = Literal["log", "peer", "null"]
"""Where its standard error goes: to a pipe, which a worker reads; to its standard output; or nowhere."""


@message
class Program(Fields):
    """A program of a service. Encoded on its own, as `ServiceEntry` is."""

    number: Natural
    """It is never used again, so that a message about an old program cannot mean a new one."""
    service: Text
    command: list[Text]
    """The path and the arguments."""
    argv0: Text
    environment: dict[Text, Text]
    """All but what is about the peer."""
    directory: Text
    umask: Natural
    nice: Integer
    limits: dict[Text, tuple[Integer, Integer]]
    """The soft and the hard limit by the name of its constant in `resource`, without RLIMIT_."""
    gives: Gives
    errors: Errors
    described: Flag
    """Whether a worker says what the peer is: the socket does not, behind a proxy, TLS or a relay."""
    connections: Natural | None
    """How many may run at one time; None: any number."""
    lifetime: Seconds | None
    """Seconds until one is ended."""
    stop_signal: Natural
    stop_after: Seconds
    """Seconds from this signal to SIGKILL."""

    def encode(self) -> str:
        """An item of `AddPrograms.programs`."""
        return str(validator(Program).dump_json(self), "utf-8")

    @staticmethod
    def decode(text: str) -> "Program":
        """The inverse of `encode`."""
        program: Program = validator(Program).validate_json(text)
        return program


@message
class AddPrograms(Request[Done]):
    """Know these programs, beside those that are known. The descriptors are those of the listeners."""

    programs: list[Text]
    """A `Program` each, encoded."""
    listeners: list[Natural]
    """The numbers of programs, each with one listener."""
    held: dict[Text, tuple[Natural, Seconds]]
    """The programs with a listener that another launcher has started, by number: process id and age."""


@message
class AddWorker(Request[Done]):
    """Start programs for a worker. The descriptor is its channel."""

    worker: Natural
    pid: Natural
    """Its process id, by which the table of running programs names it."""


@message
class TakeOver(Request[Done]):
    """Keep what runs. The descriptor is the memory of a `RunningTable`, of this launcher or of those before it."""


@message
class Listen(Fields):
    """Start these programs, which have listeners, when something comes."""

    programs: list[Natural]


@message
class RemovePrograms(Fields):
    """Start none of these any more. Those that run go on, but those with a listener, which are ended first."""

    programs: list[Natural]


@message
class EndPrograms(Fields):
    """End what runs of these programs, since their service was switched off, or netd stops."""

    programs: list[Natural] | None
    """None: all of them."""
    seconds: Seconds
    """The time until then."""


@message
class EndAll(Fields):
    """Start nothing any more, end all programs, and exit when the last one has ended."""

    wait: Flag
    """Wait for their ends; but programs with a listener are ended, since they have its port."""
    leave: Flag
    """Exit at once, and let them run."""


AnyRequest = (
    Heartbeat
    | CountTraffic
    | ListConnections
    | ListPeers
    | Kick
    | SetLogLevel
    | SetLogFile
    | AddPrograms
    | AddWorker
    | TakeOver
)
Order = Listen | RemovePrograms | EndPrograms | EndAll

AT_START = (AddPrograms, Program, AddWorker, TakeOver, Listen, EndPrograms, RemovePrograms, EndAll)
"""What each launcher gets when netd starts or stops, beside what workers get."""

_NUMBERED, _ORDERS = readers(*get_args(AnyRequest)), readers(*get_args(Order))


def decode(message: Message, descriptors: Sequence[int]) -> tuple[int | None, Any]:
    """The number of the request, None for an order, and the message that was received with these descriptors.

    Raises `ProtocolError` for an invalid message, which is a bug in the supervisor.
    """
    request, command = read(message, _NUMBERED, _ORDERS)
    match command:
        case AddPrograms():
            expected = len(command.listeners)
        case AddWorker() | SetLogFile() | TakeOver():
            expected = 1
        case _:
            expected = 0
    if len(descriptors) != expected:
        raise ProtocolError(f"{type(command).__name__}: {expected} descriptors expected, got {len(descriptors)}")
    return request, command
