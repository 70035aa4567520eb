"""The channel between the supervisor and a worker: messages as JSON objects, with descriptors beside them.

A SOCK_SEQPACKET pair (unix(7)) keeps the boundaries of packets and reports at once that the other end was closed. A
packet has at most 60,000 octets. The supervisor sends a longer message as a file in memory (memfd_create(2)), so that
it never waits for a worker to read. A worker splits it into packets. The supervisor does not trust workers: it accepts
no descriptors from them, and limits the number of packets in a message.
"""

import array
import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, BinaryIO

_PIECE = 60_000  # octets in a packet; two of them fit where the kernel's socket buffers are small
_MOST_DESCRIPTORS = 250  # in a packet; the kernel accepts 253 (SCM_MAX_FD, unix(7))
_LONGEST = 2**20  # octets of a message in packets, that is of a worker
_RESERVED = 16  # descriptors; a config that adds more than so many services needs other free ones
_LONGEST_NUMBER = 20  # characters
_MORE, _LAST, _MEMORY = b"+", b".", b"@"

DOES_NOT_READ = "the other process does not read from the channel"
_CLOSED = "the other process has closed the channel"
Message = dict[str, Any]


class ChannelError(Exception):
    """The other end was closed, does not read, or sent an invalid message; or the kernel could not send."""

    half = False
    """Whether a part of the message was sent. Then no other message can follow."""


class ClosedError(ChannelError):
    """The other end was closed."""


class ProtocolError(ChannelError):
    """The other end sent an invalid message. Nothing more is read from it."""


class DescriptorsLostError(Exception):
    """A message was received without its descriptors: this process has reached RLIMIT_NOFILE. Holds the message."""

    def __init__(self, message: Message) -> None:
        super().__init__("no file descriptors left (RLIMIT_NOFILE)")
        self.message = message


class Channel:
    """One end of the pair."""

    def __init__(self, end: socket.socket, *, takes_descriptors: bool) -> None:
        end.setblocking(False)
        self._socket = end
        self._ancillary_size = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4) if takes_descriptors else 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._descriptors: list[int] = []
        self._lost = False

    def fileno(self) -> int:
        """For poll(2): readable when `receive` returns a message or raises."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: Message, descriptors: Sequence[int] = (), seconds: float = 5.0) -> None:
        """Send a message. `ChannelError` if the other end was closed, or its buffer stays full for ``seconds``."""
        self.send_encoded(encode(message), descriptors, seconds)

    def send_encoded(
        self, data: bytes, descriptors: Sequence[int] = (), seconds: float = 5.0, request: int | None = None
    ) -> None:
        """As `send`, for an encoded message, to which the number of the request is added."""
        sent = False

        def send_packet(parts: list[bytes], group: list[int]) -> None:
            nonlocal sent
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", group))] if group else []
            try:
                self._send_packet(parts, rights, until)
            except ChannelError as error:
                error.half = sent
                raise
            sent = True

        until = time.monotonic() + seconds
        if request is not None:
            data = b'{"request":%d%s%s' % (request, b"," * (len(data) > 2), data[1:])
        if len(data) > _PIECE and not self._ancillary_size:
            with _memory(data) as file:
                # Only this packet arrives where the other end has no descriptors left; it names the request that fails.
                send_packet([_MEMORY, encode({"request": request})], [file.fileno()])
            data = b""
        pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)] or [b""]
        groups = [
            list(descriptors[start : start + _MOST_DESCRIPTORS])
            for start in range(0, len(descriptors), _MOST_DESCRIPTORS)
        ]
        number = max(len(pieces), len(groups))
        pieces += [b""] * (number - len(pieces))
        groups += [[]] * (number - len(groups))
        for index, (piece, group) in enumerate(zip(pieces, groups, strict=True)):
            send_packet([_LAST if index == number - 1 else _MORE, piece], group)

    def _send_packet(self, parts: list[bytes], rights: "list[tuple[int, int, array.array[int]]]", until: float) -> None:
        while True:
            try:
                self._socket.sendmsg(parts, rights, socket.MSG_NOSIGNAL)
                return
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0 or not wait([self._socket.fileno()], left, select.POLLOUT):
                    raise ChannelError(DOES_NOT_READ) from None
            except ConnectionError:  # EPIPE, ECONNRESET
                raise ClosedError(_CLOSED) from None
            except OSError as error:
                raise ChannelError(str(error.strerror)) from None

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message with its descriptors, or None if no whole message was received yet.

        `ClosedError` at the end, `ProtocolError` for an invalid message, `DescriptorsLostError` for a message
        where this process could not receive the descriptors.
        """
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(
                    _PIECE + 1, self._ancillary_size, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return None
            except ConnectionResetError:
                continue  # once: the other end was closed with unread packets. Its last ones are still to be received.
            except OSError as error:
                raise ChannelError(str(error.strerror)) from None
            for level, kind, rights in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(rights[: len(rights) - len(rights) % numbers.itemsize])
                    self._descriptors += numbers
            if not data:
                raise ClosedError(_CLOSED)
            if data[:1] == _MEMORY and self._ancillary_size and not flags & socket.MSG_TRUNC:
                self._read_memory(data[1:])
                continue
            # Else a message of single octets would take long to receive.
            if data[:1] == _MORE and len(data) <= _PIECE and not self._ancillary_size:
                raise ProtocolError("a packet before the last one of a message is not full")
            self._pieces.append(data[1:])
            self._size += len(data)
            if flags & socket.MSG_CTRUNC:
                if not self._ancillary_size:
                    raise ProtocolError("the packet has descriptors, which a worker may not send")
                self._lost = True
            if flags & socket.MSG_TRUNC or self._size > _LONGEST or data[:1] not in (_MORE, _LAST):
                raise ProtocolError("the packet is not part of a message, or the message is longer than 1 MiB")
            if data[:1] == _LAST:
                return self._complete()

    def _read_memory(self, stub: bytes) -> None:
        """Read a message from a file in memory. Without the file, which is lost at RLIMIT_NOFILE, keep the stub."""
        if not self._descriptors:
            self._pieces.append(stub)
            self._lost = True
            return
        with os.fdopen(self._descriptors.pop(), "rb") as file:
            file.seek(0)
            # Without a limit: a process that accepts descriptors trusts the other end.
            self._pieces.append(file.read())

    def _complete(self) -> tuple[Message, list[int]]:
        text, descriptors = b"".join(self._pieces), self._descriptors
        lost = self._lost
        self._pieces, self._size, self._descriptors, self._lost = [], 0, [], False
        try:
            message = json.loads(text, parse_int=_number, parse_constant=_number)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or lost:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            if isinstance(message, dict):
                raise DescriptorsLostError(message)
            raise ProtocolError("the message is not a valid JSON object")
        return message, descriptors


class ReservedDescriptors:
    """Descriptors that connections cannot use: a process at RLIMIT_NOFILE can still receive some from the channel."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._held: list[int] = []

    def fill(self) -> None:
        """Open descriptors up to the number to reserve, or up to RLIMIT_NOFILE."""
        with contextlib.suppress(OSError):
            while len(self._held) < _RESERVED:
                self._held.append(os.dup(self._channel.fileno()))

    def missing(self, number: int) -> int:
        """How many descriptors this process lacks to reserve all and to open ``number`` others."""
        self.fill()
        others: list[int] = []
        with contextlib.suppress(OSError):
            while len(others) < number:
                others.append(os.dup(self._channel.fileno()))
        for descriptor in others:
            os.close(descriptor)
        return _RESERVED - len(self._held) + number - len(others)

    def release(self) -> None:
        """Close the reserved descriptors."""
        while self._held:
            os.close(self._held.pop())


def _memory(data: bytes) -> BinaryIO:
    """A file in memory with this content."""
    try:
        file = os.fdopen(os.memfd_create("netd-message", os.MFD_CLOEXEC), "r+b")
        file.write(data)
        file.flush()
    except OSError as error:
        raise ChannelError(str(error.strerror)) from None
    return file


def encode(message: Message) -> bytes:
    """A message as JSON."""
    return json.dumps(message, separators=(",", ":")).encode()


def _number(text: str) -> int:
    """A whole number of at most 20 characters. ValueError for a longer one, for NaN, and for an infinity."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a number is too long")
    return int(text)


def pair() -> tuple[socket.socket, socket.socket]:
    """A socket for each end of a channel."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def wait(descriptors: Sequence[int], seconds: float, mask: int = select.POLLIN) -> set[int]:
    """Wait up to ``seconds``. Returns the descriptors that are ready (poll(2)) or have an error."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, mask)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
