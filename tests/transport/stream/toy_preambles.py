"""Two preambles for tests: a header that names the peer, and a handshake that transforms the stream."""

import socket
from collections.abc import Callable, Generator

from netd.addresses import parse_address
from netd.errors import PeerError
from netd.peer import Peer
from netd.transport.stream.preamble import Interrupt, Preambles
from netd.transport.stream.stream_socket import RESET, BareSocket

KEY = 0x5A
_XORED = bytes(octet ^ KEY for octet in range(256))


def name(data: bytes, peer: Peer) -> tuple[int, Peer] | None:
    """``PEER ADDRESS PORT`` and a line feed: names the peer."""
    if not b"PEER ".startswith(data[:5]):
        raise PeerError("expected PEER")
    line, end, _ = data.partition(b"\n")
    if not end:
        return None
    try:
        _, host, port = line.decode("ascii").split()
        parse_address(host)
        return len(line) + 1, peer._replace(transport="tcp", host=host, port=int(port))
    except ValueError as error:
        raise PeerError("expected PEER ADDRESS PORT") from error


class Xor:
    """A socket on which every octet is combined with `KEY`. ``left`` was received with the handshake."""

    def __init__(self, inner: BareSocket, left: bytes) -> None:
        self._inner = inner
        self._left = left
        self.on_more: Callable[[], object] | None = None
        self.is_truncated = False
        self.shutdown, self.fileno, self.close = inner.shutdown, inner.fileno, inner.close

    def pending(self) -> int:
        return len(self._left)

    def recv(self, size: int) -> bytes:
        data, self._left = self._left[:size], self._left[size:]
        if len(data) < size:
            try:
                data += self._inner.recv(size - len(data))
            except BlockingIOError:
                if not data:
                    raise
        return xor(data)

    def send(self, data: bytes | memoryview) -> int:
        return self._inner.send(xor(data))

    def reset_on_close(self) -> None:
        self._inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def xor(data: bytes | memoryview) -> bytes:
    return bytes(data).translate(_XORED)


begun: list[Peer] = []
"""The peers that `transform` was made for."""


def transform(
    peer: Peer, interrupt: Interrupt
) -> Generator[bytes | None, bytes, tuple[Callable[[BareSocket], Xor], Peer]]:
    """``XOR`` and a line feed, which are answered with ``OK`` and a line feed; then the stream is xor'ed."""
    begun.append(peer)
    said = b""
    while not said.startswith(b"XOR\n"):
        if not b"XOR\n".startswith(said):
            raise PeerError("expected XOR")
        said += yield None
    yield b"OK\n"
    return lambda inner: Xor(inner, said[4:]), peer


NAMED, TRANSFORMED, BOTH = Preambles(name), Preambles(None, transform), Preambles(name, transform)
PEER = b"PEER 192.0.2.7 4711\n"
