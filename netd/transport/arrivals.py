"""Stops the arrivals at a socket that is about to be closed, so that nothing is in its queue when it is.

close(2) resets the connections in the queue of a listener, and discards datagrams. To serve the queue first does not
help: more may arrive before the close, as long as the socket is the best match for their destination. So the socket is
taken out of the kernel's search for a destination first, in all processes that have it. What arrives from then on goes
to another socket that matches, or is refused.
"""

import contextlib
import socket

_SO_BINDTOIFINDEX = 62  # asm-generic/socket.h; the socket module has it from Python 3.13 on
_NO_INTERFACE = 2**31 - 1  # an index that no interface has

HANDSHAKE = 1.0
"""Seconds after `stop_arrivals` in which a TCP handshake that was under way may be completed: time for a round trip."""


def stop_arrivals(opened: socket.socket) -> None:
    """Have the kernel deliver nothing more to a socket. Its queue stays, and datagrams can still be sent from it.

    Does nothing where the kernel does not allow it: for a TCP socket before Linux 5.7, or one that is bound to an
    interface, without CAP_NET_RAW; and for a UDP socket that is bound to a broadcast or multicast address.
    """
    with contextlib.suppress(OSError):
        if opened.family == socket.AF_UNIX:
            opened.shutdown(socket.SHUT_RD)  # unix(7): connect(2) fails, while accept(2) returns what is in the queue
        elif opened.type == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)
        else:
            # A connected UDP socket receives from its peer alone (udp(7)). This peer is the socket itself.
            opened.connect(opened.getsockname())
