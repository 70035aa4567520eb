"""The messages between a worker and a launcher. An attacker may control the worker, and neither trusts the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, Strict

from netd.contract import Why
from netd.daemon.channel import Message
from netd.daemon.messages.coding import Fields, Natural, Seconds, read, readers

LONGEST_ERROR = 300
"""Characters of an error."""
LONGEST_FACT = 256
"""Characters of what a worker says about a peer."""
_MOST_FACTS = 40

# What a program may take for a function of bash(1) (CVE-2014-6271) is none, and nothing is invisible.
Fact = Annotated[str, Strict(), Field(max_length=LONGEST_FACT, pattern=r"^(?:[ -'*-~)][ -~]*|\((?:[ -(*-~][ -~]*)?)?$")]
FactName = Annotated[str, Strict(), Field(max_length=64, pattern=r"^[A-Z][A-Z0-9_]*$")]


# Of a worker.


@dataclass(frozen=True)
class Start(Fields):
    """Start a program.

    The descriptors are its standard input and output in one, and its standard error where a worker reads that.
    """

    start: Natural
    """A number that the answers have. It grows with each start, and is not 0."""
    program: Natural
    peer: Annotated[str, Strict(), Field(max_length=648)]
    """The peer, for lists and the log."""
    facts: Annotated[Mapping[FactName, Fact], Field(max_length=_MOST_FACTS)]
    """What the environment says of the peer, for a program that is ``described``; else empty."""


@dataclass(frozen=True)
class Stop(Fields):
    """End the program of this start."""

    start: Natural


@dataclass(frozen=True)
class Adopt(Fields):
    """Keep a program that another launcher of this identity has started. The descriptor is its pidfd."""

    start: Natural
    program: Natural
    peer: Annotated[str, Strict(), Field(max_length=648)]
    seconds: Seconds
    """How long it has run."""


# Of a launcher.


@dataclass(frozen=True)
class Started(Fields):
    """The program runs. The descriptor is its pidfd (pidfd_open(2))."""

    start: Natural
    pid: Natural


@dataclass(frozen=True)
class NotStarted(Fields):
    """The program does not run."""

    start: Natural
    why: Why
    error: Annotated[str, Strict(), Field(max_length=LONGEST_ERROR)]


@dataclass(frozen=True)
class Ended(Fields):
    """The program has ended."""

    start: Natural
    code: Annotated[int, Strict(), Field(ge=-64, le=255)]
    """Its exit code, or the negative number of the signal."""
    user: Seconds
    system: Seconds
    """Processor time of it and of those of its children that it has waited for."""
    memory: Natural
    """The most memory that it had at a time (maximum resident set size), in octets."""
    timed_out: bool
    """Whether it was ended since its `lifetime` was over."""


_NONE = readers()
_OF_WORKER, _OF_LAUNCHER = readers(Start, Stop, Adopt), readers(Started, NotStarted, Ended)


def of_worker(message: Message) -> Any:
    """What a worker has sent. Raises `ProtocolError` for anything else."""
    return read(message, _NONE, _OF_WORKER)[1]


def of_launcher(message: Message) -> Any:
    """What a launcher has sent. Raises `ProtocolError` for anything else."""
    return read(message, _NONE, _OF_LAUNCHER)[1]
