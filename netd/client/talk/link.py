"""The line to the other end of a conversation: opening it, sending, receiving, hanging up."""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from netd.addresses import address_text
from netd.endpoints import Endpoint
from netd.errors import HungUpError, UnreachableError, UsageError
from netd.text import shown

_PATIENCE = 10.0
"""Seconds that an address of a name has to take a connection before the next one is tried: three lost SYNs."""

_MOST_AT_ONCE = 65536
"""Octets that are received with one call: more than any datagram holds."""

_MOST_UNHEARD = 16
"""Datagrams that are kept to be sent again, while nobody has answered and the name has other addresses."""


_ATTEMPTS = 3
"""How often a datagram is sent: each try but the last may be told of another one's fate."""


class Link(Protocol):
    """One conversation, from this end."""

    @property
    def url(self) -> str:
        """What it leads to, as it was asked for."""

    @property
    def where(self) -> str:
        """The address that was taken."""

    @property
    def streams(self) -> bool:
        """Whether it carries a stream, which has an end, rather than messages."""

    async def send(self, data: bytes) -> bool:
        """Send this much of a stream, or one message. False: nobody is there to get it; `receive` says why."""

    async def receive(self) -> bytes | None:
        """Some of a stream, or one message; None when the other end has closed."""

    async def finish(self) -> None:
        """Say that nothing more is going to be sent."""

    def close(self) -> None: ...


def client_endpoint(text: str) -> Endpoint:
    """The endpoint that a client is told to go to; ValueError says what is wrong with it."""
    example = "expected a URL such as tcp://localhost:7, udp://[::1]:7 or unix:///run/echo.sock"
    if "://" not in text:
        raise ValueError(f"{example}, got {shown(text)}")
    endpoint = Endpoint.parse(text)
    if endpoint.transport == "systemd":
        raise ValueError(f"{example}; systemd:// is for who listens")
    if endpoint.host == "*" or (endpoint.host and not endpoint.port):
        raise ValueError(f"{example}: {text} is no place to go to")
    if "?" in text:
        raise ValueError(f"{example}; socket options are for who listens")
    return endpoint


def connect(endpoint: Endpoint) -> Link:
    """A line to what listens at ``endpoint``, to whichever address of a name answers first in the resolver's order."""
    url = str(endpoint)
    if endpoint.transport == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return StreamLink(url, _connected(connection, _unix_address(endpoint), url), url)
    if endpoint.transport == "unixgram":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        connection.bind("")  # a name of the kernel's choice, for answers to come to (autobind, unix(7))
        return DatagramLink(url, [(_connected(connection, _unix_address(endpoint), url), url)])
    kind = socket.SOCK_STREAM if endpoint.transport == "tcp" else socket.SOCK_DGRAM
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=kind)
    except (OSError, UnicodeError) as error:  # the latter for a label of more than 63 characters
        reason = error.strerror if isinstance(error, OSError) else "no such name"
        raise UnreachableError([f"{url}: cannot resolve {endpoint.host}: {reason}"]) from None
    places = [(family, address) for family, _, _, _, address in found]
    return dial(url, kind, places)


def dial(url: str, kind: socket.SocketKind, places: Iterable[tuple[socket.AddressFamily, tuple[Any, ...]]]) -> Link:
    """A line to the first of these addresses that takes it."""
    lines, failures = [], []
    for family, address in places:
        where = address_text(address[0], address[1])
        try:
            connection = socket.socket(family, kind)
            try:
                connection.settimeout(_PATIENCE)
                connection.connect(address)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            failures.append((where, error))
            continue
        if kind == socket.SOCK_STREAM:
            return StreamLink(url, connection, where)
        lines.append((connection, where))
    if not lines:
        raise _unreachable(url, failures)
    return DatagramLink(url, lines, failures)


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
    reasons = [(where, _reason(error)) for where, error in failures]
    if len(reasons) == 1 and reasons[0][0] in url:
        return UnreachableError([f"{url}: {reasons[0][1]}"])
    return UnreachableError([f"{url}: {', '.join(f'{where} ({reason})' for where, reason in reasons)}"])


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError) and error.errno is None:
        return "no answer in time"
    if error.errno == errno.EPROTOTYPE:
        return "the socket is of the other kind; unix:// is for streams, unixgram:// for datagrams"
    return os.strerror(error.errno) if error.errno else str(error)


class StreamLink:
    """A line over TCP or a UNIX stream."""

    streams = True

    def __init__(self, url: str, connection: socket.socket, where: str) -> None:
        self.url = url
        self.where = where
        connection.setblocking(False)
        self._socket = connection

    async def send(self, data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError:
            return False  # what it said before may still be there to be read; receive() finds the end
        return True

    async def receive(self) -> bytes | None:
        try:
            return await asyncio.get_running_loop().sock_recv(self._socket, _MOST_AT_ONCE) or None
        except OSError as error:
            raise HungUpError([f"{self.url}: {_reason(error)}"]) from None

    async def finish(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already

    def close(self) -> None:
        self._socket.close()


class DatagramLink:
    """A line over datagrams.

    Nobody knows whether an address answers before something was sent to it, so all of a name's addresses are kept until
    one does. Where one refuses (ICMP), what was sent goes to the next.
    """

    streams = False

    def __init__(
        self,
        url: str,
        lines: list[tuple[socket.socket, str]],
        failures: list[tuple[str, OSError]] | None = None,
    ) -> None:
        self.url = url
        for connection, _ in lines:
            connection.setblocking(False)
        self._all = [connection for connection, _ in lines]
        self._lines = deque(lines)
        self._failures = failures or []
        self._unheard: deque[bytes] = deque(maxlen=_MOST_UNHEARD)

    @property
    def where(self) -> str:
        return self._lines[0][1]

    @property
    def _socket(self) -> socket.socket:
        return self._lines[0][0]

    async def send(self, data: bytes) -> bool:
        if len(self._lines) > 1:
            self._unheard.append(data)
        await self._send(data)
        await asyncio.sleep(0)  # a refusal is there at once on one's own host, and receive() is to see it now
        return True

    async def _send(self, data: bytes) -> None:
        failures = []
        while True:
            try:
                return await asyncio.get_running_loop().sock_sendall(self._socket, data)
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise UsageError([f"{self.url}: a datagram cannot hold {len(data)} octets"]) from None
                # Mostly this is the refusal of an earlier one (ip(7)). receive() hears of it when this one is refused.
                failures.append((self.where, error))
                if len(failures) == _ATTEMPTS:
                    raise _unreachable(self.url, failures[:1]) from None

    async def receive(self) -> bytes | None:
        while True:
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _MOST_AT_ONCE)
            except OSError as error:
                self._failures.append((self.where, error))
                if len(self._lines) == 1:
                    raise _unreachable(self.url, self._failures) from None
                self._lines.popleft()
                for message in list(self._unheard):
                    await self._send(message)
                continue
            while len(self._lines) > 1:
                self._lines.pop()
            self._failures.clear()
            self._unheard.clear()
            return data

    async def finish(self) -> None:
        """Datagrams have no end."""

    def close(self) -> None:
        for connection in self._all:
            connection.close()
