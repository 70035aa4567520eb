"""Pumps: one direction of a stream, from where its octets come to the socket that they are sent to."""

from socket import SHUT_WR

from netd.transport.stream.stream_socket import CHUNK, StreamSocket


class Pump:
    """What is on its way to one socket: at most one piece, of which the kernel has not taken all yet.

    It receives nothing while it holds something. So a peer that does not read holds up the sender, and no memory fills.
    The sockets are arguments, since what stands before a socket may change, as when a trace begins. Their OSErrors are
    raised, and then what was pending still is.
    """

    # Of the class until they change, which for most connections is never: so a pump costs them next to nothing.
    pending: bytes | memoryview = b""
    """Octets that wait for room."""
    ended: bool = False
    """Whether the source has finished, and the sink was shut down for that (shutdown(2))."""

    def flush(self, sink: StreamSocket) -> int:
        """Send of what is pending as much as there is room for: how many octets. BlockingIOError: there is none."""
        sent = sink.send(self.pending)
        self.pending = self.pending[sent:] or b""
        return sent

    def move(self, source: StreamSocket, sink: StreamSocket) -> tuple[int, int]:
        """Send what is pending, or else up to `CHUNK` octets more: how many were received and sent.

        At the end of file the sink is shut down for sending, so that its peer reads an end of file too (`ended`). Both
        numbers are 0 then, and only then. BlockingIOError: nothing can be moved before there is input, or room.
        """
        if self.pending:
            return 0, self.flush(sink)
        data = source.recv(CHUNK)
        if not data:
            sink.shutdown(SHUT_WR)
            self.ended = True
            return 0, 0
        try:
            sent = sink.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.pending = memoryview(data)[sent:]
        return len(data), sent
