"""The source address of an answer over UDP: the destination of the question, if that is an address of this host.

The control messages of a question must not be sent with its answer: the kernel would set a time to live or a type of
service among them on the answer. So those of the answer are made anew from the `Sender`.
"""

import errno
import socket
from functools import lru_cache
from typing import Any

from netd.addresses import host_text, is_link_local, is_non_unicast, map_to_ipv6, pack_address
from netd.transport.sockaddr import IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender

Control = list[tuple[int, int, bytes]]

NOT_FROM_THERE = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENODEV}
"""Errors of sendmsg(2) if the source address is not, or no longer, one of this host; for IPv4 it is ENETUNREACH. They
have other causes too.
"""


def origin(sender: Sender, family: int) -> Control:
    """The control messages that set the source address of an answer, on a socket of this family.

    Empty if the local address is unknown, or broadcast or multicast. The interface of the question is set for a
    link-local address alone, which is ambiguous without it (RFC 4007, 6): for others it would bypass the routing table.
    """
    interface = sender.interface if family == socket.AF_INET6 and is_link_local(sender.local) else 0
    return _origin(sender.local, interface, family)


@lru_cache(64)  # answers to all senders leave from a few addresses
def _origin(local: bytes, interface: int, family: int) -> Control:
    if not local or is_non_unicast(local):
        return []
    if family == socket.AF_INET:
        return [(socket.IPPROTO_IP, IP_PKTINFO, IN_PKTINFO.pack(0, local, local))]
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, IN6_PKTINFO.pack(map_to_ipv6(local), interface))]


def only_address(opened: socket.socket) -> bytes | None:
    """The unicast address to which a UDP socket is bound: all its datagrams come there, and its answers leave there.

    None: it is bound to all addresses, or to one that is not unicast, needs an interface, or is not of this host.
    """
    host, port = opened.getsockname()[:2]
    address = pack_address(host)
    if not any(address) or is_non_unicast(address) or is_link_local(address):
        return None
    try:
        with socket.socket(opened.family, socket.SOCK_DGRAM) as other:
            other.bind((host, 0))
            other.connect((host, port))  # EACCES: a broadcast address. Nothing is sent.
    except OSError:
        return None
    return address


def address_of(sender: Sender, family: int) -> Any:
    """The address of a sender, as the socket module takes it for a socket of this family."""
    if family == socket.AF_INET:
        return host_text(sender.address), sender.port
    interface = sender.interface if is_link_local(sender.address) else 0
    return host_text(map_to_ipv6(sender.address)), sender.port, 0, interface


def send_from(opened: Any, data: bytes, control: Any, address: Any) -> None:
    """Send a datagram with these control messages, or without if their source address is not of this host."""
    try:
        opened.sendmsg([data], control, socket.MSG_DONTWAIT, address)
    except OSError as error:
        if not control or error.errno not in NOT_FROM_THERE:
            raise
        opened.sendmsg([data], [], socket.MSG_DONTWAIT, address)
