"""The channel between the supervisor and a worker: messages as JSON objects, descriptors beside them.

A SOCK_SEQPACKET pair keeps messages apart and tells at once when the other end is gone. A packet has a bound. What is
longer goes to a worker as a file in memory, so that the supervisor never waits for a worker to read it; a worker cuts
it into pieces. The supervisor trusts no worker: it takes no descriptors from one, and bounds what it takes.
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

_PIECE = 60_000  # octets in a packet; the kernel takes two of these also where its buffers are small
_MOST_DESCRIPTORS = 250  # in a packet; the kernel takes 253 (SCM_MAX_FD, unix(7))
_LONGEST = 2**21  # octets of a message in packets, as a worker sends it; the longest list of connections has fewer
_SPARE = 16  # descriptors; a config that adds more services needs that many free ones
_LONGEST_NUMBER = 20  # characters
_MORE, _LAST, _MEMORY = b"+", b".", b"@"

DOES_NOT_READ = "it does not read"
Message = dict[str, Any]


class ChannelError(Exception):
    """The other end is gone, does not read, or does not keep to the rules; or this end lacks the means to send."""

    half = False
    """Whether a part of a message was sent, so that no other one can follow."""


class ClosedError(ChannelError):
    """The other end is gone."""


class ProtocolError(ChannelError):
    """The other end sent what is no message. Nothing more is taken from it."""


class DescriptorsLostError(Exception):
    """A message came without its descriptors: this process may not have so many. Holds the message."""

    def __init__(self, message: Message) -> None:
        super().__init__("no descriptors left")
        self.message = message


class Channel:
    """One end of the pair."""

    def __init__(self, end: socket.socket, *, takes_descriptors: bool) -> None:
        end.setblocking(False)
        self._socket = end
        self._room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4) if takes_descriptors else 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._descriptors: list[int] = []
        self._lost = False

    def fileno(self) -> int:
        """For poll(2): readable when `receive` has something to say."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def send(self, message: Message, descriptors: Sequence[int] = (), seconds: float = 5.0) -> None:
        """Send a message. `ChannelError` if the other end is gone, or has not taken it in this time."""
        self.send_encoded(encode(message), descriptors, seconds)

    def send_encoded(
        self, data: bytes, descriptors: Sequence[int] = (), seconds: float = 5.0, request: int | None = None
    ) -> None:
        """As `send`, for an encoded message, which gets the number of a request where one is given."""
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
        if len(data) > _PIECE and not self._room:
            with _memory(data) as file:
                # What stands beside it is all that is left where the other end may have no more descriptors.
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
                raise ClosedError("it is gone") from None
            except OSError as error:
                raise ChannelError(str(error.strerror)) from None

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message with its descriptors, or None when there is none yet. `ChannelError` at the end.

        `DescriptorsLostError` for a message whose descriptors found no room.
        """
        while True:
            try:
                data, ancillary, flags, _ = self._socket.recvmsg(_PIECE + 1, self._room, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return None
            except OSError as error:
                raise ChannelError(str(error.strerror)) from None
            for level, kind, rights in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    numbers = array.array("i")
                    numbers.frombytes(rights[: len(rights) - len(rights) % numbers.itemsize])
                    self._descriptors += numbers
            if not data:
                raise ClosedError("it is gone")
            if data[:1] == _MEMORY and self._room and not flags & socket.MSG_TRUNC:
                self._take_memory(data[1:])
                continue
            self._pieces.append(data[1:])
            self._size += len(data)
            if flags & socket.MSG_CTRUNC:
                if not self._room:
                    raise ProtocolError("it sent descriptors")
                self._lost = True
            if flags & socket.MSG_TRUNC or self._size > _LONGEST or data[:1] not in (_MORE, _LAST):
                raise ProtocolError("it sent a packet that is no part of a message, or too long a message")
            if data[:1] == _LAST:
                return self._complete()

    def _take_memory(self, stub: bytes) -> None:
        """The text of a message came as a file; or, where this process may have no more descriptors, it did not."""
        if not self._descriptors:
            self._pieces.append(stub)
            self._lost = True
            return
        with os.fdopen(self._descriptors.pop(), "rb") as file:
            file.seek(0)
            # As long as it is: what takes descriptors trusts the other end.
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
            raise ProtocolError("it sent what is no JSON object")
        return message, descriptors


class ReservedDescriptors:
    """Descriptors that no connection gets, so that there is room for those that the other end hands over."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._held: list[int] = []

    def take(self) -> None:
        """Hold so many, or those that are there to be had."""
        with contextlib.suppress(OSError):
            while len(self._held) < _SPARE:
                self._held.append(os.dup(self._channel.fileno()))

    def give_up(self) -> None:
        """Make room."""
        while self._held:
            os.close(self._held.pop())


def _memory(data: bytes) -> BinaryIO:
    """A file in memory that holds this."""
    try:
        file = os.fdopen(os.memfd_create("netd-message", os.MFD_CLOEXEC), "r+b")
        file.write(data)
        file.flush()
    except OSError as error:
        raise ChannelError(str(error.strerror)) from None
    return file


def encode(message: Message) -> bytes:
    """A message as it is sent."""
    return json.dumps(message, separators=(",", ":")).encode()


def _number(text: str) -> int:
    """A whole number of 64 bits; ValueError for a longer one, of which nothing good can come, and for NaN and such."""
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a number is too long")
    return int(text)


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends; which of them takes descriptors is said when a `Channel` is made."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def wait(descriptors: Sequence[int], seconds: float, events: int = select.POLLIN) -> set[int]:
    """Those of the descriptors that are ready, or in error, within this time."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, events)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
