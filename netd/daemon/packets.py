"""The channel between a worker and a launcher: a message is one packet, with a few descriptors.

A SOCK_SEQPACKET pair (unix(7)), as for `netd.daemon.channel`. There a side trusts the other one; here neither does: a
packet is short, and has at most three descriptors.
"""

import array
import contextlib
import json
import os
import socket
from collections.abc import Sequence

from netd.daemon.channel import ClosedError, Message, ProtocolError
from netd.daemon.messages.coding import Fields, encode

LONGEST = 16_384
"""Octets of a packet."""
_MOST_DESCRIPTORS = 3
_SPACE = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)


class PacketChannel:
    """One end of the pair. It does not block."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end

    def fileno(self) -> int:
        """For epoll(7)."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    def send(self, message: Fields, descriptors: Sequence[int] = ()) -> bool:
        """Send a message. False: the other end has not read enough yet. `ClosedError`: it was closed.

        OSError where the kernel lacks memory, or too many descriptors are under way (ETOOMANYREFS).
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([encode(message)], rights, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except ConnectionError:
            raise ClosedError("the other process has closed the channel") from None
        return True

    def receive(self) -> tuple[Message, list[int]] | None:
        """The next message with its descriptors, which the caller closes, or None if there is none yet.

        `ClosedError` at the end, `ProtocolError` for what is no message.
        """
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(LONGEST, _SPACE, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return self.receive()  # once: the other end was closed with unread packets
        descriptors = array.array("i")
        for level, kind, rights in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(rights[: len(rights) - len(rights) % descriptors.itemsize])
        if not data and not descriptors:
            raise ClosedError("the other process has closed the channel")
        message = None
        if not flags & socket.MSG_TRUNC:
            with contextlib.suppress(ValueError, RecursionError):
                message = json.loads(data)
        if not isinstance(message, dict):
            close_all(descriptors)
            raise ProtocolError("the packet is not a valid JSON object")
        return message, list(descriptors)


def close_all(descriptors: Sequence[int]) -> None:
    """Close these descriptors."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
