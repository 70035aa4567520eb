"""The channel between a worker and a launcher: a message is one packet, with a few descriptors.

A SOCK_SEQPACKET pair (unix(7)), as for `netd.daemon.channel`. There a side trusts the other one; here neither does: a
packet is short, and has at most two descriptors. The supervisor keeps a copy of the launcher's end, so that what a
worker has sent is still there for the next launcher when one is killed.
"""

import array
import contextlib
import os
import socket
from collections.abc import Sequence

from netd.daemon.channel import ClosedError, ProtocolError

LONGEST = 16_384
"""Octets of a packet."""
_MOST_DESCRIPTORS = 2
_SPACE = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
# Numbers, since a program start is slow to enumerate flags: it has emptied the caches of the processor.
_LOST = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)
_CLOEXEC, _NOSIGNAL = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_NOSIGNAL)
_RIGHTS = socket.SOL_SOCKET, socket.SCM_RIGHTS


class ShortageError(Exception):
    """A packet was not sent for lack of memory or descriptors: later it may be."""


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

    def send(self, packet: bytes, descriptors: Sequence[int] = ()) -> bool:
        """Send a packet. False: there is no room, since the other end has to read first.

        `ShortageError`: the kernel lacks memory, or too many descriptors are under way. `ClosedError`: the other end
        was closed.
        """
        rights = [(*_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._socket.sendmsg([packet], rights, _NOSIGNAL)
        except ConnectionError:
            raise ClosedError("the other process has closed the channel") from None
        except BlockingIOError:
            return False
        except OSError as error:  # ENOBUFS, ENOMEM, or ETOOMANYREFS (unix(7))
            raise ShortageError(str(error.strerror)) from None
        return True

    def receive(self) -> tuple[bytes, list[int]] | None:
        """The next packet with its descriptors, which the caller closes, or None if there is none yet.

        `ClosedError` at the end, `ProtocolError` for a packet that is too long, or has too many descriptors.
        """
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(LONGEST, _SPACE, _CLOEXEC)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return self.receive()  # once: the other end was closed with unread packets
        descriptors: list[int] = []
        for level, kind, rights in ancillary:
            if (level, kind) == _RIGHTS:
                descriptors += memoryview(rights[: len(rights) // 4 * 4]).cast("i")
        if flags & _LOST:
            close_all(descriptors)
            raise ProtocolError("a packet is too long, or some of its descriptors are lost")
        if not data:
            close_all(descriptors)
            raise ClosedError("the other process has closed the channel")
        return data, descriptors


def close_all(descriptors: Sequence[int]) -> None:
    """Close these descriptors."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
