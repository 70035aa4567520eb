"""The contract between a service and whatever carries its bytes.

A service is a small class that never sees a socket, a thread or a logger. Over a stream it holds a conversation, a
generator that reads like blocking code::

    class Echo:
        def stream(self, peer):
            while data := (yield):      # a bare yield receives; b"" = the peer has finished sending
                yield data              # yield data sends
                                        # return closes

Over datagrams it answers one message at a time, with bytes or with None for silence. Having ``stream`` and/or
``datagram`` is the declaration of what a service supports. A service that cannot be written so has a ``handler``
instead of ``stream`` (`BlockingService`). What a service may declare besides, as attributes of the class:

``rfc``
    The number of the RFC it follows, for people who list the services.
``reflects``
    True: it answers exactly what it gets, so a transport moves the bytes without asking it: its methods are never
    called, so it has no ``truncate``, and is not ``server_initiated``.
``discards_input``
    True: a stream of it never receives, so a transport throws away what comes instead of leaving it in the kernel
    until the peer can send no more (RFC 864: "the data received is thrown away"). Such a stream gets no `Post`.
``server_initiated``
    True: it also speaks without being asked, so ``stream`` gets one more argument, a `Post`, and ``datagram`` one that
    is None where the peer may not be spoken to unasked: over UDP its address may be forged, so only those on this host
    may, and those whom `amplify` lists.
``client_speaks_first``
    True: its ``handler`` says nothing before the peer has, so a connection takes a thread only once something came, for
    which it has ten seconds.
``single_worker``
    True: its peers share what it keeps in memory, so with several workers one of them serves it.
``take_over``
    A method: called with the service object before, of the same class, when a reload has changed the service; the
    conversations under way go on with that one.
``truncate``
    A method: the answer to a datagram (bytes) in at most so many octets (64 or more), where a stranger may not get all
    of it, or None where that makes no sense. An answer that cannot be shortened is dropped then.
``Options``
    The model of its options (a `netd.values.Model`). Such a class is built as ``cls(options, context)``, any other
    as ``cls()``.

These are read once, from the class, when its type is found (`netd.services.service_type`). A public attribute with
nearly such a name, a value of another type, and two declarations that contradict each other are errors, which `netd
check` and `netd services` show. None, or False in place of True, takes back what a base class declares. The name of
what a class keeps for itself begins with an underscore.

After ``b""`` was delivered nothing more can come: a conversation that asks again is closed. A conversation that waits
for something other than its peer yields a `Wait`.

Only values live here; nothing in this file performs input or output.
"""

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol, TypeAlias, final, runtime_checkable

from netd.peer import Peer

Conversation: TypeAlias = Generator[bytes | None, bytes, None]
"""Yields what to send, or None to receive; is sent what was received; returns to close."""

WaitingConversation: TypeAlias = "Generator[bytes | Wait | None, bytes, None]"
"""The same for one that also waits for something else (`Wait`)."""


@final
class Wait:
    """What a conversation yields to wait for something other than its peer: it is resumed after `finish`.

    Meanwhile nothing is received, and the idle time-out does not run; a peer that closes the connection ends the
    conversation. It may be resumed early, so that it says ``while not wait.done: yield wait``.
    """

    __slots__ = ("_waiting", "done")

    def __init__(self) -> None:
        self.done = False
        self._waiting: list[Callable[[], object]] = []

    def finish(self) -> None:
        """It has come. To be called in the thread of the loop."""
        self.done = True
        waiting, self._waiting = self._waiting, []
        for resume in waiting:
            resume()

    def then(self, resume: Callable[[], object]) -> None:
        """Call this at the `finish`, or now if that was before."""
        if self.done:
            resume()
        else:
            self._waiting.append(resume)


Post: TypeAlias = Callable[[bytes], bool]
"""Says something to one peer, between its conversation's own words. Safe from any thread, and never waits. False when
the peer is gone, or has not read what was posted before: then it is lost."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a service may know of the daemon around it; tests hand in a fixed clock and a seeded `Random`."""

    clock: Callable[[], float] = time.time
    """Seconds since 1970-01-01 00:00 UTC."""
    random: Random = field(default_factory=Random)
    line_limit: int = 4096
    """The longest line or message a peer may send, in octets (``limits.line``)."""
    inspect: Callable[[str], Mapping[str, Any]] = lambda what: {}
    """What netd says of itself: its ``status``, as `netd status --json` prints it, or the ``history`` of its numbers.
    It waits for the answer, so it is for blocking handlers alone. TimeoutError when there is none."""


@runtime_checkable
class StreamService(Protocol):
    """A service that holds conversations over TCP and UNIX streams."""

    def stream(self, peer: Peer) -> WaitingConversation: ...


@runtime_checkable
class DatagramService(Protocol):
    """A service that answers datagrams over UDP and UNIX datagram sockets."""

    def datagram(self, data: bytes, peer: Peer) -> bytes | None: ...


@runtime_checkable
class BlockingService(Protocol):
    """A service that takes a thread for each connection over TCP and UNIX streams, and blocks in it.

    ``handler`` is what `socketserver` calls a request handler: called with the socket, the client's address and the
    server, it has served the connection when it returns. So a subclass of `socketserver.BaseRequestHandler` will do, as
    an attribute of the class. It is for what comes seldom and does not take long: there are 32 threads a listener, of
    which one source gets 8, for a minute each, unless the config has `limits.per_source` and `limits.lifetime`.
    """

    def handler(self, request: Any, client_address: Any, server: Any, /) -> object: ...
