"""Connecting to a target without a thread: its addresses are tried one beside the other (RFC 8305).

connect(2) is called for the first address. After 250 ms, or when that has failed, the next address is tried too, and
the first connection that is made is taken.
"""

import errno
import socket
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, zip_longest
from typing import Any, NamedTuple, Protocol, cast

from netd.services.forward.target import Target
from netd.telemetry.forward_events import Why
from netd.transport.loop import Loop, Timer
from netd.transport.own_listeners import OWN
from netd.transport.sockaddr import numeric_sockaddr
from netd.transport.stream.connection import EXHAUSTED, OUT

_DELAY = 0.25  # seconds between two addresses ("Connection Attempt Delay", RFC 8305, 5)
_KIND = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
_BUSY = 0.05  # seconds until a UNIX socket with a full queue is tried again
_PENDING = (errno.EINPROGRESS, errno.EALREADY)
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7); in Python's socket since 3.12
_LEAST_PORT = 1024  # the kernel chooses none below as a local port (net.ipv4.ip_local_port_range)
_WHY: dict[int, Why] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "refused",
    errno.ENOENT: "refused",  # no such UNIX socket
    errno.ETIMEDOUT: "timeout",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.EACCES: "denied",
    errno.EPERM: "denied",
    OWN: "denied",
    errno.EADDRNOTAVAIL: "no_resources",  # no port is left
    **dict.fromkeys(EXHAUSTED, "no_resources"),
}

Resolve = Callable[[Callable[[tuple[str, ...]], object]], tuple[str, ...] | None]
"""The addresses of a name; None: the function is called with them later."""


class Connecting(Protocol):
    """An attempt to connect."""

    def begin(self) -> socket.socket | None:
        """Begin. Returns the connection where it is made at once. Raises `ConnectError`."""

    def close(self) -> None:
        """End it."""


class ConnectError(Exception):
    """A target could not be reached."""

    def __init__(self, why: Why, error: str) -> None:
        super().__init__(error)
        self.why = why

    @classmethod
    def of(cls, number: int) -> "ConnectError":
        """The error of a system call with this number."""
        return cls(_WHY.get(number, "error"), errno.errorcode.get(number, str(number)))


def bind_error(host: str) -> str:
    """Why no socket can be bound to this address; empty if one can."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.bind(numeric_sockaddr(host, 0))
    except OSError as error:
        return _unbound(host, error)
    return ""


def _unbound(host: str, error: OSError) -> str:
    return f"cannot bind to {host}: {error.strerror or error}"


class Address(NamedTuple):
    """An address as connect(2) takes it."""

    family: int
    sockaddr: Any


def interleaved(hosts: Sequence[str], port: int) -> list[Address]:
    """The addresses, both families in turn, beginning with that of the first (RFC 8305, 4). Raises `ConnectError`."""
    both = [_address(host, port) for host in hosts]
    first = [one for one in both if one.family == both[0].family]
    second = [one for one in both if one.family != both[0].family]
    return [one for one in chain.from_iterable(zip_longest(first, second)) if one]


def _address(host: str, port: int) -> Address:
    if ":" not in host:
        return Address(socket.AF_INET, (host, port))
    try:
        return Address(socket.AF_INET6, numeric_sockaddr(host, port))
    except OSError as error:
        raise ConnectError.of(error.errno or 0) from None


class Attempt:
    """The attempt to connect to one target, which takes ``timeout`` seconds at most.

    ``resolve`` is called for the name of a target. ``bind`` is the local address, or None. ``done`` is called once,
    with the connection or the error, unless `begin` returned one, or raised the other, or `close` was called.
    ``is_own`` says whether a connection has reached a listener of this netd; it is asked where the target is a name,
    since those of other targets were compared when the config was read.
    """

    __slots__ = (
        "_bind",
        "_connecting",
        "_done",
        "_error",
        "_is_busy",
        "_is_over",
        "_is_own",
        "_left",
        "_loop",
        "_resolve",
        "_target",
        "_timeout",
        "_timer",
        "_until",
    )

    def __init__(
        self,
        loop: Loop,
        target: Target,
        timeout: float,
        bind: str | None,
        resolve: Resolve,
        done: Callable[[socket.socket | ConnectError], object],
        is_own: Callable[[socket.socket], bool] = lambda connected: False,
    ) -> None:
        self._loop = loop
        self._is_own = is_own
        self._target = target
        self._timeout = timeout
        self._bind = bind
        self._resolve = resolve
        self._done = done
        self._left: list[Address] = []
        self._connecting: list[socket.socket] = []
        self._error: ConnectError | None = None  # None: a time-out
        self._timer: Timer | None = None
        self._until = 0.0
        self._is_busy = False  # the queue of a UNIX socket is full
        self._is_over = False

    def begin(self) -> socket.socket | None:
        """Begin. Returns the connection where it is made at once. Raises `ConnectError`."""
        target = self._target
        if target.path:
            self._left.append(Address(socket.AF_UNIX, target.socket_path))
        elif not target.is_name:
            self._left.append(_address(target.host, target.port))
        else:
            hosts = self._resolve(self._on_addresses)
            if hosts is None:
                self._error = ConnectError("unresolved", "the name was not resolved in time")
                self._start_timer()
                return None
            self._set_hosts(hosts)
        opened = self._open_next()
        if opened is None:
            self._start_timer()
        return opened

    def close(self) -> None:
        """End it: `done` is not called any more."""
        self._is_over = True
        self._stop_timer()
        for one in self._connecting:
            self._loop.unwatch(one.fileno())
            one.close()
        self._connecting.clear()

    def _start_timer(self) -> None:
        """Go on after a moment if there is another address, and end in time."""
        self._stop_timer()
        self._until = self._until or self._loop.now + self._timeout
        left = self._until - self._loop.now
        if self._left:
            left = min(left, _BUSY if self._is_busy else _DELAY)
        self._timer = self._loop.later(left, self._on_timer)

    def _stop_timer(self) -> None:
        if self._timer:
            self._loop.wheel.drop(self._timer)
            self._timer = None

    def _set_hosts(self, hosts: tuple[str, ...]) -> None:
        if not hosts:
            raise ConnectError("unresolved", f"{self._target.host} has no address")
        self._left.extend(interleaved(hosts, self._target.port))

    def _on_addresses(self, hosts: tuple[str, ...]) -> None:
        if not self._is_over:
            self._error = None
            self._go_on(hosts)

    def _on_timer(self) -> None:
        if self._loop.now >= self._until:
            self._end(self._error or ConnectError("timeout", "it did not answer in time"))
        else:
            self._go_on()

    def _go_on(self, hosts: tuple[str, ...] | None = None) -> None:
        """Try the next address, now that the ones before have failed or take long."""
        try:
            if hosts is not None:
                self._set_hosts(hosts)
            opened = self._open_next()
        except ConnectError as error:
            self._end(error)
        except MemoryError:
            self._end(ConnectError("no_resources", "ENOMEM"))
        else:
            if opened:
                self._end(opened)
            else:
                self._start_timer()

    def _end(self, result: socket.socket | ConnectError) -> None:
        self.close()
        self._done(result)

    def _open_next(self) -> socket.socket | None:
        """Call connect(2) for the next address: a connection that was made at once, or None. Raises `ConnectError`."""
        self._is_busy = False
        while self._left:
            address = self._left.pop(0)
            try:
                one = cast("socket.socket", socket.SocketType(address.family, _KIND))
            except OSError as error:
                raise ConnectError.of(error.errno or 0) from None
            try:
                number = self._connect(one, address)
            except ConnectError as error:
                one.close()
                self._error = error
                continue
            if number == 0:
                return one
            if number in _PENDING:
                self._connecting.append(one)
                self._loop.watch(one.fileno(), OUT, partial(self._on_connected, one))
                return None
            one.close()
            if number == errno.EAGAIN and address.family == socket.AF_UNIX:
                self._error = ConnectError("timeout", "its queue is full")
                self._is_busy = True
                self._left.insert(0, address)
                return None
            self._error = ConnectError.of(number)
        if self._error and not self._connecting:
            raise self._error
        return None

    def _connect(self, one: socket.socket, address: Address) -> int:
        """The error of connect(2); 0: the connection is made. Raises `ConnectError`: the socket cannot be bound."""
        if self._bind is not None and address.family != socket.AF_UNIX:
            try:
                one.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
                one.bind(numeric_sockaddr(self._bind, 0))
            except OSError as error:  # the address is of the other family, or not on this host
                raise ConnectError("error", _unbound(self._bind, error)) from None
        try:
            number = one.connect_ex(address.sockaddr)
            if number == errno.EINPROGRESS:
                number = one.connect_ex(address.sockaddr)  # on this host it is made by now
        except OSError as error:
            return error.errno or 0
        return number or self._error_of(one)

    def _error_of(self, one: socket.socket) -> int:
        """The error of a connection that was made, and yet leads to no other one; else 0.

        A socket is connected to itself where the kernel chose the port to which it connects (RFC 9293, 3.5).
        """
        target = self._target
        try:
            if target.port >= _LEAST_PORT:
                local = one.getsockname()
                if local[1] == target.port and local == one.getpeername():
                    return errno.ECONNREFUSED
            return OWN if target.is_name and self._is_own(one) else 0
        except OSError:  # the target has reset it by now, which its next use tells
            return 0

    def _on_connected(self, one: socket.socket, mask: int) -> None:
        """connect(2) has ended for one of the addresses."""
        number = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._loop.unwatch(one.fileno())
        self._connecting.remove(one)
        number = number or self._error_of(one)
        if number == 0:
            return self._end(one)
        one.close()
        self._error = ConnectError.of(number)
        self._go_on()
