"""The socket that a request handler gets, with its files: they count what it receives and sends, for a trace too.

Most handlers are a `socketserver.StreamRequestHandler`, and use its `rfile` and `wfile`. These two take less time than
those of a plain socket: what the library does for each call, and what is not needed here, pays for the count.
"""

import errno
import io
import socket
import socketserver
from typing import Any, Protocol

from netd.transport.handler_watch import waits_for_client
from netd.transport.tap import Taps

_PEEK = int(socket.MSG_PEEK)  # an enumeration would take longer than all of a count
_recv_into, _send = socket.socket.recv_into, socket.socket.send  # to look them up would take as long as a count


class Counted(Protocol):
    """What keeps the counts of a socket: its connection."""

    taps: Taps
    requests: int
    bytes_in: int
    bytes_out: int
    most_bytes: int

    def received(self, data: bytes | memoryview, /) -> None:
        """Count and record what was received."""

    def sent(self, data: memoryview, /) -> None:
        """Count and record what was sent."""

    def exceed(self) -> None:
        """There are more octets than ``most_bytes``."""


class CountingSocket(socket.socket):
    """A socket that passes what it receives and sends to its connection, to be counted and traced."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Counted, request: socket.SocketType) -> None:
        super().__init__(request.family, request.type, request.proto, request.detach())
        self._connection = connection

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if not flags & _PEEK:
            self._connection.received(data)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        number = _recv_into(self, buffer, nbytes, flags)
        if not flags & _PEEK:
            with memoryview(buffer).cast("B") as octets:
                self._connection.received(octets[:number])
        return number

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, None]:
        return self.recv(size, flags), None  # recvfrom(2): a stream has no address here

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, None]:
        return self.recv_into(buffer, nbytes, flags), None

    def recvmsg(self, size: int, room: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        found = super().recvmsg(size, room, flags)
        if not flags & _PEEK:
            self._connection.received(found[0])
        return found

    def recvmsg_into(self, buffers: Any, room: int = 0, flags: int = 0) -> tuple[int, list[Any], int, Any]:
        parts = list(buffers)
        found = super().recvmsg_into(parts, room, flags)
        if not flags & _PEEK:
            self._connection.received(b"".join(parts)[: found[0]])
        return found

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        return self._sendfile_use_send(file, offset, count)  # type: ignore[attr-defined,no-any-return]  # as that of TLS

    def send(self, data: Any, flags: int = 0) -> int:
        number = _send(self, data, flags)
        with memoryview(data).cast("B") as octets:
            self._connection.sent(octets[:number])
        return number

    def sendto(self, data: Any, *arguments: Any) -> int:
        number = super().sendto(data, *arguments)
        with memoryview(data).cast("B") as octets:
            self._connection.sent(octets[:number])
        return number

    def sendmsg(self, buffers: Any, *arguments: Any) -> int:
        parts = list(buffers)
        number = left = super().sendmsg(parts, *arguments)
        for part in parts:
            with memoryview(part).cast("B") as octets:
                self._connection.sent(octets[:left])
                left -= min(left, len(octets))
            if not left:
                break
        return number

    def sendall(self, data: Any, flags: int = 0) -> None:
        if type(data) is bytes and not (connection := self._connection).taps:
            sent = _send(self, data, flags) if flags else _send(self, data)
            # As `sent`, which would take as long as all of that; `ThreadedConnection.active` finds out when.
            connection.bytes_out = all_out = connection.bytes_out + sent
            if connection.bytes_in + all_out > connection.most_bytes:
                connection.exceed()
            if sent == len(data):
                return
        else:
            sent = self.send(data, flags)
        with memoryview(data).cast("B") as octets:
            while sent < len(octets):
                sent += self.send(octets[sent:], flags)

    def dup(self) -> "CountingSocket":
        with socket.socket(fileno=socket.dup(self.fileno())) as plain:
            other = CountingSocket(self._connection, plain)
        other.settimeout(self.gettimeout())
        return other

    def makefile(self, mode: str = "r", buffering: int | None = None, **more: Any) -> Any:
        if mode != "rb" or buffering == 0:
            return super().makefile(mode, buffering, **more)  # type: ignore[call-overload]
        self._io_refs += 1  # type: ignore[attr-defined]  # as the socket module does: the file keeps the socket open
        size = buffering if buffering and buffering > 0 else io.DEFAULT_BUFFER_SIZE
        return io.BufferedReader(_CountingFile(self), size)

    def writer(self) -> io.BufferedIOBase:
        """A file for the `wfile` of a StreamRequestHandler (`services/python/request_handlers.py`)."""
        return _CountingWriter(self)


class _CountingFile(socket.SocketIO):
    """What is below a `BufferedReader` of a `CountingSocket`, which alone calls it.

    That has seen whether it is closed, so `readinto` does not, for which `SocketIO` calls three methods.
    """

    __slots__ = ("_connection", "_socket")
    _timeout_occurred: bool

    def __init__(self, counting: CountingSocket) -> None:
        super().__init__(counting, "r")
        self._socket, self._connection = counting, counting._connection

    def readinto(self, buffer: Any) -> int | None:
        connection = self._connection
        if connection.taps or self._timeout_occurred:
            return super().readinto(buffer)
        try:
            number = _recv_into(self._socket, buffer)
        except TimeoutError:
            self._timeout_occurred = True
            raise
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            raise
        if number:
            connection.requests += 1
            connection.bytes_in = all_in = connection.bytes_in + number
            if all_in + connection.bytes_out > connection.most_bytes:
                connection.exceed()
        return number


class _CountingWriter(socketserver._SocketWriter):  # type: ignore[name-defined,misc]
    """As the `wfile` of socketserver, which calls `sendall`, and takes a view of the data for its length."""

    __slots__ = ("_connection", "_socket")

    def __init__(self, counting: CountingSocket) -> None:
        super().__init__(counting)
        self._socket, self._connection = counting, counting._connection

    def write(self, data: Any) -> int:
        connection = self._connection
        if type(data) is not bytes or connection.taps:
            return int(super().write(data))
        sent = _send(self._socket, data)
        connection.bytes_out = all_out = connection.bytes_out + sent  # as `sendall` does
        if connection.bytes_in + all_out > connection.most_bytes:
            connection.exceed()
        if sent < len(data):
            self._socket.sendall(data[sent:])
        return len(data)


for _method in (
    CountingSocket.recv,
    CountingSocket.recv_into,
    CountingSocket.recvmsg,
    CountingSocket.recvmsg_into,
    CountingSocket.send,
    CountingSocket.sendto,
    CountingSocket.sendmsg,
    CountingSocket.sendall,
    _CountingFile.readinto,
    _CountingWriter.write,
):
    waits_for_client(_method)
