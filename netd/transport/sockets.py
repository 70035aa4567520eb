"""Opening what services listen on: from an `Endpoint` to bound sockets, or one clear line why not.

Opening and serving are apart, so that whoever serves takes any socket, opened here or handed over.
"""

import contextlib
import errno
import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from netd.conversation import address_text
from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.transport.peers import plain_host

_IP_FREEBIND = 15  # linux/in.h; the socket module does not have it
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

Skipped = Callable[[str, str, str], None]
"""Hears ``(service, url, error)`` of an address behind a host name that this host does not have."""


@dataclass
class Listener:
    """An open socket of a service."""

    service: str
    endpoint: Endpoint
    socket: socket.socket
    pin: int | None = None
    """A descriptor (O_PATH) of the path it made: while it is open, no other file can look the same."""

    @property
    def url(self) -> str:
        """Where it listens, with the address and port the kernel gave it."""
        address = self.socket.getsockname()
        if self.endpoint.path:
            return f"{self.endpoint.transport}://{self.endpoint.path}"
        host = "*" if self.endpoint.host == "*" else plain_host(address[0])
        return f"{self.endpoint.transport}://{address_text(host, address[1])}"

    def close(self) -> None:
        """Close the socket, and remove its path if it is still the one that was made."""
        self.socket.close()
        if self.pin is not None:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(self.pin), os.lstat(self.endpoint.path)):
                    os.unlink(self.endpoint.path)
            os.close(self.pin)
            self.pin = None


def open_listeners(wanted: Iterable[tuple[str, Endpoint]], skipped: Skipped) -> list[Listener]:
    """The sockets of these services' endpoints; or `OpenError` with a line for each that failed, and none open."""
    listeners: list[Listener] = []
    problems: list[str] = []
    for service, endpoint in wanted:
        try:
            listeners += _open(service, endpoint, skipped)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            problems.append(f"services.{service}: cannot listen on {endpoint}: {reason}{_advice(error, endpoint)}")
    if problems:
        for listener in listeners:
            listener.close()
        raise OpenError(problems)
    return listeners


def _open(service: str, endpoint: Endpoint, skipped: Skipped) -> list[Listener]:
    if endpoint.path:
        return [_open_path(service, endpoint)]
    if endpoint.host == "*":
        try:
            return [Listener(service, endpoint, _open_inet(endpoint, socket.AF_INET6, "::", endpoint.port, dual=True))]
        except OSError as error:
            if error.errno not in _NOT_HERE:  # a host without IPv6 has one of these to say
                raise
        return [Listener(service, endpoint, _open_inet(endpoint, socket.AF_INET, "0.0.0.0", endpoint.port))]
    return _open_name(service, endpoint, skipped)


def _open_name(service: str, endpoint: Endpoint, skipped: Skipped) -> list[Listener]:
    """One socket for an address, and for a name one for each of its addresses that this host has."""
    kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
    found = socket.getaddrinfo(endpoint.host.encode(), endpoint.port, type=kind, flags=socket.AI_PASSIVE)
    listeners: list[Listener] = []
    failures: list[tuple[str, OSError]] = []
    for family, _, _, _, address in dict.fromkeys(found):
        # All addresses of a name get one port, also when the kernel chooses it.
        port = listeners[0].socket.getsockname()[1] if listeners else endpoint.port
        try:
            listeners.append(
                Listener(service, endpoint, _open_inet(endpoint, family, *address[:1], port, *address[2:]))
            )
        except OSError as error:
            failures.append((str(address[0]), error))
    for host, failure in failures:
        if failure.errno not in _NOT_HERE or not listeners:
            for listener in listeners:
                listener.close()
            raise failure
        skipped(service, endpoint.at(host, endpoint.port), str(failure.strerror))
    return listeners


def _open_inet(endpoint: Endpoint, family: int, host: str, port: int, *scope: int, dual: bool = False) -> socket.socket:
    options = endpoint.options
    opened = socket.socket(family, socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        if endpoint.streams:
            # What is set here, every accepted connection inherits (tcp(7)).
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, options.nodelay)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, options.keepalive)
            # Urgent data is data here: an octet taken out of line would be lost, and holds up splice(2).
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        if options.reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if options.freebind:
            opened.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        if options.device:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.device.encode())
        _set_buffers(opened, endpoint)
        opened.bind((host, port, *scope))
        if endpoint.streams:
            opened.listen(options.backlog)
    except BaseException:
        opened.close()
        raise
    return opened


def _set_buffers(opened: socket.socket, endpoint: Endpoint) -> None:
    if endpoint.options.rcvbuf is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, endpoint.options.rcvbuf)
    if endpoint.options.sndbuf is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, endpoint.options.sndbuf)


def _open_path(service: str, endpoint: Endpoint) -> Listener:
    options, path = endpoint.options, endpoint.path
    owner, group = _number(options.owner, _user), _number(options.group, _group)
    kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
    opened = socket.socket(socket.AF_UNIX, kind)
    listener = Listener(service, endpoint, opened)
    try:
        _set_buffers(opened, endpoint)
        if path.startswith("@"):
            opened.bind("\0" + path[1:])
        else:
            _remove_stale(path, kind)
            # Nobody may connect before owner and mode are what they should be.
            umask = os.umask(0o777)
            try:
                opened.bind(path)
            finally:
                os.umask(umask)
            listener.pin = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            if owner != -1 or group != -1:
                os.chown(path, owner, group)
            os.chmod(path, options.mode)
        if endpoint.streams:
            opened.listen(options.backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: str, kind: int) -> None:
    """Remove a socket that nobody listens on any more; never any other kind of file, nor one in use."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ValueError("there is a file in its place that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except PermissionError:
            raise
        except OSError:
            pass  # full, or of the other kind: somebody is there
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _number(name: str | None, find: Callable[[str], int]) -> int:
    """The number of a user or group, given as name or number; -1, which changes nothing, for none."""
    if name is None:
        return -1
    return int(name) if name.isdigit() else find(name)


def _user(name: str) -> int:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ValueError(f"there is no user '{name}'") from None


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ValueError(f"there is no group '{name}'") from None


def _advice(error: Exception, endpoint: Endpoint) -> str:
    """What to do about it."""
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
