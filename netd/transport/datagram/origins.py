"""From where an answer to a UDP datagram leaves: from the address that was asked, as long as it is one of this host.

The control messages that came with a question are not those of its answer: the kernel would take a time to live or a
type of service among them for an order. So what goes with an answer is made anew from what is known of the sender.
"""

import errno
import socket
from typing import Any

from netd.addresses import is_link_local, is_non_unicast, map_to_ipv6
from netd.transport.sockaddr import IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender

Control = list[tuple[int, int, bytes]]

NOT_FROM_THERE = {errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENODEV}
"""What the kernel says, among other occasions, when an answer cannot leave from the address that was asked, or no more.

For an IPv4 address that is not this host's, it is that there is no way to the network.
"""


def origin(sender: Sender, family: int) -> Control:
    """What has an answer leave from the address that was asked, on a socket of this family.

    Nothing where that is not known, or is one of many. To answer through the interface the question came by would go
    past the routing table, so it is named for a link-local address alone, which means nothing without (RFC 4007, 6).
    """
    if not sender.local or is_non_unicast(sender.local):
        return []
    if family == socket.AF_INET:
        return [(socket.IPPROTO_IP, IP_PKTINFO, IN_PKTINFO.pack(0, sender.local, sender.local))]
    interface = sender.interface if is_link_local(sender.local) else 0
    return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, IN6_PKTINFO.pack(map_to_ipv6(sender.local), interface))]


def send_from(opened: Any, data: bytes, control: Any, address: Any) -> None:
    """Send a datagram with these control messages; or, where its origin is none, from what the kernel chooses."""
    try:
        opened.sendmsg([data], control, socket.MSG_DONTWAIT, address)
    except OSError as error:
        if not control or error.errno not in NOT_FROM_THERE:
            raise
        opened.sendmsg([data], [], socket.MSG_DONTWAIT, address)
