"""Echo: a stream is sent back as it is; in bulk, splice(2) moves its pages through a pipe, without a copy here."""

import fcntl
import os
import socket
import struct
import termios

from netd.peer import Peer
from netd.transport.stream.connection import IN, Connection, Owner, outcome_of
from netd.transport.stream.stream_socket import CHUNK, BareSocket
from netd.transport.tap import Taps

_PIPE_SIZE = 2**20  # octets moved at once at most: the default limit of an unprivileged process (pipe(7))
_LEAST = 2**16  # octets that are received even if there may be no room to send them


class SplicePipe:
    """A pipe that is empty between two calls, so that all connections of a server share one.

    It is made for the first stream that comes in bulk: most services never get one.
    """

    def __init__(self) -> None:
        self._source = self._sink = -1

    def open(self) -> bool:
        """Make the pipe, unless there is one. False: no descriptor is left."""
        if self._source >= 0:
            return True
        try:
            self._source, self._sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            self._size = fcntl.fcntl(self._sink, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:  # the user's limit of pipe pages is reached (pipe(7)): keep the default size
            self._size = fcntl.fcntl(self._sink, fcntl.F_GETPIPE_SZ)
        return True

    def close(self) -> None:
        """Release the pipe."""
        if self._source >= 0:
            os.close(self._source)
            os.close(self._sink)
            self._source = self._sink = -1

    def turn(self, connection: socket.socket) -> tuple[int, bytes]:
        """Send back the input of a non-blocking stream socket: the octets received, and the data not sent.

        Only after `open`. 0 octets: the end of file, or urgent data next. Raises BlockingIOError when there is no
        input, and OSError when the connection is broken.
        """
        descriptor = connection.fileno()
        # Input that cannot be sent has to be kept, so no more is received than there seems to be room for. Half of
        # the buffer is the kernel's own overhead (socket(7)).
        unsent = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        room = connection.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2 - unsent
        received = os.splice(descriptor, self._sink, max(_LEAST, min(room, self._size)))
        left = received
        try:
            while left:
                left -= os.splice(self._source, descriptor, left)
        except BlockingIOError:
            return received, self._drain(left)
        except OSError:
            self._drain(left)
            raise
        return received, b""

    def _drain(self, number: int) -> bytes:
        pieces = []
        try:
            while number:
                pieces.append(os.read(self._source, number))
                number -= len(pieces[-1])
            return b"".join(pieces)
        except MemoryError:
            self.close()  # the rest must not reach the peer of another connection
            raise


class EchoConnection(Connection):
    """A connection that sends back its input. The service itself is not called."""

    __slots__ = ("_pipe", "_taps")
    _untraced: BareSocket  # splice(2) needs it

    def __init__(self, owner: Owner, request: BareSocket, peer: Peer, pipe: SplicePipe) -> None:
        super().__init__(owner, request, peer)
        self._pipe = pipe
        self._taps: Taps = ()

    def trace(self, taps: Taps) -> None:
        super().trace(taps)
        self._taps = taps

    def _receive(self, mask: int) -> None:
        # Most requests end here, so it sends by itself: a call of `_send` would be 2 % of one.
        connection = self.socket
        try:
            data = connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            return self.close(outcome_of(error))
        if not data:
            return self.close("done")  # nothing is pending while this waits for input
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self.close(outcome_of(error))
        owner = self._owner
        self.active = owner.loop.now
        received = len(data)
        self.requests += 1
        self.bytes_in = all_in = self.bytes_in + received
        self.bytes_out = all_out = self.bytes_out + sent
        if all_in + all_out > owner.most_bytes:
            self.close("bytes")
        elif sent != received:
            self._keep(memoryview(data)[sent:])
        elif received == CHUNK and self._pipe.open():
            self._wait(IN, self._receive_bulk)
        elif mask != IN or received == CHUNK:
            self._rearm = True
            self._await_input()

    def _receive_bulk(self, mask: int) -> None:
        """As `_receive`, for a stream that comes in bulk, by splice(2)."""
        try:
            received, rest = self._pipe.turn(self._untraced)
        except BlockingIOError:
            # No input, or none that splice(2) takes: it stops before urgent data.
            return self._await_input()
        except OSError as error:
            return self.close(outcome_of(error))
        if not received:
            # The end of file, or urgent data before it: only recv can tell.
            self._await_input()
            return self._receive(mask)
        for tap in self._taps:  # the number alone: the data was never in this process
            tap.record(self.peer, "in", received)
            tap.record(self.peer, "out", received - len(rest))
        self.active = self._owner.loop.now
        if not self._count(received, received - len(rest)):
            self.close("bytes")
        elif rest:
            self._keep(rest)
        elif received < CHUNK:
            self._await_input()
