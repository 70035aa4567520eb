"""The link to the other end of a conversation, over a socket: connect, send, receive, close."""

import asyncio
import errno
import fcntl
import os
import socket
import termios
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from netd.addresses import address_text
from netd.endpoints import Endpoint
from netd.errors import HungUpError, UnreachableError, UsageError

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to one address of a name, before the next one is tried: three lost SYNs. A TLS handshake has
as long again."""

_RECEIVE_SIZE = 65536
"""Octets that are received with one call: more than any datagram holds."""

_ACKNOWLEDGE_TIMEOUT = 1.0
"""Seconds for the other end to acknowledge or reset what was sent, after it has closed: some round trips."""

_MAX_UNANSWERED = 16
"""Datagrams that are kept, to be sent to another address of the name if this one does not answer."""

_ATTEMPTS = 3
"""How often a datagram is sent: each try may fail with the pending error of an earlier one (ip(7))."""


class Link(Protocol):
    """A connection to the other end, or a socket for datagrams to it."""

    @property
    def url(self) -> str:
        """The URL, as the user gave it."""

    @property
    def address(self) -> str:
        """The address that the socket is connected to."""

    @property
    def streams(self) -> bool:
        """Whether it carries a stream, which has an end, and not messages."""

    async def send(self, data: bytes) -> bool:
        """Send a part of a stream, or one message. False: the other end cannot receive it; `receive` reports why."""

    async def receive(self) -> bytes | None:
        """A part of a stream, or one message; None when the other end has closed. Raises `OperatorError` on failure."""

    async def finish(self) -> None:
        """Signal the end of this side's stream."""

    async def delivered(self) -> bool:
        """Whether the other end has taken everything that was sent, as far as it says. Call it after the end."""

    def close(self) -> None: ...


def connect(endpoint: Endpoint) -> Link:
    """A link to an endpoint: to the first address of its name, in the resolver's order, that answers.

    For an endpoint with TLS it is the link over TCP, below that of TLS. Raises `UnreachableError`.
    """
    url = str(endpoint)
    if endpoint.transport == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return StreamLink(url, _connected(connection, _unix_address(endpoint), url), url)
    if endpoint.transport == "unixgram":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection.bind("")  # the kernel chooses a name, to which answers are sent (autobind, unix(7))
        return DatagramLink(url, [(_connected(connection, _unix_address(endpoint), url), url)])
    kind = socket.SOCK_STREAM if endpoint.streams else socket.SOCK_DGRAM
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind)
    except (OSError, UnicodeError) as error:  # the latter for a label of more than 63 characters
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise UnreachableError([f"{url}: cannot resolve {endpoint.host}: {reason}"]) from None
    return dial(url, kind, [(family, address) for family, _, _, _, address in found])


def dial(url: str, kind: socket.SocketKind, addresses: Iterable[tuple[socket.AddressFamily, tuple[Any, ...]]]) -> Link:
    """A link to the first of these addresses that takes it. Raises `UnreachableError` with the error of each."""
    sockets, failures = [], []
    for family, address in addresses:
        text = address_text(address[0], address[1])
        try:
            connection = socket.socket(family, kind)
            try:
                connection.settimeout(CONNECT_TIMEOUT)
                connection.connect(address)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            failures.append((text, error.with_traceback(None)))  # which has this frame, and so the sockets
            continue
        if kind == socket.SOCK_STREAM:
            return StreamLink(url, connection, text)
        sockets.append((connection, text))
    if not sockets:
        raise _unreachable(url, failures)
    return DatagramLink(url, sockets, failures)


def _unix_address(endpoint: Endpoint) -> str:
    return "\0" + endpoint.path[1:] if endpoint.path.startswith("@") else endpoint.path


def _connected(connection: socket.socket, address: str, url: str) -> socket.socket:
    try:
        connection.connect(address)
    except OSError as error:
        connection.close()
        raise _unreachable(url, [(url, error)]) from None
    return connection


def _unreachable(url: str, failures: list[tuple[str, OSError]]) -> UnreachableError:
    reasons = [(address, _reason(error)) for address, error in failures]
    if len(reasons) == 1 and reasons[0][0] in url:
        return UnreachableError([f"{url}: {reasons[0][1]}"])
    return UnreachableError([f"{url}: {', '.join(f'{address} ({reason})' for address, reason in reasons)}"])


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if error.errno == errno.EPROTOTYPE:
        return "the socket is of the other type; unix:// is for streams, unixgram:// for datagrams"
    return os.strerror(error.errno) if error.errno else str(error)


class StreamLink:
    """A link over TCP or a UNIX stream."""

    streams = True

    def __init__(self, url: str, connection: socket.socket, address: str) -> None:
        self.url = url
        self.address = address
        connection.setblocking(False)
        self._socket = connection

    async def send(self, data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError:
            return False  # there may be data left to receive; receive() then reports the end
        return True

    async def receive(self) -> bytes | None:
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, _RECEIVE_SIZE) or None
        except OSError as error:
            raise HungUpError([f"{self.url}: {_reason(error)}"]) from None

    async def finish(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection is closed already

    async def delivered(self) -> bool:
        # A peer that has closed its socket, and not only one direction, answers further data with a reset.
        until = time.monotonic() + _ACKNOWLEDGE_TIMEOUT
        while not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            if self._socket.family == socket.AF_UNIX or time.monotonic() > until:
                return True
            unacknowledged = fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4))  # SIOCOUTQ, tcp(7)
            if not any(unacknowledged):
                return True
            await asyncio.sleep(0.01)
        return False

    def close(self) -> None:
        self._socket.close()


class DatagramLink:
    """A link over datagrams.

    An address that has not answered yet may have no listener. So there is a socket for each address of a name, until
    one answers; where one refuses (ICMP), the datagrams sent so far go to the next.
    """

    streams = False

    def __init__(
        self,
        url: str,
        sockets: list[tuple[socket.socket, str]],
        failures: list[tuple[str, OSError]] | None = None,
    ) -> None:
        self.url = url
        for connection, _ in sockets:
            connection.setblocking(False)
        self._all = [connection for connection, _ in sockets]
        self._candidates = deque(sockets)
        self._failures = failures or []
        self._unanswered: deque[bytes] = deque(maxlen=_MAX_UNANSWERED)

    @property
    def address(self) -> str:
        return self._candidates[0][1]

    @property
    def _socket(self) -> socket.socket:
        return self._candidates[0][0]

    async def send(self, data: bytes) -> bool:
        if len(self._candidates) > 1:
            self._unanswered.append(data)
        await self._send(data)
        await asyncio.sleep(0)  # a refusal by this host arrives at once: receive() is to see it before the next send
        return True

    async def _send(self, data: bytes) -> None:
        failures = []
        while True:
            try:
                return await asyncio.get_running_loop().sock_sendall(self._socket, data)
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise UsageError([f"{self.url}: a datagram cannot hold {len(data)} octets"]) from None
                # Mostly the pending error of an earlier datagram (ip(7)). receive() gets the error of this one.
                failures.append((self.address, error.with_traceback(None)))
                if len(failures) == _ATTEMPTS:
                    raise _unreachable(self.url, failures[:1]) from None

    async def receive(self) -> bytes | None:
        while True:
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _RECEIVE_SIZE)
            except OSError as error:
                self._failures.append((self.address, error.with_traceback(None)))
                if len(self._candidates) == 1:
                    raise _unreachable(self.url, self._failures) from None
                self._candidates.popleft()
                for message in list(self._unanswered):
                    await self._send(message)
                continue
            while len(self._candidates) > 1:
                self._candidates.pop()
            self._failures.clear()
            self._unanswered.clear()
            return data

    async def finish(self) -> None:
        """Do nothing: datagrams have no end of stream."""

    async def delivered(self) -> bool:
        return True

    def close(self) -> None:
        for connection in self._all:
            connection.close()
