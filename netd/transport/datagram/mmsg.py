"""Many datagrams with one system call: recvmmsg(2) and sendmmsg(2), through ctypes, since Python has neither.

The kernel reads and writes plain arrays of C structures. Whole columns of them (every length, every address size) are
set by one assignment to a strided memoryview, so that a batch costs a few Python operations and not a few per datagram.
"""

import ctypes
import mmap
import os
import socket
import struct
import sys
from collections.abc import Iterator
from ctypes import c_int, c_size_t, c_uint, c_void_p
from typing import Any

from netd.addresses import is_link_local, map_to_ipv6
from netd.transport.datagram.origins import Control, origin
from netd.transport.sockaddr import CONTROL, IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender, parse_sender, sent_to

SLOTS = 64
"""Datagrams in a batch: by then the system call is a small part of the cost."""

_SLOT = 65536 + 64  # more than a datagram can hold; not a power of 2, which would put every slot into one cache line
# The source and destination of a datagram: the kernel writes a name and control messages, side by side in one slot.
_NAME = 28  # sizeof(struct sockaddr_in6), the larger of the two
_CONTROL_AT = 32
_CMSG = struct.Struct("@Nii")  # struct cmsghdr: length, level, type
_ALIGN = ctypes.sizeof(c_size_t)
_IN_CONTROL = socket.CMSG_SPACE(IN_PKTINFO.size)
_IN6_CONTROL = socket.CMSG_SPACE(IN6_PKTINFO.size)
_BOTH_CONTROL = _IN6_CONTROL + _IN_CONTROL  # on a socket of both families, a datagram over IPv4 has both
_SOURCE_SIZE = _CONTROL_AT + CONTROL
# How the control data begins, and, of IPv4, the port and address of the struct sockaddr_in before it, and the two
# addresses of the struct in_pktinfo in it.
_IN_HEADER = _CMSG.pack(socket.CMSG_LEN(IN_PKTINFO.size), socket.IPPROTO_IP, IP_PKTINFO)
_IN6_HEADER = _CMSG.pack(socket.CMSG_LEN(IN6_PKTINFO.size), socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
_IN_SOURCE = struct.Struct(f"!2xH4s{_CONTROL_AT - 8}x{_CMSG.size}s4x4s4s")
_WORD = 4


class _Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", c_void_p), ("length", c_size_t)]


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = [
        ("name", c_void_p),
        ("name_length", c_uint),
        ("vectors", c_void_p),
        ("vectors_length", c_size_t),
        ("control", c_void_p),
        ("control_length", c_size_t),
        ("flags", c_int),
    ]


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", _Header), ("length", c_uint)]


def _load() -> tuple[Any, Any] | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        receive, send = library.recvmmsg, library.sendmmsg
    except (OSError, AttributeError):
        return None
    receive.argtypes = [c_int, c_void_p, c_uint, c_int, c_void_p]
    send.argtypes = [c_int, c_void_p, c_uint, c_int]
    return receive, send


_functions = _load()
AVAILABLE = _functions is not None
"""Whether the C library has both functions."""


def _column(array: bytearray, stride: int, offset: int, field: Any = None) -> memoryview:
    """One 32-bit word of every ``stride`` octets. Of a size_t it is the lower half: no length here needs more."""
    if field is not None:
        offset += field.offset + (field.size - _WORD if sys.byteorder == "big" else 0)
    return memoryview(array).cast("I")[offset // _WORD :: stride // _WORD]


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
        assert _functions is not None, "AVAILABLE is true"
        self._recvmmsg, self._sendmmsg = _functions
        self._descriptor = descriptor
        self._family = family
        self._ipv6 = family == socket.AF_INET6
        self._header = _IN6_HEADER if self._ipv6 else _IN_HEADER
        self._data = memory
        self._sources = bytearray(SLOTS * _SOURCE_SIZE)
        length = _CONTROL_AT + (_BOTH_CONTROL if self._ipv6 else _IN_CONTROL)
        self._key = struct.Struct(f"{length}s{_SOURCE_SIZE - length}x")
        vectors = bytearray(SLOTS * ctypes.sizeof(_Vector))
        messages = bytearray(SLOTS * ctypes.sizeof(_Message))

        data, sources, first = map(_address, (self._data, self._sources, vectors))
        self._messages = _address(messages)
        self._vectors = first
        for slot, vector in enumerate((_Vector * SLOTS).from_buffer(vectors)):
            vector.base = data + slot * _SLOT
        for slot, message in enumerate((_Message * SLOTS).from_buffer(messages)):
            message.header.name = sources + slot * _SOURCE_SIZE
            message.header.name_length = _NAME  # overwritten with the family's, which is enough from then on
            message.header.vectors = first + slot * ctypes.sizeof(_Vector)
            message.header.vectors_length = 1
            message.header.control = sources + slot * _SOURCE_SIZE + _CONTROL_AT

        stride = ctypes.sizeof(_Message)
        self._received = _column(messages, stride, 0, _Message.length)
        self._room = _column(vectors, ctypes.sizeof(_Vector), 0, _Vector.length)
        self._control_lengths = _column(messages, stride, 0, _Header.control_length)
        # What the kernel overwrites, and the values to put back before the next call.
        self._reset = [
            (self._room, _filled(largest + 1)),
            (self._control_lengths, _filled(CONTROL)),
        ]
        # Where the interface stands: behind the address in struct in6_pktinfo, before it in struct in_pktinfo.
        self._interface_at = _CMSG.size + (16 if self._ipv6 else 0)
        # Make the packet information of the question that of the answer, where it came first.
        self._turned = [
            (_column(self._sources, _SOURCE_SIZE, _CONTROL_AT + self._interface_at), _filled(0)),
            (self._control_lengths, _filled(_IN6_CONTROL if self._ipv6 else _IN_CONTROL)),
        ]
        self._keep_alive = (vectors, messages)

    def receive(self) -> list[int]:
        """Receive up to `SLOTS` datagrams: their lengths. Raises BlockingIOError if none waits."""
        for column, values in self._reset:
            column[:] = values
        number = self._recvmmsg(self._descriptor, self._messages, SLOTS, socket.MSG_DONTWAIT, None)
        if number < 0:
            raise _error()
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
        if not self._ipv6 and size >= _IN_CONTROL:
            port, address, header, local, destination = _IN_SOURCE.unpack_from(self._sources, start)
            if header == _IN_HEADER:
                return Sender(address, port, *sent_to(local, destination))
        name = bytes(self._sources[start : start + _NAME])
        control = bytes(self._sources[start + _CONTROL_AT : start + _CONTROL_AT + size])
        address = name[8:24] if self._ipv6 else name[4:8]
        infos, place = [], 0
        while place + _CMSG.size <= size:
            length, level, kind = _CMSG.unpack_from(control, place)
            if length < _CMSG.size:
                break
            infos.append((level, kind, control[place + _CMSG.size : place + length]))
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
        made = _control_data(origin(sender, self._family))
        start, place = slot * _SOURCE_SIZE + _CONTROL_AT, self._interface_at
        head, tail = start + place, start + place + _WORD
        came = self._sources[start:head] + bytes(_WORD) + self._sources[tail : start + len(made)]
        return None if made == came and self.has_key(slot) else made

    def set_answer(self, slot: int, data: bytes) -> bool:
        """Replace the question in a slot by its answer. False if the answer is too long."""
        length = len(data)
        if length > _SLOT:
            return False
        start = slot * _SLOT
        self._data[start : start + length] = data
        self._room[slot] = length
        return True

    def reuse_packet_info(self) -> None:
        """Send all answers from the destination of their question, where the packet information came first."""
        for column, values in self._turned:
            column[:] = values

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
        self._room[:number] = self._received[:number]

    def send(self, first: int, last: int) -> int:
        """Send the answers in the slots ``first`` to ``last`` - 1: how many were sent.

        Raises OSError if the first could not be sent.
        """
        start = self._messages + first * ctypes.sizeof(_Message)
        number: int = self._sendmmsg(self._descriptor, start, last - first, socket.MSG_DONTWAIT)
        if number < 0:
            raise _error()
        return number


_IN_NAME = struct.Struct("=H2s4s8x")  # struct sockaddr_in: family, port, address
_IN6_NAME = struct.Struct("=H2s4x16sI")  # struct sockaddr_in6: family, port, flow, address, interface


class RelayBatch:
    """The datagrams of a `Batch` on their way to a connected socket, and answers from there to one peer at a time.

    Both are in the memory of the batch: one set of headers names no address, the other one that of the peer.
    """

    shares_room = True

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._sender: Sender | None = None
        self._name = bytearray(_NAME)
        self._control = bytearray(_BOTH_CONTROL)
        self._bare, bare = _headers(batch._vectors)
        self._named, named = _headers(batch._vectors, _address(self._name), _address(self._control))
        stride = ctypes.sizeof(_Message)
        self._received = _column(bare, stride, 0, _Message.length)
        self._name_lengths = _column(named, stride, 0, _Header.name_length)
        self._control_lengths = _column(named, stride, 0, _Header.control_length)
        self._keep_alive = (bare, named)

    def pass_on(self, descriptor: int, first: int, last: int) -> int:
        """Send the datagrams in the slots ``first`` to ``last`` - 1 to the peer of a connected socket, after `reflect`.

        Returns how many were sent. Raises OSError if the first could not be sent.
        """
        return _checked(self._batch._sendmmsg(descriptor, _at(self._bare, first), last - first, socket.MSG_DONTWAIT))

    def receive(self, upstream: Any) -> list[int]:
        """Receive up to `SLOTS` answers from a connected socket: their lengths. As `Batch.receive`."""
        descriptor = upstream.fileno()
        column, values = self._batch._reset[0]
        column[:] = values
        number = _checked(self._batch._recvmmsg(descriptor, self._bare, SLOTS, socket.MSG_DONTWAIT, None))
        self._batch._room[:number] = self._received[:number]
        lengths: list[int] = self._received[:number].tolist()
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
        if self._batch._ipv6:
            interface = sender.interface if is_link_local(sender.address) else 0
            name = _IN6_NAME.pack(socket.AF_INET6, port, map_to_ipv6(sender.address), interface)
        else:
            name = _IN_NAME.pack(socket.AF_INET, port, sender.address)
        data = _control_data(control)
        self._name[: len(name)] = name
        self._control[: len(data)] = data
        self._name_lengths[:] = _filled(len(name))
        self._control_lengths[:] = _filled(len(data))

    def sender(self, slot: int) -> Sender:
        """The sender that the answers go to."""
        assert self._sender, "`address_to` comes first"
        return self._sender

    def leave_source_to_kernel(self, slot: int) -> bool:
        """As for a `Batch`: also for answers that follow."""
        changed = bool(self._control_lengths[slot])
        self._control_lengths[:] = _filled(0)
        return changed

    def send(self, first: int, last: int) -> int:
        """Send the answers in the slots ``first`` to ``last`` - 1. As `Batch.send`."""
        descriptor, start = self._batch._descriptor, _at(self._named, first)
        return _checked(self._batch._sendmmsg(descriptor, start, last - first, socket.MSG_DONTWAIT))


def _headers(vectors: int, name: int = 0, control: int = 0) -> tuple[int, bytearray]:
    """The address of a header for each slot, with their vectors at this address, and the memory of the headers."""
    messages = bytearray(SLOTS * ctypes.sizeof(_Message))
    for slot, message in enumerate((_Message * SLOTS).from_buffer(messages)):
        message.header.name = name or None
        message.header.vectors = vectors + slot * ctypes.sizeof(_Vector)
        message.header.vectors_length = 1
        message.header.control = control or None
    return _address(messages), messages


def _at(messages: int, slot: int) -> int:
    return messages + slot * ctypes.sizeof(_Message)


def _checked(number: int) -> int:
    if number < 0:
        raise _error()
    return number


def _control_data(control: Control) -> bytes:
    """Control messages, of which there is one at most, as the kernel takes them, without the padding at their end."""
    return b"".join(_CMSG.pack(socket.CMSG_LEN(len(data)), level, kind) + data for level, kind, data in control)


def _address(array: Any) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(array))


def _filled(value: int) -> memoryview:
    return memoryview(b"".join([value.to_bytes(_WORD, sys.byteorder)] * SLOTS)).cast("I")


def _error() -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
