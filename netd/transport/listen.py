"""Opens the sockets that services listen on: from an `Endpoint` to bound sockets, or to one line with the reason.

Opening and serving are apart, so that a server takes any socket, opened here or inherited. An inherited socket
(`netd.transport.activation`) is used before a new one is opened.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable, Generator, Iterable
from typing import Any

from netd import accounts, paths
from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.steps import finish
from netd.transport.activation import Inherited, Place
from netd.transport.advice import advice
from netd.transport.listener import Listener
from netd.transport.sockaddr import IP_PKTINFO

_IP_FREEBIND = 15  # linux/in.h; the socket module does not have it
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

BeforeBind = Callable[[str, socket.socket], None]
"""Called with the service and a new socket before it is bound, for what has to hold from its first packet on. It raises
OSError or ValueError if the socket is not to be opened."""
Skipped = Callable[[str, str, str], None]
"""Called with ``(service, url, error)``, for example for an address of a host name that this host does not have."""


def open_listeners(
    wanted: Iterable[tuple[str, Endpoint]],
    skipped: Skipped,
    inherited: Inherited | None = None,
    yielding: Iterable[Listener] = (),
) -> list[Listener]:
    """Open the endpoints of services. Raises `OpenError` with a line for each that failed, and then leaves none open.

    Sockets in ``inherited`` are used first. ``yielding`` are sockets that are about to be closed: one with the address
    of an endpoint is used again, in a new `Listener`; others do not conflict with a new socket on an overlapping
    address.
    """
    return finish(opening(wanted, skipped, lambda *failed: None, inherited or Inherited(), yielding))


def opening(
    wanted: Iterable[tuple[str, Endpoint]],
    skipped: Skipped,
    failed: Skipped,
    inherited: Inherited,
    yielding: Iterable[Listener],
    before_bind: BeforeBind = lambda service, opened: None,
) -> Generator[None, None, list[Listener]]:
    """As `open_listeners`, in steps: yields after each endpoint. Closing the generator early closes what it opened.

    ``failed`` is called for an inherited socket that is used although netd may not set the owner and mode of its file.
    """
    listeners: list[Listener] = []
    problems: list[str] = []
    opener = _Opener(skipped, failed, inherited, list(yielding), before_bind)
    try:
        for service, endpoint in wanted:
            try:
                listeners += opener.open(service, endpoint)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                remedy = advice(error, endpoint)
                problems.append(f"{subject(service, endpoint)}: cannot listen on {endpoint}: {reason}{remedy}")
            yield
        if problems:
            raise OpenError(problems)
    except BaseException:
        opener.discard(listeners)
        raise
    return listeners


def subject(service: str, endpoint: Endpoint) -> str:
    """The beginning of an error of an endpoint: its place and key in the config, else its service."""
    return (
        f"{endpoint.place}: services.{service}.listen[{endpoint.number}]" if endpoint.place else f"services.{service}"
    )


class _Opener:
    """Opens endpoints one by one."""

    def __init__(
        self,
        skipped: Skipped,
        failed: Skipped,
        inherited: Inherited,
        yielding: list[Listener],
        before_bind: BeforeBind,
    ) -> None:
        self._before_bind = before_bind
        self._skipped = skipped
        self._failed = failed
        self._inherited = inherited
        self._yielding = {Place.of(listener.socket): listener for listener in yielding if not listener.endpoint.name}
        self._in_force = {listener.socket for listener in yielding}

    def discard(self, listeners: list[Listener]) -> None:
        """Close listeners after a failure, except those with a socket of ``yielding``, which stays in force."""
        for listener in listeners:
            if listener.socket not in self._in_force:
                listener.close()

    def open(self, service: str, endpoint: Endpoint) -> list[Listener]:
        """The sockets of one endpoint. Raises OSError or ValueError with the reason why there is none."""
        if endpoint.name:
            handed = self._inherited.dup_named(endpoint.name)
            if not handed:
                raise ValueError(f"the service manager passed no socket named '{endpoint.name}'")
            for opened in handed:
                if opened.type == socket.SOCK_DGRAM:
                    ask_for_senders(opened)
            return [Listener(service, endpoint, opened) for opened in handed]
        if endpoint.path:
            return [self._path(service, endpoint)]
        if endpoint.host == "*":
            try:
                return [self._inet(service, endpoint, socket.AF_INET6, ("::", endpoint.port), dual=True)]
            except OSError as error:
                if error.errno not in _NOT_HERE:  # a host without IPv6 reports one of these
                    raise
            return [self._inet(service, endpoint, socket.AF_INET, ("0.0.0.0", endpoint.port))]
        return self._name(service, endpoint)

    def _name(self, service: str, endpoint: Endpoint) -> list[Listener]:
        """One socket for an address; for a host name, one for each of its addresses that this host has."""
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        found = socket.getaddrinfo(endpoint.host.encode(), endpoint.port, type=kind, flags=socket.AI_PASSIVE)
        listeners: list[Listener] = []
        failures: list[tuple[str, OSError]] = []
        for family, _, _, _, address in dict.fromkeys(found):
            # All addresses of a name get the same port, also when the kernel chooses it.
            port = listeners[0].socket.getsockname()[1] if listeners else endpoint.port
            try:
                listeners.append(self._inet(service, endpoint, family, (str(address[0]), port, *address[2:])))
            except OSError as error:
                failures.append((str(address[0]), error))
        for host, failure in failures:
            if failure.errno not in _NOT_HERE or not listeners:
                self.discard(listeners)
                try:
                    raise failure
                finally:  # its traceback has this frame: they would keep each other, and the config that is refused
                    del failures, failure
            self._skipped(service, endpoint.at(host, endpoint.port), str(failure.strerror))
        return listeners

    def _inet(
        self, service: str, endpoint: Endpoint, family: int, address: tuple[Any, ...], *, dual: bool = False
    ) -> Listener:
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        options = endpoint.options
        place = Place.at(family, kind, address, dual=dual, device=options.device)
        if bound := self._yielding.pop(place, None):
            return Listener(service, endpoint, bound.socket, kept=bound.kept)
        if kept := self._inherited.pop_kept(place):
            listener = Listener(service, endpoint, kept.socket, kept=kept.name)
            if not endpoint.streams:
                ask_for_senders(kept.socket)
            configure(listener, endpoint)
            return listener
        try:
            opened = socket.socket(family, kind)
        except PermissionError as error:  # a system call filter forbids the family
            raise OSError(errno.EAFNOSUPPORT, error.strerror) from error
        listener = Listener(service, endpoint, opened)
        try:
            if not endpoint.streams:
                ask_for_senders(opened)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
            if endpoint.streams:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if options.reuse_port:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if options.freebind:
                opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            if options.device:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.device.encode())
            self._before_bind(service, opened)
            self._bind(listener, address)
            configure(listener, endpoint)
        except BaseException:
            listener.close()
            raise
        return listener

    def _bind(self, listener: Listener, address: tuple[Any, ...]) -> None:
        """Bind and listen. The kernel checks for conflicts at both."""
        try:
            _claim(listener, address)
        except OSError as error:
            ours = [
                other.socket
                for other in self._yielding.values()
                if other.streams == listener.streams and other.endpoint.port == listener.endpoint.port != 0
            ]
            if error.errno != errno.EADDRINUSE or not ours:
                raise
            # Sockets may overlap if all of them have SO_REUSEPORT (socket(7)), which they need only until listen(2).
            sharing = [listener.socket, *ours]
            before = [one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) for one in sharing]
            for one in sharing:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            try:
                _claim(listener, address)
            finally:
                for one, value in zip(sharing, before, strict=True):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, value)

    def _path(self, service: str, endpoint: Endpoint) -> Listener:
        path = endpoint.path
        address = "\0" + path[1:] if path.startswith("@") else path
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        kept = self._inherited.pop_kept(Place.at(socket.AF_UNIX, kind, address))
        file = paths.bound_file(kept.socket, path, new=False) if kept and address == path else None
        if kept and address == path and not file:  # without its path, no client can reach the socket
            self._inherited.put_back(kept)
            kept = None
        listener = Listener(service, endpoint, kept.socket if kept else socket.socket(socket.AF_UNIX, kind), file)
        listener.kept = kept.name if kept else ""
        try:
            if not endpoint.streams:
                ask_for_senders(listener.socket)
            if not kept and address != path:
                listener.socket.bind(address)
            elif not kept:
                _remove_stale(path, kind)
                # No client may connect before owner and mode are set.
                umask = os.umask(0o777)
                try:
                    listener.socket.bind(path)
                finally:
                    os.umask(umask)
                try:
                    listener.file = paths.bound_file(listener.socket, path, new=True)
                    if not listener.file:
                        raise ValueError("another file has taken its place")
                except BaseException:
                    paths.remove_bound(listener.socket)  # bind(2) follows the name, which may lead elsewhere by now
                    raise
            try:
                configure(listener, endpoint)
            except PermissionError as error:
                if not kept:
                    raise
                self._failed(service, str(endpoint), str(error.strerror))  # a reload does the same
        except BaseException:
            listener.close()
            raise
        return listener


def ask_for_senders(opened: socket.socket) -> None:
    """Have the kernel add the destination address to each datagram (IP_PKTINFO), or over UNIX the credentials."""
    if opened.family == socket.AF_UNIX:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        return
    opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def _claim(listener: Listener, address: tuple[Any, ...]) -> None:
    listener.socket.bind(address)
    if listener.streams:
        listener.socket.listen(listener.endpoint.options.backlog)


def configure(listener: Listener, endpoint: Endpoint) -> None:
    """Set all options that a bound socket can change, and make it listen."""
    opened, options = listener.socket, endpoint.options
    listener.endpoint = endpoint
    if endpoint.name:
        return  # its unit sets the options
    if endpoint.socket_transport == "tcp":
        # Every accepted connection inherits these (tcp(7)).
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.nodelay)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive)
        # Urgent data is received in line: out of line, its octet would be lost, and stops splice(2).
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if opened.family != socket.AF_UNIX:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, options.reuse_port)
    if options.rcvbuf is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options.rcvbuf)
    if options.sndbuf is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, options.sndbuf)
    if listener.file:
        owner = -1 if options.owner is None else accounts.find_id("uid", options.owner)
        group = -1 if options.group is None else accounts.find_id("gid", options.group)
        listener.file.change(owner, group, options.mode)
    if endpoint.streams:
        opened.listen(options.backlog)


def _remove_stale(path: str, kind: int) -> None:
    """Remove a stale socket file: never another kind of file, nor a socket that a program listens on."""
    found = paths.open_path(path)
    if found is None:
        return
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise ValueError("there is a file in its place that is not a socket")
        there = paths.proc_path(found)
        with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(there)
            except ConnectionRefusedError:
                paths.remove(path, found)
                return
            except PermissionError:
                raise
            except OSError:
                pass  # its queue is full, or it has another type: a program has it
    finally:
        os.close(found)
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
