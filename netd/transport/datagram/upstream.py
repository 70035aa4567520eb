"""The sockets to the targets of datagrams: chosen, opened, and what is known of a target by its ICMP messages."""

import errno
import os
import socket

from netd.services.forward import Forward
from netd.services.forward.target import Target
from netd.telemetry.forward_events import ForwardEvents, Why
from netd.transport.loop import Loop
from netd.transport.own_listeners import OWN
from netd.transport.sockaddr import numeric_sockaddr

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""Errors for lack of descriptors or memory."""
REFUSED = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENOPROTOOPT,
    errno.ENOTCONN,
    errno.EPIPE,
    errno.EPROTO,
}
"""Errors of a connected socket: an ICMP message has come for an earlier datagram (udp(7)), or the socket of a UNIX
target is closed (unix(7))."""


_WHY: dict[int, Why] = {
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    OWN: "denied",
    errno.ENOENT: "refused",
    **dict.fromkeys(REFUSED - {errno.EHOSTUNREACH, errno.ENETUNREACH}, "refused"),
}


class Upstreams:
    """The targets of one service, as its datagrams find them."""

    def __init__(self, service: Forward, events: ForwardEvents, loop: Loop) -> None:
        self._service = service
        self._targets = service.targets
        self._events = events
        self._loop = loop
        self._options = service.options
        self._numbers = [n for n, target in enumerate(service.targets.targets) if target.kind == "datagram"]
        self._resolving: set[str] = set()
        self.on_down = service.on_down

    def resolve(self) -> None:
        """Ask for the addresses of the targets that are names."""
        for number in self._numbers:
            self._addresses(self._targets.targets[number])

    def connect(self, source: str) -> tuple[socket.socket, int] | None:
        """A socket that is connected to a target, for this source, and the number of the target.

        None: no target has an address and a route. Raises OSError for lack of descriptors or memory.
        """
        now = self._loop.now
        for number in self._service.candidates("datagram", source, now):
            target = self._targets.targets[number]
            failure: OSError | None = None
            for address in self._addresses(target):
                try:
                    upstream = connected(target, address, self._options.bind)
                    if target.is_name and self._service.is_own(upstream):
                        upstream.close()
                        raise OSError(OWN, os.strerror(OWN))
                except OSError as error:
                    if error.errno in EXHAUSTED:
                        raise
                    failure = error.with_traceback(None)  # which has this frame: the two would keep each other
                else:
                    self._events.connecting()
                    self._targets.trying(number, now, self._options.connect)
                    self._targets.opened(number)
                    return upstream, number
            if failure:
                self._failed(number, failure)
        return None

    def give_back(self, upstream: socket.socket, number: int) -> None:
        """Close a socket that `connect` has returned with the number of its target."""
        upstream.close()
        self._targets.closed(number)

    def is_unix(self, number: int) -> bool:
        """Whether this target is a UNIX socket."""
        return self._targets.targets[number].transport == "unixgram"

    def url(self, number: int) -> str:
        """The URL of this target."""
        return str(self._targets.targets[number])

    def refused(self, number: int, error: OSError) -> bool:
        """A target takes no datagrams. Returns whether its sockets should be replaced.

        One of UNIX leads to a socket that is gone. Another one can be used again when the target is back; where no
        other target can be reached it is.
        """
        self._failed(number, error)
        return self.is_unix(number) or self.has_other(number)

    def has_other(self, number: int) -> bool:
        """Whether another target than this one can be used."""
        return bool(self._targets.usable(self._loop.now, [other for other in self._numbers if other != number]))

    def proved(self, number: int) -> None:
        """A target takes datagrams."""
        if self._targets.succeeded(number):
            self._events.target_recovered(self.url(number))

    def _failed(self, number: int, error: OSError) -> None:
        why = _WHY.get(error.errno or 0, "error")
        is_first = self._targets.failed(number, why, self._loop.now)
        self._events.connect_failed(self.url(number), why, str(error.strerror), is_first=is_first)

    def _addresses(self, target: Target) -> tuple[str, ...]:
        """The addresses of a target; none as yet while its name is being resolved."""
        name = target.host
        if not target.is_name:
            return (name,)
        if name in self._resolving:
            return ()
        # Asked once at a time: the datagrams that come until then are dropped, and wait nowhere.
        self._resolving.add(name)
        found = self._service.names.addresses(
            name, self._loop.now, self._events, lambda addresses: self._resolving.discard(name)
        )
        if found is None:
            return ()
        self._resolving.discard(name)
        return found


def connected(target: Target, address: str, bind: str | None) -> socket.socket:
    """A socket that is connected to a target at one of its addresses. Raises OSError."""
    unix = target.transport == "unixgram"
    family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address else socket.AF_INET
    upstream = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if unix:
            upstream.bind("")  # an abstract name that the kernel chooses (unix(7)): else the target could not answer
            upstream.connect(target.socket_path)
        else:
            if bind:
                upstream.bind(numeric_sockaddr(bind, 0))
            upstream.connect(numeric_sockaddr(address, target.port))
    except BaseException:
        upstream.close()
        raise
    return upstream
