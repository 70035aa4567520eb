"""The contract between a service and the transport that serves it.

A service is a small class that never sees a socket, a thread or a logger. Over a stream it is a conversation, a
generator that reads like blocking code::

    class Echo:
        def stream(self, peer):
            while data := (yield):      # a bare yield receives; b"" = the peer has finished sending
                yield data              # yield data sends
                                        # return closes

Over datagrams it answers one message at a time, with bytes, or with None for no answer. A class with ``stream`` serves
streams, one with ``datagram`` serves datagrams. A service that needs blocking calls has a ``handler`` instead of
``stream`` (`BlockingService`, `AsyncService`). Where a program is to get the connection, the class has a ``program``
instead (`ProgramService`). A class may also declare these attributes:

``rfc``
    The number of the RFC that the service follows; `netd services` shows it.
``reflects``
    True: every answer is exactly what was received, so the transport returns the octets itself. The methods of the
    service are never called, so it has no ``truncate`` and is not ``server_initiated``.
``discards_input``
    True: a stream of the service never receives, so the transport discards all input. Left in the kernel, input would
    fill the receive buffer and block the peer (RFC 864: "the data received is thrown away"). Such a stream gets no
    `Post`.
``server_initiated``
    True: the service also sends without being asked. ``stream`` gets one more argument, a `Post`. ``datagram`` gets a
    `Post`, or None where netd may not send to the peer without being asked: a source address over UDP may be forged, so
    only peers on this host and those that `amplify` lists get one.
``datagram_blocks``
    True: ``datagram`` may block: each datagram takes a thread (`limits.threads`) until it is answered. While all are
    busy, a few wait, and further ones are dropped.
``client_speaks_first``
    True: the ``handler`` sends nothing before the client has. A connection takes a thread only once input has come, and
    is closed when none comes within ten seconds.
``single_worker``
    True: the peers of the service share data in its memory, so only one of several workers serves it.
``polled``
    True: its clients are programs that ask again and again, as monitoring does, so its connections are logged at debug
    unless `log_connections` of the service says otherwise.
``reads_ttl``
    True: `Peer.ttl` is set, which costs two system calls for each connection, and one for each datagram.
``listens``
    True: where the option ``mode`` is ``listener``, the ``program`` gets the listening sockets in place of connections.
    So such a service can serve datagrams too.
``forwards``
    True: netd passes connections and datagrams on to other services, which its options name
    (`netd.services.forward.Forward`). Such a class has no other way to serve.
``multiplexes``
    True: netd reads the name of a service from each connection, and passes it on to that (`netd.services.tcpmux`). Such
    a class has no other way to serve.
``runs_program``
    True: a ``stream`` of the service runs a program. Its ``Options``, as those of a class with ``program``, are
    `netd.services.exec.options.ProgramOptions` and more.
``take_over``
    A method: called with the old service object, of the same class, when a reload has changed the service. Connections
    that are open stay with the old object.
``truncate``
    A method: called with an answer to a datagram and a number of octets (64 or more), where the peer may not get all of
    the answer (`amplify`). Returns the answer in at most so many octets, or None if it cannot be shortened: then it
    is dropped.
``counters``
    A tuple of names, such as ``("started", "exited.0")``: the counters of this service type alone, beside those of all
    types. `netd status --json` shows their sums under these names, but for names that begin with ``_``.
``Options``
    The model of the options (a `netd.values.Model`). A class that has it is built as ``cls(options, context)``, any
    other as ``cls()``.

netd reads these from the class, once, when it looks the type up (`netd.services.service_type`). A public attribute
with a name that resembles one of these, a value of another type, and contradicting declarations are errors, which
``netd check`` and ``netd services`` show. None, or False in place of True, cancels the declaration of a base class.
Attributes for the class's own use begin with an underscore.

After ``b""`` there is no more input: a conversation that asks for some is closed. A conversation that receives for a
limited time yields a `Receive`; one that waits for something other than its peer yields a `Wait`.

This file holds values only; it performs no input or output.
"""

import reprlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TypeAlias, final, runtime_checkable

from netd.peer import Peer

_LONGEST_RECEIVE = 1e9  # seconds, 31 years: a time-out that the loop can add to the time


@final
class Receive(NamedTuple):
    r"""Yielded by a conversation to receive, as with a bare yield, for a limited time.

    ``send`` passes in None where no input comes within ``seconds`` after all output was sent::

        while (data := (yield Receive(30.0))) is None:
            yield b"still there?\r\n"
    """

    seconds: float | None = None
    """How long to wait, at most 0.1 s longer; at most 1e9. None: as a bare yield."""
    unanswered: str = ""
    """What the peer has sent and gets no answer to as yet, for `netd trace`, `netd connections` and the log."""
    waiting: int = 0
    """The octets of it, for `netd trace`."""

    def check(self) -> None:
        """Raise TypeError or ValueError if a field has a wrong type, or ``seconds`` is out of range."""
        seconds: object = self.seconds
        if seconds is not None:
            if not isinstance(seconds, int | float):
                raise TypeError(f"the seconds of a Receive are a number or None, not {reprlib.repr(seconds)}")
            if not abs(seconds) <= _LONGEST_RECEIVE:  # NaN is not either
                raise ValueError(f"the seconds of a Receive are at most 1e9, or None, not {reprlib.repr(seconds)}")
        if not isinstance(self.unanswered, str):
            raise TypeError(f"what is unanswered in a Receive is a str, not {reprlib.repr(self.unanswered)}")
        if not isinstance(self.waiting, int):
            raise TypeError(f"the octets waiting in a Receive are an int, not {reprlib.repr(self.waiting)}")


@final
class Wait:
    """Yielded by a conversation to wait for something other than its peer; `finish` resumes the conversation.

    Meanwhile the transport receives nothing and the idle time-out does not run. If the peer closes the connection, the
    conversation ends. It may be resumed early, so write ``while not wait.done: yield wait``.
    """

    __slots__ = ("_waiting", "done")

    def __init__(self) -> None:
        self.done = False
        self._waiting: list[Callable[[], object]] = []

    def finish(self) -> None:
        """End the wait. Call it in the thread of the loop."""
        self.done = True
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def then(self, resume: Callable[[], object]) -> None:
        """Call ``resume`` on `finish`, or at once if that was called already."""
        if self.done:
            resume()
        else:
            self._waiting.append(resume)


Conversation: TypeAlias = Generator[bytes | Receive | None, bytes, None]
"""Yields octets to send, or None to receive; ``send`` passes in the octets received; returns to close."""

WaitingConversation: TypeAlias = Generator[bytes | Receive | Wait | None, bytes | None, None]
"""A conversation that may also yield a `Wait`, or take the None of a `Receive`."""


class End(NamedTuple):
    """How a program has ended."""

    code: int | None
    """Its exit code, or the negative number of the signal; None: it is not known."""
    seconds: float
    """How long it has run."""
    user: float
    system: float
    """Seconds of processor time."""
    memory: int
    """The most memory at a time, in octets (maximum resident set size). 0: less than the launcher has, some 40 MB."""
    timed_out: bool
    """Whether `limits.lifetime` was over."""


LOST = "lost"
"""The `Finished.error` of a program that was started, and has ended or goes on: nothing is known of that, since the
process that starts programs was killed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended that a service has started (`Context.run`)."""

    code: int | None
    """The exit code; negative: the number of the signal that ended it. None: it could not be started, or it was ended
    because its time was over, or nothing is known of its end."""
    output: bytes
    """What it wrote to standard output, cut at the limit asked for."""
    error: str = ""
    """Why it could not be started, "timeout", or `LOST`; empty if it ran to its end."""
    seconds: float = 0.0
    """How long it ran."""


Why: TypeAlias = Literal["connections", "resources", "failed"]
"""Why a program was not started: `limits.connections` is reached, the system lacks memory or processes, or it cannot be
started."""


class ProgramObserver(Protocol):
    """What is told about a program, in the thread of the loop."""

    def sent(self) -> None:
        """The descriptors were sent, and may be closed here. Called before the start has returned, or later."""

    def started(self, pid: int, /) -> None:
        """It runs."""

    def not_started(self, why: Why, error: str, /) -> None:
        """It does not run, or may not: the process that starts programs was killed before it said so. Nothing else is
        told.
        """

    def ended(self, end: End, /) -> None:
        """It has ended, or may have, where the process that starts programs was killed."""


class RunningProgram(Protocol):
    """A program that was asked for."""

    def stop(self) -> None:
        """End it: the observer is told when it has ended."""


StartProgram: TypeAlias = Callable[[Peer, Mapping[str, str], Sequence[int], ProgramObserver], RunningProgram]
"""Starts the program of a service for a peer. The mapping is what its environment says of the peer, where the socket
does not know it. The descriptors are its standard input and output in one, and its standard error where netd reads
that. They have to stay open until the observer is told that they were sent."""


Post: TypeAlias = Callable[[bytes], bool]
"""Sends octets to one peer, between the output of its conversation. Thread-safe; never blocks. Returns False, and drops
the octets, if the peer has disconnected or if its queue of unsent posts is full."""


def _no_program(*arguments: object) -> NoReturn:
    raise RuntimeError("the service has no program")


Resolve: TypeAlias = Callable[[str, Callable[[tuple[str, ...], str], object]], object]
"""Resolves a name: the function is called later, in the thread of the loop, with the addresses in the order of RFC 6724
and an empty text, or with none and the error."""


def _no_resolver(name: str, then: Callable[[tuple[str, ...], str], object]) -> None:
    then((), "there is no resolver")


@dataclass(frozen=True, slots=True)
class Context:
    """What the daemon passes to a service; tests pass a fixed clock and a seeded `Random`."""

    clock: Callable[[], float] = time.time
    """Seconds since 1970-01-01 00:00 UTC."""
    random: Random = field(default_factory=Random)
    line_limit: int = 4096
    """The longest line or message that a peer may send, in octets (``limits.line``)."""
    inspect: Callable[[str], Mapping[str, Any]] = lambda what: {}
    """Returns netd's ``status``, as ``netd status --json`` prints it, or the ``history`` of its counters. Blocks, so
    only a `BlockingService` may call it. Raises TimeoutError if no answer comes."""
    call_soon: Callable[[Callable[[], None]], object] = lambda function: function()
    """Calls a function in the thread of the loop, after the input that has come already: so a service does once what
    each of many peers asks for at the same time. Thread-safe. Without a daemon the function is called at once."""
    names_peers: bool = False
    """Whether a header before each connection names the peer, so that the socket does not know it."""
    resolve: Resolve = _no_resolver
    """Resolves the name of a host."""
    start: StartProgram = _no_program
    """Starts the program of the service for a connection."""
    run: Callable[[float, int, Callable[[Finished], object]], object] = _no_program
    """``run(timeout, most, ended)`` starts the program of the service once, for at most ``timeout`` seconds, and keeps
    at most ``most`` octets of its output. ``ended`` is called once, later, in the thread of the loop; never before
    ``run`` has returned. After a timeout the program may still be ending; until it has, a run is a timeout at once.
    Raises RuntimeError where the service has no program."""


@runtime_checkable
class StreamService(Protocol):
    """A service over TCP and UNIX streams: one conversation for each connection."""

    def stream(self, peer: Peer) -> Conversation | WaitingConversation:
        """A conversation with this peer, which has just connected."""
        ...


@runtime_checkable
class DatagramService(Protocol):
    """A service that answers datagrams over UDP and UNIX datagram sockets."""

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        """The answer to a datagram of this peer; None: there is none. A `PeerError` is answered with its line."""
        ...


@runtime_checkable
class BlockingService(Protocol):
    """A service over TCP and UNIX streams that takes a thread for each connection and may block in it.

    ``handler`` is a request handler of `socketserver`: netd calls it with the socket, the client's address and the
    server; when it returns, the connection is closed. A subclass of `socketserver.BaseRequestHandler`, as an attribute
    of the class, is one. Use it for few and short connections: a service has `limits.threads`, a source gets at most 8
    of them, and a connection ends after a minute, unless the config sets `limits.per_source` and `limits.lifetime`. The
    client's address is a host and a port; over UNIX the peer as text (`Peer.remote`) and 0. A handler of datagrams
    cannot be served.
    """

    def handler(self, request: Any, client_address: Any, server: Any, /) -> object: ...


class AsyncService(Protocol):
    """A service over TCP and UNIX streams with a coroutine for each connection, as `asyncio.start_server` calls it.

    When ``handler`` returns, what it has written is sent, and the connection is closed. All coroutines of a worker
    share one loop of asyncio, in a thread: one that blocks holds up the others. At a time-out of the connection and at
    its end by the operator, the coroutine is cancelled.
    """

    async def handler(self, reader: Any, writer: Any, /) -> object: ...


@runtime_checkable
class ProgramService(Protocol):
    """A service over TCP and UNIX streams that gives each connection to a program, which its options name.

    ``program`` returns environment variables that tell the program about the peer: at most 256 printable ASCII
    characters each, which do not begin with ``()``.
    """

    def program(self, peer: Peer) -> dict[str, str]: ...
