"""Socket options that netd cannot serve with, and that an inherited datagram socket may have."""

import contextlib
import socket

# The socket module has none of these: asm-generic/socket.h, linux/in.h, linux/in6.h, linux/udp.h.
_SO_TIMESTAMP, _SO_TIMESTAMPING = 29, 37
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_UDP_CORK, _UDP_SEGMENT = 1, 103


def clear_options(opened: socket.socket) -> None:
    """Switch off time stamps, which a systemd socket unit may set, and options that only another program can have set.

    Time stamps come before the control messages that netd needs. An error queue that is not read wakes the loop
    repeatedly, and makes every ICMP message an error of the socket. A corked socket, or one that segments what it
    sends, does not send answers as they are.
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
        with contextlib.suppress(OSError):  # a kernel without the option has not set it
            opened.setsockopt(level, option, 0)
