"""Options that were set on a datagram socket before it was handed over, and with which netd cannot serve."""

import contextlib
import socket

# The socket module has none of these: asm-generic/socket.h, linux/in.h, linux/in6.h, linux/udp.h.
_SO_TIMESTAMP, _SO_TIMESTAMPING = 29, 37
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_UDP_CORK, _UDP_SEGMENT = 1, 103


def clear_options(opened: socket.socket) -> None:
    """Switch these off: time stamps, of which systemd has a setting, and what only another program could have set.

    Time stamps come before the control messages that netd asks for. An error queue that is not read wakes the loop
    again and again, and lets any ICMP message be an error of the socket. A corked socket, or one that cuts what it
    sends into segments, sends no answer as it is.
    """
    options = [(socket.SOL_SOCKET, _SO_TIMESTAMP), (socket.SOL_SOCKET, _SO_TIMESTAMPING)]
    if opened.family != socket.AF_UNIX:
        options += [
            (socket.IPPROTO_IP, _IP_RECVERR),
            (socket.IPPROTO_UDP, _UDP_CORK),
            (socket.IPPROTO_UDP, _UDP_SEGMENT),
        ]
    if opened.family == socket.AF_INET6:
        options.append((socket.IPPROTO_IPV6, _IPV6_RECVERR))
    for level, option in options:
        with contextlib.suppress(OSError):  # a kernel that does not know it has not set it
            opened.setsockopt(level, option, 0)
