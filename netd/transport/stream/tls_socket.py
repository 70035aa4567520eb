"""TLS connections as stream sockets: OpenSSL between two buffers, and a non-blocking socket.

One recv(2) may give several records, and one send(2) take several.
"""

import contextlib
import ssl
from collections.abc import Callable
from copy import copy
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET

from netd.tls.buffers import Buffers
from netd.transport.stream.stream_socket import CHUNK, RESET, BareSocket

_RECORD = 16384
"""Octets of the longest record (RFC 8446, section 5.1)."""
_OVERHEAD = 4 * 29
"""What TLS adds to four such records, at most: so that what bulk needs is received, and nothing is left of it."""
_MOST_UNSENT = 65536
"""Octets that OpenSSL may have to send by itself, such as answers to a peer that changes keys again and again, and
reads nothing."""
_MOST_READS = 64
"""Records that one call decrypts. Those of bulk have 16 KiB or, for a quick start, one packet; those of a hostile peer
may have one octet, or none."""


class TlsSocket:
    """A stream over TLS, after its handshake (`netd.transport.stream.stream_socket.WrappedSocket`).

    ``buffers`` are those of ``tls``. ``received`` is what has come behind the handshake, and ``ticket`` is sent before
    the first octets that are, as the ticket of a session: a client needs it after this connection.

    `send` counts octets as sent once the kernel has taken the record that has them. As SSL_write(3), it has to be
    called with the same octets again where it raised BlockingIOError, and next with those that it has not counted.
    """

    __slots__ = (
        "_bare",
        "_buffers",
        "_counted",
        "_encrypted",
        "_error",
        "_has_ended",
        "_has_more",
        "_held",
        "_is_finished",
        "_is_short",
        "_is_truncated",
        "_received",
        "_resets",
        "_ticket",
        "_tls",
        "_unsent",
        "on_more",
    )

    def __init__(
        self, bare: BareSocket, tls: ssl.SSLObject, buffers: Buffers, received: bytes, ticket: bytes = b""
    ) -> None:
        self._bare = bare
        self._tls = tls
        self._buffers = buffers
        self.on_more: Callable[[], object] | None = None
        self._held = b""  # decrypted, and not received yet
        self._received = received  # not decrypted yet
        self._has_more = bool(received)  # whether `recv` may have something else without a system call
        self._has_ended = False  # whether the peer has finished
        self._error: OSError | None = None  # raised once all before it was received
        self._ticket = ticket
        self._unsent: bytes | memoryview = b""  # records that the kernel has not taken
        self._encrypted = 0  # octets of the caller in them,
        self._counted = 0  # and others that were sent since, which `send` has not counted yet
        self._is_short = False  # whether `send` has taken a part of what it was given
        self._is_truncated = False
        self._is_finished = False  # whether there is a close_notify
        self._resets = False

    @property
    def is_truncated(self) -> bool:
        """Whether the peer has finished first, and without a close_notify (RFC 8446, section 6.1)."""
        return self._is_truncated

    @property
    def is_resumed(self) -> bool:
        """Whether its handshake took the keys of an earlier session."""
        return bool(self._tls.session_reused)

    @property
    def fault(self) -> str:
        """Why TLS itself has failed: an alert of the peer, or what it has violated; empty: it has not."""
        return str(self._error).lower().replace("_", " ") if self._error and self._error.errno is None else ""

    def pending(self) -> int:
        return len(self._held) + self._has_more

    def recv(self, size: int) -> bytes:
        """Receive and decrypt."""
        found, self._held = self._held[:size], self._held[size:]
        return found if len(found) == size else self._read(found, size - len(found))

    def _read(self, found: bytes, size: int) -> bytes:
        """``found``, with up to ``size`` octets more. None at all: the peer has finished."""
        tls, buffers = self._tls, self._buffers
        incoming = buffers.incoming
        if not found:
            if self._error:
                raise copy(self._error)
            if self._has_ended:
                return b""
        pieces = [found] if found else []
        self._has_more = is_dry = False  # is_dry: the kernel has nothing more
        left = _MOST_READS
        most = max(size, _RECORD) + _OVERHEAD
        buffers.clear()
        try:
            while size and left:
                if tls.pending() or incoming.pending:
                    pass
                elif self._received:
                    incoming.write(self._received)
                    self._received = b""
                else:
                    if is_dry and pieces:
                        break  # an end of the stream behind it is reported with it (EDGE)
                    data = self._bare.recv(most)
                    if not data:
                        # OpenSSL is not told: it would send nothing more, and there are clients that finish like this
                        # and wait for the answer.
                        self._is_truncated = not self._is_finished
                        raise EOFError
                    incoming.write(data)
                    is_dry = len(data) < most
                left -= 1
                try:
                    data = tls.read(size)
                except ssl.SSLWantReadError:
                    continue
                if not data:
                    raise EOFError
                pieces.append(data)
                size -= len(data)
            else:
                self._has_more = bool(tls.pending() or incoming.pending or self._received)
                if size and self.on_more:
                    self._tell_more()
        except BlockingIOError:
            pass
        except (EOFError, ssl.SSLZeroReturnError):
            self._has_ended = True
            if pieces:
                self._tell_more()
        except OSError as error:
            # A copy is raised: with a traceback, which has this frame, the two would keep each other in memory.
            reset = ConnectionResetError(error.reason) if isinstance(error, ssl.SSLError) else error
            self._error = reset.with_traceback(None)
            if not pieces:
                self._take_records()
                raise copy(self._error) from None
            self._tell_more()
        finally:
            if incoming.pending:
                self._received = incoming.read()
        if buffers.outgoing.pending:
            self._answer()
        if not (pieces or self._has_ended):
            raise BlockingIOError
        return b"".join(pieces)

    def _tell_more(self) -> None:
        """Ask for another call: the kernel reports nothing of what is left here."""
        self._has_more = True
        if self.on_more:
            self.on_more()

    def _answer(self) -> None:
        """Send what TLS itself has to answer, as far as there is room."""
        self._take_records()
        with contextlib.suppress(BlockingIOError):
            self._flush()
        if len(self._unsent) - self._encrypted > _MOST_UNSENT:
            raise ConnectionAbortedError("the peer reads nothing of what TLS has to send")

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send."""
        if self._unsent and not (self._encrypted or self._counted):  # of TLS alone
            self._flush()
            if self._unsent:
                raise BlockingIOError
        if not (self._unsent or self._counted):
            self._buffers.clear()
            try:
                self._encrypted = self._tls.write(memoryview(data)[:CHUNK] if len(data) > CHUNK else data)
            except ssl.SSLError as error:
                raise BrokenPipeError(error.reason) from None
            self._take_records()
        try:
            self._flush()
        except BlockingIOError:
            if not self._counted:
                raise
        counted, self._counted = self._counted, 0
        self._is_short = counted < len(data)
        if not counted and data:
            raise BlockingIOError
        return counted

    def _flush(self) -> None:
        """Send what is encrypted, and count it. BlockingIOError: there is no room for any of it."""
        if not self._unsent:
            return
        before, encrypted = len(self._unsent), self._encrypted
        sent = self._bare.send(self._unsent)
        self._unsent = self._unsent[sent:] if sent < before else b""
        # In proportion, and some octets are left until all is sent.
        self._encrypted = -(-encrypted * (before - sent) // before)
        self._counted += encrypted - self._encrypted

    def _take_records(self) -> None:
        """Take what OpenSSL has to send."""
        if records := self._buffers.outgoing.read():
            before, self._ticket = self._ticket, b""
            self._unsent = b"".join((self._unsent, before, records)) if self._unsent or before else records

    def shutdown(self, how: int) -> None:
        """Finish sending, after the close_notify of TLS. BlockingIOError: there is no room for that yet."""
        self._finish()
        self._bare.shutdown(SHUT_WR)

    def _finish(self) -> None:
        """Send the close_notify. Raises OSError where that is not possible now."""
        if not self._is_finished:
            # OpenSSL looks for the close_notify of the peer, and would discard what is before that.
            if left := self._tls.pending():
                self._held += self._tls.read(left)
            self._buffers.clear()
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._is_finished = True
            self._take_records()
        while self._unsent:
            self._flush()

    def fileno(self) -> int:
        return self._bare.fileno()

    def reset_on_close(self) -> None:
        self._resets = True
        with contextlib.suppress(OSError):
            self._bare.setsockopt(SOL_SOCKET, SO_LINGER, RESET)

    def close(self) -> None:
        """Close it, with a close_notify unless something that was to be sent before is lost."""
        self.on_more = None
        is_lost = self._is_short or self._unsent or self._error or self._resets
        if not is_lost and self._bare.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._finish()
        self._bare.close()
