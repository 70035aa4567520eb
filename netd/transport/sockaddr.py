"""Makes a `Peer` from the addresses and control messages of the kernel."""

import array
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from netd.addresses import host_text, is_link_local, is_non_unicast, unmap, unmap_host
from netd.peer import Credentials, Peer, Transport

_UCRED = struct.Struct("iII")
_SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module does not have it
_MOST_GROUPS = 256  # Python's getsockopt takes no more than 1,024 octets
_NONE = bytes(4)
OVERFLOW_USER = 65534
"""The user ID that stands for all those that the user namespace does not map (overflowuid, proc(5))."""
IP_PKTINFO = 8
"""The socket option and control message for the destination of a datagram (ip(7)). From linux/in.h; the socket module
does not have it."""
IN_PKTINFO = struct.Struct("=i4s4s")
"""struct in_pktinfo: interface, local address, destination address in the header."""
IN6_PKTINFO = struct.Struct("=16si")
"""struct in6_pktinfo: destination address in the header, interface."""
PACKET_INFO = {(socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)}
"""Level and type of both."""
_IP_PKTOPTIONS, _IPV6_PKTOPTIONS = 9, 6  # linux/in.h, linux/in6.h (IPV6_2292PKTOPTIONS)
_IP_RECVTTL = 12  # linux/in.h; the control message is IP_TTL
_CMSG = struct.Struct("@Nii")  # struct cmsghdr: length, level, type
_INT = struct.Struct("=i")
_TTL_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_RECVTTL, _IP_PKTOPTIONS),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, _IPV6_PKTOPTIONS),
}
"""By family of a socket: the level, the option that has the kernel tell the TTL or hop limit, and the one that gets it
of a TCP connection."""
_TTL = {(socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}
CONTROL = 512
"""Size of the buffer for control messages of a UDP datagram, in octets: enough for both of these after all others that
could be switched on."""


def inet_peer(transport: Transport, remote: Any, local: Any) -> Peer:
    """A peer from two socket addresses of IPv4 or IPv6; an IPv4 address mapped into IPv6 is IPv4."""
    # Connections of one source, or to one address, share these: each is a tenth of what an idle one takes.
    host, local_host = sys.intern(unmap_host(remote[0])), sys.intern(unmap_host(local[0]))
    return Peer(transport, host, remote[1], local_host, local[1])


def numeric_sockaddr(host: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """A numeric address as connect(2) takes it. The kernel needs the interface of a link-local one as a number, which
    Python does not take from the zone (fe80::1%eth0, RFC 4007). OSError: there is no such interface now.
    """
    address, _, zone = host.partition("%")
    if not zone:
        return host, port
    try:
        return address, port, 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
    except OSError:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV)) from None


class Sender(NamedTuple):
    """The source and destination of a UDP datagram. Addresses are octets, 4 or 16."""

    address: bytes
    port: int
    local: bytes
    """The address of this host that received it; empty where the kernel does not give it."""
    non_unicast: bool
    """Whether it was sent to a broadcast or multicast address."""
    interface: int = 0
    """The index of the interface that received it, where one of the two addresses is link-local; else 0."""
    ttl: int | None = None
    """The TTL or hop limit with which it has arrived, if the kernel tells it (`tell_ttl`)."""


def parse_sender(address: bytes, port: int, infos: Iterable[tuple[int, int, bytes]]) -> Sender:
    """The sender from its address and port, and from what ``infos`` has of control messages that say more of it."""
    address = unmap(address)
    local, non_unicast, interface, ttl = b"", False, 0, None
    for level, kind, data in infos:
        if (level, kind, len(data)) == (socket.IPPROTO_IP, IP_PKTINFO, IN_PKTINFO.size) and len(address) == 4:
            _, local, destination = IN_PKTINFO.unpack(data)
            local, non_unicast = sent_to(local, destination)
        elif (level, kind, len(data)) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, IN6_PKTINFO.size) and not local:
            destination, number = IN6_PKTINFO.unpack(data)
            if len(unmap(destination)) == len(address):
                local, non_unicast = sent_to(_NONE, unmap(destination))
                interface = number if is_link_local(local) or is_link_local(address) else 0
        elif (level, kind) in _TTL and len(data) == _INT.size:
            [ttl] = _INT.unpack(data)
    return Sender(address, port, local, non_unicast, interface, ttl)


def tell_ttl(opened: socket.socket, *, wanted: bool) -> None:
    """Have the kernel tell the TTL or hop limit of each datagram in a control message, or no longer."""
    families = (socket.AF_INET, socket.AF_INET6) if opened.family == socket.AF_INET6 else (socket.AF_INET,)
    for family in families:  # a socket of both families receives IPv4 too
        level, option, _ = _TTL_OPTIONS[family]
        opened.setsockopt(level, option, wanted)


def connection_ttl(connection: socket.socket) -> int | None:
    """The TTL or hop limit of the packet that ended the TCP handshake of a connection; None: it is not known."""
    level, option, get = _TTL_OPTIONS[connection.family]
    try:
        connection.setsockopt(level, option, 1)
        told = connection.getsockopt(level, get, 64)
    except OSError:  # MPTCP has no such option
        return None
    if len(told) < _CMSG.size + _INT.size or _CMSG.unpack_from(told)[1:] not in _TTL:
        return None
    ttl: int = _INT.unpack_from(told, _CMSG.size)[0]
    return ttl


def sent_to(local: bytes, destination: bytes) -> tuple[bytes, bool]:
    """The IPv4 address of this host that received a datagram, and whether that was sent to broadcast or multicast.

    ``local`` and ``destination`` are those of struct in_pktinfo. For a destination that is not an address of this host,
    the kernel gives one that is (ip(7)). For a datagram that it received before IP_PKTINFO was set, it gives none; then
    the destination is used.
    """
    if local != _NONE:
        return local, local != destination
    return destination, is_non_unicast(destination)


def sender_peer(sender: Sender, local_host: str, local_port: int) -> Peer:
    """The peer for a sender. ``local_host`` is used where the kernel gave no local address."""
    local = sys.intern(host_text(sender.local) if sender.local else local_host)
    return Peer("udp", host_text(sender.address), sender.port, local, local_port, ttl=sender.ttl)


def unix_peer(transport: Transport, remote: Any, local: Any, credentials: Credentials | None) -> Peer:
    """A peer from two UNIX socket addresses and the credentials that the kernel gave."""
    return Peer(transport, path_text(remote), 0, path_text(local), 0, credentials)


def connection_credentials(connection: socket.SocketType) -> Credentials:
    """The credentials of the peer of a UNIX connection (SO_PEERCRED, unix(7))."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def message_credentials(ancillary: Sequence[tuple[int, int, bytes]]) -> Credentials | None:
    """The credentials of the sender of a UNIX datagram, from its control messages (SCM_CREDENTIALS, unix(7)).

    None where there are none, or the kernel does not know them.
    """
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS) and len(data) >= _UCRED.size:
            credentials = Credentials(*_UCRED.unpack(data[: _UCRED.size]))
            # The kernel gives these for a datagram that it received before SO_PASSCRED was set.
            return None if (credentials.pid, credentials.uid) == (0, OVERFLOW_USER) else credentials
    return None


def connection_groups(connection: socket.socket, credentials: Credentials) -> Sequence[int]:
    """All groups of the peer of a UNIX connection, as they were when it connected (SO_PEERGROUPS, Linux 4.13).

    Only the first one for a peer with more than 256 supplementary groups, and on an older kernel.
    """
    groups = array.array("I", [credentials.gid])
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS))
    except OSError:
        pass
    return groups


def path_text(address: Any) -> str:
    """A UNIX socket address as text: a path, ``@NAME`` for an abstract one, empty for none."""
    if isinstance(address, bytes):
        return address.decode("utf-8", "backslashreplace").replace("\0", "@", 1)
    return str(address or "")
