"""Pumps: one direction of a stream, to the socket that its octets are sent to."""

from netd.transport.stream.stream_socket import StreamSocket


class Pump:
    """What is on its way to one socket: at most one piece, of which the kernel has not taken all yet.

    Nothing is received while it holds something. So a peer that does not read holds up the sender, and no memory fills.
    The socket is an argument, since what stands before a socket may change, as when a trace begins. Its OSErrors are
    raised, and then what was pending still is.
    """

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending: bytes | memoryview = b""
        """Octets that wait for room."""

    def flush(self, sink: StreamSocket) -> int:
        """Send of what is pending as much as there is room for: how many octets. BlockingIOError: there is none."""
        sent = sink.send(self.pending)
        self.pending = self.pending[sent:] or b""
        return sent
