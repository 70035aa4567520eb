"""splice(2) through a pipe: pages of a stream move from socket to socket, and are not copied to this process."""

import fcntl
import os
import socket
import struct
import termios

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

    def receive(self, source: socket.socket, sink: socket.socket) -> int:
        """Take input of ``source``, which `send` has to follow: how many octets. 0: its end, or urgent data next.

        Only after `open`. Both are non-blocking stream sockets. Raises BlockingIOError when there is no input, or none
        that splice(2) takes, and OSError when ``source`` is broken.
        """
        # Input that cannot be sent has to be kept, so no more is received than there seems to be room for. Half of
        # the buffer is the kernel's own overhead (socket(7)).
        unsent = struct.unpack("i", fcntl.ioctl(sink.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        room = sink.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2 - unsent
        return os.splice(source.fileno(), self._sink, max(_LEAST, min(room, self._size)))

    def send(self, sink: socket.socket, number: int) -> bytes:
        """Send the ``number`` octets in the pipe to ``sink``: returns those for which it has no room.

        Raises OSError when it is broken. The pipe is empty afterwards.
        """
        descriptor = sink.fileno()
        try:
            while number:
                number -= os.splice(self._source, descriptor, number)
        except BlockingIOError:
            return self._drain(number)
        except OSError:
            self._drain(number)
            raise
        return b""

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
