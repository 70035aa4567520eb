"""The connected UDP sockets of this host, which the kernel lists in /proc/net/udp and udp6 (proc(5))."""

import contextlib
import struct

from netd.addresses import is_loopback, map_to_ipv6, pack_address
from netd.peer import Peer

_EVERY = 1.0  # seconds between two reads: each takes milliseconds, and any user can open sockets
_MOST = 64 * 1024  # octets that are read of a table: some hundred sockets, in less than 2 ms
_TABLES = "/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"


class ConnectedSockets:
    """The connected UDP sockets of this host, as they were up to a second ago. One for all servers of a loop."""

    def __init__(self) -> None:
        self._pairs: set[tuple[bytes, bytes]] = set()
        self._until = float("-inf")

    def has(self, peer: Peer, now: float) -> bool:
        """Whether a socket of this host is bound to the peer's address and port, and connected (connect(2)) to netd's.

        False where this is not known: where the peer has neither a loopback address nor the one at which netd received
        its datagram, for a socket that was connected since the last read or is far down a long table, and where /proc
        is missing. ``now`` is `Loop.now`.
        """
        remote, local = pack_address(peer.host), pack_address(peer.local_host)
        if remote != local and not is_loopback(remote):
            return False
        if now >= self._until:
            self._until = now + _EVERY
            self._pairs = set[tuple[bytes, bytes]]().union(*map(_read, _TABLES))
        return any(
            (_end(to_form(remote), peer.port), _end(to_form(local), peer.local_port)) in self._pairs
            for to_form in (bytes, map_to_ipv6)
        )


def _read(table: str) -> set[tuple[bytes, bytes]]:
    """The local and remote ends of the connected sockets in the first `_MOST` octets of a table."""
    data = b""
    with contextlib.suppress(OSError), open(table, "rb") as sockets:
        data = sockets.read(_MOST)
    pairs = set()
    for line in data[: data.rfind(b"\n")].splitlines()[1:]:  # the head, and then: number, local, remote end, the rest
        _, local, remote, _ = line.split(maxsplit=3)
        if not remote.endswith(b":0000"):
            pairs.add((local, remote))
    return pairs


def _end(address: bytes, port: int) -> bytes:
    """An address and port as the kernel prints them: each four octets as one number in the order of this machine."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return b"".join(b"%08X" % word for word in words) + b":%04X" % port
