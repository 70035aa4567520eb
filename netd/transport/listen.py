"""Opening what services listen on: from an `Endpoint` to bound sockets, or one clear line why not.

Opening and serving are apart, so that whoever serves takes any socket, opened here or handed over. What was open before
(`netd.transport.activation`) is taken before anything is opened.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from netd import accounts, paths
from netd.addresses import address_text, unmap_host
from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.peer import Transport
from netd.transport.activation import Inherited
from netd.transport.sockaddr import IP_PKTINFO, path_text

_IP_FREEBIND = 15  # linux/in.h; the socket module does not have it
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

T = TypeVar("T")

Skipped = Callable[[str, str, str], None]
"""Hears ``(service, url, error)`` of an address behind a host name that this host does not have."""


@dataclass
class Listener:
    """An open socket of a service."""

    service: str
    endpoint: Endpoint
    socket: socket.socket
    file: paths.SocketFile | None = None
    """What it made in its path, if it has one."""
    kept: str = ""
    """The name under which the service manager keeps it for the next start, if it does."""

    @property
    def streams(self) -> bool:
        """Whether connections come here, rather than datagrams."""
        return self.socket.type == socket.SOCK_STREAM

    @property
    def transport(self) -> Transport:
        """What comes here: that of the socket, also where the endpoint names one of the service manager's."""
        return transport_of(self.socket)

    @property
    def url(self) -> str:
        """Where it listens, with the address and port the kernel gave it."""
        url = socket_url(self.socket)
        if self.endpoint.host == "*":
            return f"{self.transport}://*:{url.rpartition(':')[2]}"
        return url

    def close(self, *, keep_path: bool = False) -> None:
        """Close the socket, and remove its path if it is still the one that was made."""
        self.socket.close()
        if self.file:
            self.file.close(keep=keep_path)
            self.file = None


def transport_of(opened: socket.socket) -> Transport:
    """What comes to a socket."""
    streams = opened.type == socket.SOCK_STREAM
    if opened.family == socket.AF_UNIX:
        return "unix" if streams else "unixgram"
    return "tcp" if streams else "udp"


def socket_url(opened: socket.socket) -> str:
    """Where a socket is bound."""
    address = opened.getsockname()
    unix = opened.family == socket.AF_UNIX
    place = path_text(address) if unix else address_text(unmap_host(address[0]), address[1])
    return f"{transport_of(opened)}://{place}"


def open_listeners(
    wanted: Iterable[tuple[str, Endpoint]],
    skipped: Skipped,
    inherited: Inherited | None = None,
    yielding: Iterable[Listener] = (),
) -> list[Listener]:
    """The sockets of these services' endpoints; or `OpenError` with a line for each that failed, and none open.

    What ``inherited`` holds is taken first. ``yielding`` are sockets that are about to be closed: they do not stand in
    the way of a new one whose address takes theirs in.
    """
    return finish(opening(wanted, skipped, lambda *failed: None, inherited or Inherited(), yielding))


def opening(
    wanted: Iterable[tuple[str, Endpoint]],
    skipped: Skipped,
    failed: Skipped,
    inherited: Inherited,
    yielding: Iterable[Listener],
) -> Generator[None, None, list[Listener]]:
    """As `open_listeners`, in pieces: yields after each endpoint. What was opened is closed if it is not finished.

    ``failed`` hears of an inherited socket that serves as it is, since netd may not give its path owner and mode.
    """
    listeners: list[Listener] = []
    problems: list[str] = []
    opener = _Opener(skipped, failed, inherited, list(yielding))
    try:
        for service, endpoint in wanted:
            try:
                listeners += opener.open(service, endpoint)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                problems.append(f"services.{service}: cannot listen on {endpoint}: {reason}{advice(error, endpoint)}")
            yield
        if problems:
            raise OpenError(problems)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def finish(work: Generator[None, None, T]) -> T:
    """Do all pieces of some work at once: what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: T = end.value
            return value


class _Opener:
    """Opens endpoints one after the other."""

    def __init__(self, skipped: Skipped, failed: Skipped, inherited: Inherited, yielding: list[Listener]) -> None:
        self._skipped = skipped
        self._failed = failed
        self._inherited = inherited
        self._yielding = yielding

    def open(self, service: str, endpoint: Endpoint) -> list[Listener]:
        """The sockets of one endpoint. OSError or ValueError says why there is none."""
        if endpoint.name:
            handed = self._inherited.dup_named(endpoint.name)
            if not handed:
                raise ValueError(f"the service manager handed over no socket named '{endpoint.name}'")
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
                if error.errno not in _NOT_HERE:  # a host without IPv6 has one of these to say
                    raise
            return [self._inet(service, endpoint, socket.AF_INET, ("0.0.0.0", endpoint.port))]
        return self._name(service, endpoint)

    def _name(self, service: str, endpoint: Endpoint) -> list[Listener]:
        """One socket for an address, and for a name one for each of its addresses that this host has."""
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        found = socket.getaddrinfo(endpoint.host.encode(), endpoint.port, type=kind, flags=socket.AI_PASSIVE)
        listeners: list[Listener] = []
        failures: list[tuple[str, OSError]] = []
        for family, _, _, _, address in dict.fromkeys(found):
            # All addresses of a name get one port, also when the kernel chooses it.
            port = listeners[0].socket.getsockname()[1] if listeners else endpoint.port
            try:
                listeners.append(self._inet(service, endpoint, family, (str(address[0]), port, *address[2:])))
            except OSError as error:
                failures.append((str(address[0]), error))
        for host, failure in failures:
            if failure.errno not in _NOT_HERE or not listeners:
                for listener in listeners:
                    listener.close()
                raise failure
            self._skipped(service, endpoint.at(host, endpoint.port), str(failure.strerror))
        return listeners

    def _inet(
        self, service: str, endpoint: Endpoint, family: int, address: tuple[Any, ...], *, dual: bool = False
    ) -> Listener:
        kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
        if kept := self._inherited.pop_kept(family, kind, address, dual=dual):
            listener = Listener(service, endpoint, kept.socket, kept=kept.name)
            if not endpoint.streams:
                ask_for_senders(kept.socket)
            configure(listener, endpoint)
            return listener
        options = endpoint.options
        opened = socket.socket(family, kind)
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
            self._bind(listener, address)
            configure(listener, endpoint)
        except BaseException:
            listener.close()
            raise
        return listener

    def _bind(self, listener: Listener, address: tuple[Any, ...]) -> None:
        """Bind and listen. The kernel looks for conflicts at both."""
        try:
            _claim(listener, address)
        except OSError as error:
            ours = [
                other.socket
                for other in self._yielding
                if other.streams == listener.streams and other.endpoint.port == listener.endpoint.port != 0
            ]
            if error.errno != errno.EADDRINUSE or not ours:
                raise
            # Sockets that all share their port may overlap (socket(7)), and need to say so only until it is done.
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
        kept = self._inherited.pop_kept(socket.AF_UNIX, kind, address)
        file = paths.bound_file(kept.socket, path, new=False) if kept and address == path else None
        if kept and address == path and not file:  # a socket whose path is gone cannot be reached
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
                # Nobody may connect before owner and mode are what they should be.
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
                    paths.remove_bound(listener.socket)  # bind(2) goes by name, and may have been led elsewhere
                    raise
            try:
                configure(listener, endpoint)
            except PermissionError as error:
                if not kept:
                    raise
                self._failed(service, str(endpoint), str(error.strerror))  # as at a reload
        except BaseException:
            listener.close()
            raise
        return listener


def ask_for_senders(opened: socket.socket) -> None:
    """Have the kernel note with each datagram where it was sent to, or over UNIX who sent it, from now on."""
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
    """Give a bound socket all options that can change while it is, and have it listen."""
    opened, options = listener.socket, endpoint.options
    listener.endpoint = endpoint
    if endpoint.name:
        return  # the service manager's unit says what it is
    if endpoint.transport == "tcp":
        # What is set here, every accepted connection inherits (tcp(7)).
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.nodelay)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive)
        # Urgent data is data here: an octet taken out of line would be lost, and holds up splice(2).
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
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
    """Remove a socket that nobody listens on any more; never any other kind of file, nor one in use."""
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
                pass  # full, or of the other kind: a program is there
    finally:
        os.close(found)
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def advice(error: Exception, endpoint: Endpoint) -> str:
    """What to do about an endpoint that cannot be opened; empty where that is plain."""
    code = error.errno if isinstance(error, OSError) else None
    directory = os.path.dirname(endpoint.path)
    match code:
        case errno.EADDRINUSE if endpoint.path:
            return "; another program listens there"
        case errno.EADDRINUSE:
            return f"; see which program has it: ss -{'t' if endpoint.streams else 'u'}lnp 'sport = :{endpoint.port}'"
        case errno.EACCES if not endpoint.path and endpoint.port < 1024:
            return "; a port below 1024 needs root or CAP_NET_BIND_SERVICE (capabilities(7))"
        case errno.EADDRNOTAVAIL:
            return "; this host has no such address (see: ip address); freebind=on binds it all the same"
        case errno.EINVAL if endpoint.host.startswith("fe80"):
            return "; a link-local address needs its interface, as in [fe80::1%eth0]"
        case errno.ENODEV:
            return f"; there is no interface '{endpoint.options.device}' (see: ip link)"
        case errno.ENOENT if endpoint.path:
            return f"; make the directory {directory} first"
        case errno.EACCES | errno.EPERM if endpoint.path:
            return f"; {directory} and its owner must let this user write there, and only root gives files away"
        case socket.EAI_NONAME:
            return "; name an address, or see that the name resolves on this host"
    return ""
