"""Connections that are passed on to another service: a target is searched for, and then it is a relay.

Until a target has accepted the connection, nothing of it is read, so what the client sends early waits in the kernel.
"""

import contextlib
import select
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, cast

from netd.admission.policy import RefusalLine
from netd.peer import Peer
from netd.reasons import Outcome
from netd.services.forward import Forward
from netd.services.forward.target import Target
from netd.telemetry.forward_events import ForwardEvents, NoTarget
from netd.transport.stream.connecting import Attempt, ConnectError, Connecting
from netd.transport.stream.connection import OUT, Connection, Owner, user_timeout
from netd.transport.stream.proxy_header import proxy_header
from netd.transport.stream.relay import RelayConnection, set_reset
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import StreamSocket

if TYPE_CHECKING:
    from netd.transport.stream.tls_socket import TlsSocket

_QUIET = select.EPOLLET
"""No input is waited for: only the loss of the client is reported, once."""
_SHORT = 3600.0  # seconds of `limits.idle` that end before the kernel would look for a silent target (SO_KEEPALIVE)
_VERSIONS: dict[str, Literal[1, 2]] = {"v1": 1, "v2": 2}


class ForwardConnection(RelayConnection):
    """A client that is joined with a target.

    ``refuse`` says what a client gets where no target can be reached. A client that finishes sending meanwhile is
    joined all the same, since it may wait for an answer; one that resets its connection is gone.
    """

    __slots__ = ("_attempt", "_events", "_is_counted", "_left", "_number", "_refuse", "_service", "_why")

    def __init__(
        self,
        owner: Owner,
        request: StreamSocket,
        peer: Peer,
        service: Forward,
        events: ForwardEvents,
        pipe: SplicePipe | None,
        refuse: str | RefusalLine,
    ) -> None:
        super().__init__(owner, request, peer, None, pipe)
        self._service = service
        self._events = events
        self._refuse = refuse
        self._attempt: Connecting | None = None
        self._number = -1
        self._is_counted = False
        self._left: list[int] = []
        self._why: NoTarget = "out_of_service"

    @property
    def target(self) -> str:
        return self._service.urls[self._number] if self._number >= 0 else ""

    @property
    def _target(self) -> Target:
        return self._service.options.to[self._number]

    def start(self) -> None:
        """Search for a target."""
        self._left = self._service.candidates("stream", self.peer.source, self._owner.loop.now)
        if upstream := self._try_next():
            self._take_upstream(upstream)
            return super().start()
        self._mask = self._client.mask = _QUIET
        Connection.start(self)
        self._owner.loop.redirect(self.descriptor, self._on_lost)
        if not self._attempt:
            self._give_up()

    def _try_next(self) -> socket.socket | None:
        """A connection that was made at once; or None: there is an attempt, or no target is left."""
        loop, service, options = self._owner.loop, self._service, self._service.options
        while self._left:
            self._number = self._left.pop(0)
            self._events.connecting()
            service.targets.trying(self._number, loop.now, options.connect)
            attempt = self._tls_attempt() if self._target.transport == "tls" else self._new_attempt(self._on_result)
            try:
                upstream = attempt.begin()
            except ConnectError as error:
                self._note(error)
                continue
            if upstream is None:
                self._attempt = attempt
            return upstream
        return None

    def _new_attempt(self, done: Callable[[socket.socket | ConnectError], object]) -> Attempt:
        options, is_own = self._service.options, self._service.is_own
        return Attempt(self._owner.loop, self._target, options.connect, options.bind, self._resolve, done, is_own)

    def _tls_attempt(self) -> Connecting:
        attempt: Connecting = self._service.tls[self._target](
            self._owner.loop,
            self._service.options.connect,
            self._header(),
            self._new_attempt,
            self._on_result,
            self._prepare_upstream,
        )
        return attempt

    def _header(self) -> bytes:
        """What a target is told first: a header of the PROXY protocol, or nothing."""
        version = self._service.options.proxy_protocol
        return proxy_header(_VERSIONS[version], self.peer) if version else b""

    def _resolve(self, then: Callable[[tuple[str, ...]], object]) -> tuple[str, ...] | None:
        return self._service.names.addresses(self._target.host, self._owner.loop.now, self._events, then)

    def _note(self, error: ConnectError) -> None:
        """Count a target that could not be reached, and have it rest."""
        self._why = error.why
        is_first = error.why != "no_resources"  # which says nothing of the target
        if is_first:
            is_first = self._service.targets.failed(self._number, error.why, self._owner.loop.now)
        self._events.connect_failed(self.target, error.why, str(error), is_first=is_first)

    def _on_result(self, result: StreamSocket | ConnectError) -> None:
        """The attempt has ended."""
        self._attempt = None
        try:
            upstream: StreamSocket | None
            if isinstance(result, ConnectError):
                self._note(result)
                upstream = self._try_next()
            else:
                upstream = result
            if upstream:
                self._take_upstream(upstream)
                self._mask = self._client.mask = self._owner.input
                self._owner.loop.change(self.descriptor, self._mask, self._receive)
                self._begin_relay()
            elif not self._attempt:
                self._give_up()
        except (OSError, MemoryError) as error:
            self.fail(error)

    def _prepare_upstream(self, upstream: socket.socket) -> None:
        """Set the options of a connection over TCP to a target."""
        idle = self._owner.limits.idle
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, user_timeout(idle))
        if idle is None or idle > _SHORT:
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _take_upstream(self, upstream: StreamSocket) -> None:
        """Join the client with a target that has accepted the connection."""
        targets = self._service.targets
        self._join(upstream)
        if targets.succeeded(self._number):
            self._events.target_recovered(self.target)
        targets.opened(self._number)
        self._is_counted = True
        bare = self._upstream.bare
        if bare is None:  # it was told before its TLS handshake
            return self._events.handshake_done(resumed=cast("TlsSocket", upstream).is_resumed)
        if not self._target.path:
            self._prepare_upstream(bare)
        if header := self._header():
            self._send_header(header)

    def _send_header(self, header: bytes) -> None:
        upstream = self._upstream
        upstream.pending = header
        with contextlib.suppress(OSError):  # there is no room, or it is lost: its own event tells
            upstream.flush(upstream.stream)
        if upstream.pending:
            upstream.mask |= OUT

    def _on_lost(self, mask: int) -> None:
        """The client is gone while a target is searched for. What it has sent before is still passed on."""
        if mask & select.EPOLLERR:
            self.close("reset")
        elif mask & select.EPOLLHUP and not self._has_input():
            self.close("done")

    def _has_input(self) -> bool:
        return self._client.bare is None or bool(self._take(self._client.bare.recv, 1, socket.MSG_PEEK))

    def _give_up(self) -> None:
        """No target is left."""
        self._number = -1
        self._events.targets_exhausted(self.peer.source, self._why)
        if isinstance(self._refuse, RefusalLine):
            with contextlib.suppress(OSError):
                self.socket.send(self._refuse.line.encode() + b"\r\n")
            return self._finish("no_target")
        set_reset(self._client)
        return self.close("no_target")

    def _end(self, outcome: Outcome) -> None:
        if self._attempt:
            self._attempt.close()
            self._attempt = None
        if self._is_counted:
            self._is_counted = False
            self._service.targets.closed(self._number)
            if self._upstream.wrapped and (fault := cast("TlsSocket", self._upstream.wrapped).fault):
                self._events.target_tls_failed(self.target, fault)
        super()._end(outcome)
