"""The structures and functions of recvmmsg(2) and sendmmsg(2), through ctypes, since Python has neither.

The kernel reads and writes plain arrays of C structures. Whole columns of them (every length, every address size) are
set by one assignment to a strided memoryview, so that a batch costs a few Python operations and not a few per datagram.
"""

import ctypes
import os
import socket
import struct
import sys
from ctypes import c_int, c_size_t, c_uint, c_void_p
from typing import Any

from netd.transport.datagram.origins import Control

SLOTS = 64
"""Datagrams in a batch: by then the system call is a small part of the cost."""
CMSG = struct.Struct("@Nii")
"""struct cmsghdr: length, level, type."""
WORD = 4
"""Octets of an element of a `column`."""


class Vector(ctypes.Structure):
    """struct iovec."""

    _fields_ = [("base", c_void_p), ("length", c_size_t)]


class Header(ctypes.Structure):
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


class Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = [("header", Header), ("length", c_uint)]


def _load() -> tuple[Any, Any, Any] | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        receive, send, send_one = library.recvmmsg, library.sendmmsg, library.sendmsg
    except (OSError, AttributeError):
        return None
    receive.argtypes = [c_int, c_void_p, c_uint, c_int, c_void_p]
    send.argtypes = [c_int, c_void_p, c_uint, c_int]
    send_one.argtypes = [c_int, c_void_p, c_int]
    return receive, send, send_one


functions = _load()
"""recvmmsg(2), sendmmsg(2) and sendmsg(2); None: the C library lacks one."""
AVAILABLE = functions is not None


def column(array: bytearray, stride: int, offset: int, field: Any = None) -> memoryview:
    """One 32-bit word of every ``stride`` octets. Of a size_t it is the lower half: no length here needs more."""
    if field is not None:
        offset += field.offset + (field.size - WORD if sys.byteorder == "big" else 0)
    return memoryview(array).cast("I")[offset // WORD :: stride // WORD]


def control_data(control: Control) -> bytes:
    """Control messages, of which there is one at most, as the kernel takes them, without the padding at their end."""
    return b"".join(CMSG.pack(socket.CMSG_LEN(len(data)), level, kind) + data for level, kind, data in control)


def address_in(array: Any) -> int:
    """The address of an array in memory."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array))


def filled(value: int) -> memoryview:
    """A value for each slot of a `column`."""
    return memoryview(b"".join([value.to_bytes(WORD, sys.byteorder)] * SLOTS)).cast("I")


def last_error() -> OSError:
    """The error of the last of `functions`."""
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code))
