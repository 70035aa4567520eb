"""The messages between a worker and a launcher. An attacker may control the worker, and neither trusts the other.

There are thousands of them a second, so they are structures and no JSON. A packet of a worker is one message. A packet
of a launcher is a message `NotStarted`, or any number of the others.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from netd.contract import Why
from netd.daemon.channel import ProtocolError
from netd.services.exec.environment import is_about_peer, is_safe

LONGEST_ERROR = 300
"""Octets of an error."""
_MOST_FACTS = 40
_START, _STOP, _SYNC, _STARTED, _ENDED, _LOST, _SYNCED, _NOT_STARTED, _ERROR_PIPE = range(1, 10)
_WHY: tuple[Why, ...] = ("connections", "resources", "failed")

_HEAD = struct.Struct("<BQ")  # kind, start
_OF_START = struct.Struct("<BQQ")  # and the program
_RECORD = struct.Struct("<BQiddQB")  # kind, start, process id or code, user, system, memory, timed out
_OF_NOT_STARTED = struct.Struct("<BQB")  # and why
_OF_ERROR_PIPE = struct.Struct("<BiH")  # kind, process id, octets of the service
_LONGEST_SERVICE = 256
_LONGEST_PEER = 648
_LARGEST_START = 2**62
_MOST_SECONDS = 1e10


class Start(NamedTuple):
    """Start a program.

    The descriptors are its standard input and output in one, and its standard error where a worker reads that.
    """

    start: int
    """A number that the answers have: 1, and one more with each start."""
    program: int
    facts: Mapping[str, str]
    """What the environment says of the peer, for a program that is ``described``; else empty."""

    def encode(self) -> bytes:
        head = _OF_START.pack(_START, self.start, self.program)
        return head + json.dumps(self.facts).encode() if self.facts else head


class Stop(NamedTuple):
    """End the program of this start."""

    start: int

    def encode(self) -> bytes:
        return _HEAD.pack(_STOP, self.start)


class Sync(NamedTuple):
    """Say what runs: another launcher has taken the place of the one before. `Started` and `Synced` follow."""

    start: int
    """The last start that was sent before this."""

    def encode(self) -> bytes:
        return _HEAD.pack(_SYNC, self.start)


class Started(NamedTuple):
    """The program runs."""

    start: int
    pid: int

    def encode(self) -> bytes:
        return _RECORD.pack(_STARTED, self.start, self.pid, 0.0, 0.0, 0, 0)


class Ended(NamedTuple):
    """The program has ended."""

    start: int
    code: int
    """Its exit code, or the negative number of the signal."""
    user: float
    system: float
    """Seconds of processor time of it, and of those of its children that it has waited for."""
    memory: int
    """The most memory that it had at a time (maximum resident set size), in octets."""
    timed_out: bool
    """Whether it was ended since its `lifetime` was over."""

    def encode(self) -> bytes:
        return _RECORD.pack(_ENDED, self.start, self.code, self.user, self.system, self.memory, self.timed_out)


class Lost(NamedTuple):
    """The launcher before was killed as it started this program. It may run, and no launcher knows it."""

    start: int

    def encode(self) -> bytes:
        return _RECORD.pack(_LOST, self.start, 0, 0.0, 0.0, 0, 0)


class Synced(NamedTuple):
    """The answer to `Sync`, after `Started` for each program of this worker that runs."""

    start: int

    def encode(self) -> bytes:
        return _RECORD.pack(_SYNCED, self.start, 0, 0.0, 0.0, 0, 0)


class NotStarted(NamedTuple):
    """The program does not run."""

    start: int
    why: Why
    error: str

    def encode(self) -> bytes:
        head = _OF_NOT_STARTED.pack(_NOT_STARTED, self.start, _WHY.index(self.why))
        return head + self.error.encode(errors="replace")[:LONGEST_ERROR]


class ErrorPipe(NamedTuple):
    """Log what a program writes to its standard error, which this worker has not started.

    The descriptor is the reading end of a pipe.
    """

    pid: int
    service: str
    peer: str
    """Empty for a program that accepts connections itself."""

    def encode(self) -> bytes:
        service = self.service.encode()[:_LONGEST_SERVICE]
        head = _OF_ERROR_PIPE.pack(_ERROR_PIPE, self.pid, len(service))
        return head + service + self.peer.encode(errors="replace")[:_LONGEST_PEER]


OfLauncher = Started | Ended | Lost | Synced | NotStarted | ErrorPipe


def of_worker(data: bytes) -> Start | Stop | Sync:
    """What a worker has sent. Raises `ProtocolError` for anything else."""
    try:
        kind, start = _HEAD.unpack_from(data)
        if not 0 < start <= _LARGEST_START:
            raise ProtocolError("a start has a number that none can have")
        if kind == _START:
            rest = data[_OF_START.size :]
            return Start(start, _OF_START.unpack_from(data)[2], _facts(rest) if rest else {})
        if kind == _STOP and len(data) == _HEAD.size:
            return Stop(start)
        if kind == _SYNC and len(data) == _HEAD.size:
            return Sync(start)
    except struct.error:
        pass
    raise ProtocolError("a packet of a worker is not a message")


def _facts(data: bytes) -> Mapping[str, str]:
    try:
        facts: Any = json.loads(data)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or len(facts) > _MOST_FACTS:
        raise ProtocolError("Start: the facts about a peer are no mapping")
    for name, value in facts.items():
        if not (is_about_peer(name) and isinstance(value, str) and is_safe(value)):
            raise ProtocolError("Start: a fact about a peer is none that a program is told")
    return facts


def of_launcher(data: bytes) -> Iterable[OfLauncher]:
    """What a launcher has sent. Raises `ProtocolError` for anything else."""
    if data[:1] == bytes([_ERROR_PIPE]) and len(data) >= _OF_ERROR_PIPE.size:
        _, pid, length = _OF_ERROR_PIPE.unpack_from(data)
        text = data[_OF_ERROR_PIPE.size :].decode("ascii", "backslashreplace")
        return [ErrorPipe(pid, text[:length], text[length:])]
    if data[:1] == bytes([_NOT_STARTED]) and len(data) >= _OF_NOT_STARTED.size:
        _, start, why = _OF_NOT_STARTED.unpack_from(data)
        if why >= len(_WHY):
            raise ProtocolError("NotStarted: an unknown reason")
        return [NotStarted(start, _WHY[why], data[_OF_NOT_STARTED.size :].decode(errors="replace"))]
    if len(data) % _RECORD.size:
        raise ProtocolError("a packet of a launcher is not a message")
    return [_record(fields) for fields in _RECORD.iter_unpack(data)]


def _record(fields: tuple[Any, ...]) -> OfLauncher:
    kind, start, number, user, system, memory, timed_out = fields
    if kind == _STARTED and number > 0:
        return Started(start, number)
    if kind == _ENDED and -64 <= number <= 255 and 0 <= user <= _MOST_SECONDS and 0 <= system <= _MOST_SECONDS:
        return Ended(start, number, user, system, memory, bool(timed_out))
    if kind == _LOST:
        return Lost(start)
    if kind == _SYNCED:
        return Synced(start)
    raise ProtocolError("a record of a launcher is not a message")
