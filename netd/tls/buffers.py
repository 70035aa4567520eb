"""The buffers through which OpenSSL receives and sends: one pair for all connections of one context.

Each connection puts in what it has received, and takes out what is left, within one call. So an idle connection keeps
no buffer, nor one after bulk: OpenSSL's own never shrink, and keep 2 KB for a handshake.
"""

import ssl


class Buffers:
    """A pair of buffers, for connections that are all served by one thread."""

    __slots__ = ("incoming", "outgoing")

    def __init__(self) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    def put(self, received: bytes) -> None:
        """Put in what a connection has received. What another one left there, as where memory ran out, is dropped."""
        self.clear()
        self.incoming.write(received)

    def clear(self) -> None:
        """Empty both. They are, unless an exception has left something."""
        if self.incoming.pending or self.outgoing.pending:
            self.incoming.read()
            self.outgoing.read()
