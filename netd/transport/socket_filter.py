"""Attaches a filter of addresses to a socket, so that the kernel discards what it does not accept (socket(7)).

A filter belongs to the socket: all processes that have the socket open have the same one, and a socket that is stored
with the service manager keeps it. It judges what arrives from then on; a socket that is to receive nothing else gets it
before bind(2). A program with the socket may detach it, or lock it (SO_LOCK_FILTER), so a filter protects that program
and nothing else.

UDP: each datagram is judged.

TCP: a listener judges the segments of a handshake, so a client that is refused waits until its connect(2) times out. A
connection has the filter that its listener had at the end of the handshake, for good. Since that one accepts the peer,
no connection is cut off: an exchange at the listener is for new connections, as all rules and bans are. Only where the
exchange is between the two microseconds in which the kernel judges the last segment of a handshake and copies the
filter, a connection of a refused peer is open and receives nothing.

The kernel counts what is discarded among the drops of the socket (SO_MEMINFO).
"""

import ctypes
import socket
import struct
from collections.abc import Sequence

from netd.admission.address_filter import Instruction

_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27  # asm-generic/socket.h; the socket module does not have them
_SOCK_FILTER = struct.Struct("=HBBI")
_SOCK_FPROG = struct.Struct("@HP")
_ACCEPTING = (Instruction(0x06, 0, 0, 2**32 - 1),)  # BPF_RET: so many octets of the packet


def attach(opened: socket.socket, program: Sequence[Instruction]) -> None:
    """Attach a filter to an IPv4 or IPv6 socket, or exchange it: each packet is judged by the old or by the new one.

    Raises OSError; the socket then has the filter that it had. EPERM: a TCP socket, without CAP_NET_ADMIN in the user
    namespace of its network (Linux since June 2026, stable kernels too; before, any user may), or a locked filter.
    ENOMEM: the kernel's form of both filters is larger than the sysctl net.core.optmem_max. Two of the largest fit into
    its default of 128 KiB (since Linux 6.8), and two of 800 instructions into that of 20 KiB before.
    """
    assert opened.family in (socket.AF_INET, socket.AF_INET6), "the peers of other sockets have no IP addresses"
    instructions = b"".join(_SOCK_FILTER.pack(*one) for one in program)
    array = ctypes.create_string_buffer(instructions, len(instructions))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _SOCK_FPROG.pack(len(program), ctypes.addressof(array)))


def may_attach_to_tcp() -> bool:
    """Whether this process may attach a filter to a TCP socket. It tries that on one of its own. Raises OSError."""
    with socket.socket() as tried:
        try:
            attach(tried, _ACCEPTING)
        except PermissionError:
            return False
    return True


def detach(opened: socket.socket) -> None:
    """Remove the filter of a socket, if it has one. Any user may. Raises OSError: EPERM if the filter is locked."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except FileNotFoundError:
        pass
