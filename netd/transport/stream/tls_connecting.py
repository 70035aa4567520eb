"""Connecting to a target over TLS: an attempt, and then a handshake without a thread."""

import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import cast

from netd.telemetry.forward_events import Why
from netd.tls.client import ClientTls, describe_error
from netd.transport.loop import Loop, Timer
from netd.transport.stream.connecting import Attempt, ConnectError
from netd.transport.stream.stream_socket import CHUNK, StreamSocket
from netd.transport.stream.tls_socket import TlsSocket

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class _TargetSocket(TlsSocket):
    """A connection to a target, at the end of which its session is kept."""

    __slots__ = ("_agreed", "_session")

    def __init__(
        self, bare: socket.socket, tls: ssl.SSLObject, client: ClientTls, received: bytes, agreed: float
    ) -> None:
        super().__init__(bare, tls, client.buffers, received)
        self._session = client.session
        self._agreed = agreed

    def close(self) -> None:
        super().close()
        self._session.keep(self._tls, self._agreed)


Done = Callable[[StreamSocket | ConnectError], object]


class TlsAttempt:
    """The attempt to connect to a target and to agree on TLS with it; both take ``timeout`` seconds at most.

    ``attempt`` makes the connection, given the function that gets it. ``prepare`` is called with it. ``first`` is sent
    before TLS begins, as a header of the PROXY protocol is. The methods are those of `Attempt`.
    """

    def __init__(
        self,
        tls: ClientTls,
        loop: Loop,
        timeout: float,
        first: bytes,
        attempt: Callable[[Done], Attempt],
        done: Done,
        prepare: Callable[[socket.socket], object] | None = None,
    ) -> None:
        self._loop = loop
        self._until = loop.now + timeout
        self._attempt: Attempt | None = attempt(self._on_connected)
        self._prepare = prepare
        self._done = done
        self._bare: socket.socket | None = None
        self._timer: Timer | None = None
        self._unsent = first
        self._received = b""
        self._client = tls
        self._tls = tls.context.wrap_bio(
            tls.buffers.incoming, tls.buffers.outgoing, server_hostname=tls.server_name, session=tls.session.get()
        )
        self._is_agreed = False

    def begin(self) -> None:
        """Begin: no connection is made at once. Raises `ConnectError`."""
        assert self._attempt
        if bare := self._attempt.begin():
            self._start(bare)

    def close(self) -> None:
        """End it: `done` is not called any more."""
        if self._attempt:
            self._attempt.close()
            self._attempt = None
        if bare := self._release():
            bare.close()

    def _release(self) -> socket.socket | None:
        """The connection, which is no longer watched or timed."""
        if self._timer:
            self._loop.wheel.drop(self._timer)
            self._timer = None
        bare, self._bare = self._bare, None
        if bare:
            self._loop.unwatch(bare.fileno())
        return bare

    def _on_connected(self, result: StreamSocket | ConnectError) -> None:
        self._attempt = None
        if isinstance(result, ConnectError):
            self._done(result)
            return
        try:
            self._start(cast("socket.socket", result))
        except ConnectError as error:
            self._done(error)

    def _start(self, bare: socket.socket) -> None:
        """Begin the handshake. Raises `ConnectError`."""
        self._attempt = None
        try:
            if self._prepare:
                self._prepare(bare)
            self._loop.watch(bare.fileno(), _OUT, self._go_on)
        except OSError as error:
            bare.close()
            raise ConnectError.of(error.errno or 0) from None
        self._bare = bare
        left = max(0.0, self._until - self._loop.now)
        self._timer = self._loop.later(left, lambda: self._fail("timeout", "no TLS handshake in time"))

    def _go_on(self, mask: int) -> None:
        """There is input, or room."""
        bare = self._bare
        assert bare
        try:
            if mask & ~_OUT:  # level-triggered: one read, and the loop comes back
                data = bare.recv(CHUNK)
                if not data:
                    raise ConnectionResetError
                self._received += data
            if not self._is_agreed:
                self._shake_hands()
            self._send(bare)
        except BlockingIOError:
            pass
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                with contextlib.suppress(OSError):  # the alert
                    self._send(bare)
            return self._fail("tls", describe_error(error))
        except MemoryError:  # the loop finds a connection by the client's descriptor alone
            return self._fail("no_resources", "ENOMEM")
        if self._is_agreed and not self._unsent:
            self._release()
            self._done(_TargetSocket(bare, self._tls, self._client, self._received, self._loop.now))
        else:
            self._loop.change(bare.fileno(), _OUT if self._unsent else _IN, self._go_on)

    def _shake_hands(self) -> None:
        buffers = self._client.buffers
        buffers.put(self._received)
        try:
            self._tls.do_handshake()
            self._is_agreed = True
        except ssl.SSLWantReadError:
            pass
        finally:
            self._received = buffers.incoming.read()
            self._unsent += buffers.outgoing.read()

    def _send(self, bare: socket.socket) -> None:
        if self._unsent:
            self._unsent = self._unsent[bare.send(self._unsent) :]

    def _fail(self, why: Why, error: str) -> None:
        if bare := self._release():
            bare.close()
        self._client.session.drop()  # the next attempt owes it nothing
        self._done(ConnectError(why, error))
