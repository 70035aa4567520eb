"""Sending a stream back without looking at it: splice(2) moves pages from socket to socket through a pipe."""

import fcntl
import os
import socket
import struct
import termios

_PIPE_SIZE = 2**20  # octets moved at once at most; the most an unprivileged process may ask for (pipe(7))
_LEAST = 2**16  # octets that are taken also when there may be no room for them


class Relay:
    """A pipe that is empty between two calls, so that one serves every connection of a loop."""

    def __init__(self) -> None:
        self._open()

    def _open(self) -> None:
        self._source, self._sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._size = fcntl.fcntl(self._sink, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:  # the user's share of pipe pages is used up; what the kernel gave will do
            self._size = fcntl.fcntl(self._sink, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Release the pipe."""
        os.close(self._source)
        os.close(self._sink)

    def turn(self, connection: socket.socket) -> tuple[int, bytes]:
        """Send back what a non-blocking stream socket has received: how much came, and what of it is not sent.

        Raises BlockingIOError when nothing came and OSError when the connection is broken; 0 is the end of
        file, or urgent data before it.
        """
        descriptor = connection.fileno()
        # What is taken and finds no room has to be kept, so no more is taken than there seems to be room for. Half of
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
        while number:
            pieces.append(os.read(self._source, number))
            number -= len(pieces[-1])
        return b"".join(pieces)
