"""Batches on their way from one socket to another: to that of a target, and from there to the peer that has asked.

Datagrams of one length go to the kernel as one (UDP_SEGMENT, udp(7)), which takes a fifth of the time: it divides them
again behind its search for a route and for a receiver.
"""

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from typing import Any

from netd.addresses import is_link_local, map_to_ipv6
from netd.transport.datagram.mmsg import Batch
from netd.transport.datagram.origins import Control
from netd.transport.datagram.structures import (
    CMSG,
    SLOTS,
    Header,
    Message,
    Vector,
    address_in,
    column,
    control_data,
    filled,
    functions,
    last_error,
)
from netd.transport.sockaddr import Sender

_IN_NAME = struct.Struct("=H2s4s8x")  # struct sockaddr_in: family, port, address
_IN6_NAME = struct.Struct("=H2s4x16sI")  # struct sockaddr_in6: family, port, flow, address, interface
_CONTROL = 128  # octets: more than the packet information and the length of segments
_ALIGN = ctypes.sizeof(ctypes.c_size_t)
_UDP_SEGMENT = 103  # linux/udp.h; the socket module does not have it
_FEW = 3  # datagrams: below, it takes as long to send them one by one
_LONGEST_SEGMENT = (
    1200  # octets: those that do not fit into a packet cannot be segments (RFC 8200, 5: 1,280 with heads)
)
_MOST_OCTETS = 65_000  # of all segments together
_NOT_SEGMENTED = {errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.EOPNOTSUPP, errno.ENOPROTOOPT}


class _Way:
    """The headers for the datagrams of a batch on one way, with the same name and control data for all."""

    def __init__(self, vectors: int, name: int | None, *, segments: bool) -> None:
        self._vectors = vectors
        self._segments = segments
        self._control = bytearray(_CONTROL)
        control = address_in(self._control)
        memory = bytearray(SLOTS * ctypes.sizeof(Message))
        for slot, message in enumerate((Message * SLOTS).from_buffer(memory)):
            message.header = Header(name, 0, vectors + slot * ctypes.sizeof(Vector), 1, control, 0)
        self.messages = address_in(memory)
        stride = ctypes.sizeof(Message)
        self.received = column(memory, stride, 0, Message.length)
        self._name_lengths = column(memory, stride, 0, Header.name_length)
        self._control_lengths = column(memory, stride, 0, Header.control_length)
        self._control_length = 0
        self._whole = Header(name, 0, 0, 0, control, 0)
        assert functions is not None, "AVAILABLE is true"
        self._recvmmsg, self._sendmmsg, self._sendmsg = functions
        self._keep_alive = memory

    @property
    def has_control(self) -> bool:
        """Whether datagrams are sent with control data."""
        return self._control_length > 0

    def set_head(self, name_length: int, control: bytes) -> None:
        """Send with a name of this length, and this control data, from now on."""
        self._control[: len(control)] = control
        self._control_length = len(control)
        self._name_lengths[:] = filled(name_length)
        self._control_lengths[:] = filled(len(control))
        self._whole.name_length = name_length

    def receive(self, descriptor: int) -> int:
        """Receive datagrams into all vectors, without control data: how many."""
        number: int = self._recvmmsg(descriptor, self.messages, SLOTS, socket.MSG_DONTWAIT, None)
        if number < 0:
            raise last_error()
        return number

    def send(self, descriptor: int, first: int, lengths: list[int]) -> int:
        """Send the datagrams of these lengths, in the slots from ``first`` on: how many were sent.

        Raises OSError if the first could not be sent.
        """
        if self._segments and self._send_segments(descriptor, first, lengths):
            return len(lengths)
        start = self.messages + first * ctypes.sizeof(Message)
        number: int = self._sendmmsg(descriptor, start, len(lengths), socket.MSG_DONTWAIT)
        if number < 0:
            raise last_error()
        return number

    def _send_segments(self, descriptor: int, first: int, lengths: list[int]) -> bool:
        """Send all as segments of one datagram. False: none was sent, since they cannot be, or no longer."""
        length, number = lengths[0], len(lengths)
        if number < _FEW or not 0 < lengths[-1] <= length <= _LONGEST_SEGMENT or length * number > _MOST_OCTETS:
            return False
        if lengths.count(length) != number - (lengths[-1] != length):  # the last one alone may be shorter
            return False
        whole, begin = self._whole, -(-self._control_length // _ALIGN) * _ALIGN
        message = CMSG.pack(socket.CMSG_LEN(2), socket.IPPROTO_UDP, _UDP_SEGMENT) + length.to_bytes(2, sys.byteorder)
        self._control[begin : begin + len(message)] = message
        whole.vectors = self._vectors + first * ctypes.sizeof(Vector)
        whole.vectors_length = number
        whole.control_length = begin + socket.CMSG_SPACE(2)
        if self._sendmsg(descriptor, ctypes.addressof(whole), socket.MSG_DONTWAIT) >= 0:
            return True
        error = last_error()
        if error.errno in _NOT_SEGMENTED:  # too long for the way there, or the device cannot: one by one
            return False
        raise error


class RelayBatch:
    """The datagrams of a `Batch` on their way to a connected socket, and answers from there to one peer at a time."""

    shares_room = True

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._sender: Sender | None = None
        self._name = bytearray(_IN6_NAME.size)
        segments = _has_segments(batch.ipv6)
        self._there = _Way(batch.vectors, None, segments=segments)
        self._back = _Way(batch.vectors, address_in(self._name), segments=segments)
        self._room = filled(batch.largest + 1)

    def pass_on(self, descriptor: int, first: int, lengths: list[int]) -> int:
        """Send the datagrams in the slots from ``first`` on to the peer of a connected socket, after `Batch.reflect`.

        Returns how many were sent. Raises OSError if the first could not be sent.
        """
        return self._there.send(descriptor, first, lengths)

    def receive(self, upstream: Any) -> list[int]:
        """Receive up to `SLOTS` answers from a connected socket: their lengths. As `Batch.receive`."""
        room = self._batch.room
        room[:] = self._room
        number = self._there.receive(upstream.fileno())
        received = self._there.received[:number]
        room[:number] = received
        lengths: list[int] = received.tolist()
        return lengths

    def datagram(self, slot: int, length: int) -> bytes:
        """A copy of the answer in a slot."""
        return self._batch.datagram(slot, length)

    def address_to(self, sender: Any, address: Any, control: Control) -> None:
        """Send answers to this sender, with these control messages (`origin`), from now on."""
        if sender is self._sender:
            return
        self._sender = sender
        port = sender.port.to_bytes(2)
        if self._batch.ipv6:
            interface = sender.interface if is_link_local(sender.address) else 0
            name = _IN6_NAME.pack(socket.AF_INET6, port, map_to_ipv6(sender.address), interface)
        else:
            name = _IN_NAME.pack(socket.AF_INET, port, sender.address)
        self._name[: len(name)] = name
        self._back.set_head(len(name), control_data(control))

    def sender(self, slot: int) -> Sender:
        """The sender that the answers go to."""
        assert self._sender, "`address_to` comes first"
        return self._sender

    def leave_source_to_kernel(self, slot: int) -> bool:
        """As for a `Batch`: for all answers that follow."""
        if not self._back.has_control:
            return False
        self._back.set_head(_IN6_NAME.size if self._batch.ipv6 else _IN_NAME.size, b"")
        return True

    def send(self, first: int, last: int) -> int:
        """Send the answers in the slots ``first`` to ``last`` - 1. As `Batch.send`."""
        return self._back.send(self._batch.descriptor, first, self._batch.room[first:last].tolist())


def _has_segments(ipv6: bool) -> bool:
    """Whether the kernel has UDP_SEGMENT (Linux 4.18). One without would send all segments as one datagram."""
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.getsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT)
        return True
    return False
