"""Many datagrams with one system call: recvmmsg(2) and sendmmsg(2)."""

import ctypes
import mmap
import socket
import struct
from collections.abc import Iterator

from netd.transport.datagram.origins import origin
from netd.transport.datagram.structures import (
    CMSG,
    SLOTS,
    WORD,
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
from netd.transport.sockaddr import CONTROL, IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender, parse_sender, sent_to

_SLOT = 65536 + 64  # more than a datagram can hold; not a power of 2, which would put every slot into one cache line
# The source and destination of a datagram: the kernel writes a name and control messages, side by side in one slot.
_NAME = 28  # sizeof(struct sockaddr_in6), the larger of the two
_CONTROL_AT = 32
_ALIGN = ctypes.sizeof(ctypes.c_size_t)
_IN_CONTROL = socket.CMSG_SPACE(IN_PKTINFO.size)
_IN6_CONTROL = socket.CMSG_SPACE(IN6_PKTINFO.size)
_BOTH_CONTROL = _IN6_CONTROL + _IN_CONTROL  # on a socket of both families, a datagram over IPv4 has both
_SOURCE_SIZE = _CONTROL_AT + CONTROL
# How the control data begins, and, of IPv4, the port and address of the struct sockaddr_in before it, and the two
# addresses of the struct in_pktinfo in it.
_IN_HEADER = CMSG.pack(socket.CMSG_LEN(IN_PKTINFO.size), socket.IPPROTO_IP, IP_PKTINFO)
_IN6_HEADER = CMSG.pack(socket.CMSG_LEN(IN6_PKTINFO.size), socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
_IN_SOURCE = struct.Struct(f"!2xH4s{_CONTROL_AT - 8}x{CMSG.size}s4x4s4s")


def make_memory() -> mmap.mmap:
    """Anonymous memory for the datagrams of a batch, of which only the pages that were written to exist.

    A slot is as large as any datagram can be.
    """
    return mmap.mmap(-1, SLOTS * _SLOT)


class Batch:
    """The arrays for one UDP socket: up to `SLOTS` datagrams, each with its source and destination.

    An answer in the slot of a datagram is sent to its source, from its destination address.
    """

    shares_room = True
    """Whether an answer for which there is no room (EAGAIN) means that there is none for the others either."""

    def __init__(self, descriptor: int, family: int, largest: int, memory: mmap.mmap) -> None:
        """``descriptor`` and ``family`` are the socket's; ``largest`` is the longest datagram to receive, in octets.

        ``memory`` is from `make_memory`. Batches share it if each is sent before another one is received.
        """
        assert functions is not None, "AVAILABLE is true"
        self._recvmmsg, self._sendmmsg, _ = functions
        self.descriptor = descriptor
        self._family = family
        self.largest = largest
        self.ipv6 = family == socket.AF_INET6
        self._header = _IN6_HEADER if self.ipv6 else _IN_HEADER
        self._data = memory
        self._sources = bytearray(SLOTS * _SOURCE_SIZE)
        length = _CONTROL_AT + (_BOTH_CONTROL if self.ipv6 else _IN_CONTROL)
        self._key = struct.Struct(f"{length}s{_SOURCE_SIZE - length}x")
        vectors = bytearray(SLOTS * ctypes.sizeof(Vector))
        messages = bytearray(SLOTS * ctypes.sizeof(Message))

        data, sources, first = map(address_in, (self._data, self._sources, vectors))
        self._messages = address_in(messages)
        self.vectors = first
        for slot, vector in enumerate((Vector * SLOTS).from_buffer(vectors)):
            vector.base = data + slot * _SLOT
        for slot, message in enumerate((Message * SLOTS).from_buffer(messages)):
            message.header.name = sources + slot * _SOURCE_SIZE
            message.header.name_length = _NAME  # overwritten with the family's, which is enough from then on
            message.header.vectors = first + slot * ctypes.sizeof(Vector)
            message.header.vectors_length = 1
            message.header.control = sources + slot * _SOURCE_SIZE + _CONTROL_AT

        stride = ctypes.sizeof(Message)
        self._received = column(messages, stride, 0, Message.length)
        self.room = column(vectors, ctypes.sizeof(Vector), 0, Vector.length)
        self._control_lengths = column(messages, stride, 0, Header.control_length)
        # What the kernel overwrites, and the values to put back before the next call.
        self._reset = [
            (self.room, filled(largest + 1)),
            (self._control_lengths, filled(CONTROL)),
        ]
        # Where the interface stands: behind the address in struct in6_pktinfo, before it in struct in_pktinfo.
        self._interface_at = CMSG.size + (16 if self.ipv6 else 0)
        # Make the packet information of the question that of the answer, where it came first.
        self._turned = [
            (column(self._sources, _SOURCE_SIZE, _CONTROL_AT + self._interface_at), filled(0)),
            (self._control_lengths, filled(_IN6_CONTROL if self.ipv6 else _IN_CONTROL)),
        ]
        self._keep_alive = (vectors, messages)

    def receive(self) -> list[int]:
        """Receive up to `SLOTS` datagrams: their lengths. Raises BlockingIOError if none waits."""
        for one, values in self._reset:
            one[:] = values
        number = self._recvmmsg(self.descriptor, self._messages, SLOTS, socket.MSG_DONTWAIT, None)
        if number < 0:
            raise last_error()
        lengths: list[int] = self._received[:number].tolist()
        return lengths

    def datagram(self, slot: int, length: int) -> bytes:
        """A copy of the datagram in a slot."""
        start = slot * _SLOT
        return self._data[start : start + length]

    def keys(self, number: int) -> Iterator[tuple[bytes]]:
        """The key of each of the first ``number`` datagrams: octets that identify its sender and destination.

        Equal keys mean the same sender and destination, which may have several keys.
        """
        return self._key.iter_unpack(memoryview(self._sources)[: number * _SOURCE_SIZE])

    def sender(self, slot: int) -> Sender:
        """The source and destination of a datagram."""
        start, size = slot * _SOURCE_SIZE, self._control_lengths[slot]
        if not self.ipv6 and size >= _IN_CONTROL:
            port, address, header, local, destination = _IN_SOURCE.unpack_from(self._sources, start)
            if header == _IN_HEADER:
                return Sender(address, port, *sent_to(local, destination))
        name = bytes(self._sources[start : start + _NAME])
        control = bytes(self._sources[start + _CONTROL_AT : start + _CONTROL_AT + size])
        address = name[8:24] if self.ipv6 else name[4:8]
        infos, place = [], 0
        while place + CMSG.size <= size:
            length, level, kind = CMSG.unpack_from(control, place)
            if length < CMSG.size:
                break
            infos.append((level, kind, control[place + CMSG.size : place + length]))
            place += (length + _ALIGN - 1) & -_ALIGN
        return parse_sender(address, int.from_bytes(name[2:4]), infos)

    def has_key(self, slot: int) -> bool:
        """Whether the key of a datagram identifies its sender and destination.

        It holds the packet information only if that came before all other control messages.
        """
        start = slot * _SOURCE_SIZE + _CONTROL_AT
        return self._control_lengths[slot] >= _IN_CONTROL and self._sources.startswith(self._header, start)

    def origin(self, slot: int, sender: Sender) -> bytes | None:
        """The control data of an answer to this sender; None: that of the question, after `reuse_packet_info`."""
        made = control_data(origin(sender, self._family))
        start, place = slot * _SOURCE_SIZE + _CONTROL_AT, self._interface_at
        head, tail = start + place, start + place + WORD
        came = self._sources[start:head] + bytes(WORD) + self._sources[tail : start + len(made)]
        return None if made == came and self.has_key(slot) else made

    def set_answer(self, slot: int, data: bytes) -> bool:
        """Replace the question in a slot by its answer. False if the answer is too long."""
        length = len(data)
        if length > _SLOT:
            return False
        start = slot * _SLOT
        self._data[start : start + length] = data
        self.room[slot] = length
        return True

    def reuse_packet_info(self) -> None:
        """Send all answers from the destination of their question, where the packet information came first."""
        for one, values in self._turned:
            one[:] = values

    def set_control(self, slot: int, control: bytes) -> None:
        """Set the control data of the answer in a slot, after `reuse_packet_info`."""
        start = slot * _SOURCE_SIZE + _CONTROL_AT
        self._sources[start : start + len(control)] = control
        self._control_lengths[slot] = len(control)

    def leave_source_to_kernel(self, slot: int) -> bool:
        """Have the kernel choose the source address of the answer in a slot. False: it did already."""
        if not self._control_lengths[slot]:
            return False
        self._control_lengths[slot] = 0
        return True

    def reflect(self, number: int) -> None:
        """Make each of the first ``number`` datagrams its own answer."""
        self.room[:number] = self._received[:number]

    def send(self, first: int, last: int) -> int:
        """Send the answers in the slots ``first`` to ``last`` - 1: how many were sent.

        Raises OSError if the first could not be sent.
        """
        start = self._messages + first * ctypes.sizeof(Message)
        number: int = self._sendmmsg(self.descriptor, start, last - first, socket.MSG_DONTWAIT)
        if number < 0:
            raise last_error()
        return number
