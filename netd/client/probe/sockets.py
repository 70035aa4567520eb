"""The non-blocking sockets of sessions, bare or with TLS, and what their errors mean."""

import contextlib
import os
import select
import socket
import ssl
import time
from typing import Any

from netd.client.probe.outcomes import Outcome, outcome_of
from netd.client.probe.tally import Tally
from netd.client.probe.targets import Address
from netd.errors import OpenError
from netd.tls.client import ClientTls, TlsError, describe_error

_SILENT = "no answer to the TLS handshake in time; does the server speak TLS?"


class TlsSocket(ssl.SSLSocket):
    """A socket with TLS. It has the errors of a bare one, and `TlsError` where TLS fails.

    OpenSSL reads a record at a time from the kernel, so it stays readable while there is more to receive.
    """

    _tally: Tally | None = None
    _began = 0
    _is_shaken = False

    @property
    def is_shaking(self) -> bool:
        """Whether the handshake has begun."""
        return self._tally is not None

    def begin(self, tally: Tally) -> int:
        """Begin the handshake of a socket that is connected, as `shake` continues it. Its time goes to the tally."""
        self._tally, self._began = tally, time.monotonic_ns()
        tally.reasons[Outcome.TIMED_OUT] = _SILENT
        return self.shake()

    def shake(self) -> int:
        """Continue the handshake: the epoll events that it waits for, 0 once it is done. Raises `TlsError`."""
        try:
            self.do_handshake()
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLIN | select.EPOLLOUT
        except OSError as error:
            raise TlsError(describe_error(error)) from None
        assert self._tally, "it has begun"
        self._is_shaken = True
        self._tally.handshake.add(time.monotonic_ns() - self._began)
        self._tally.reasons.pop(Outcome.TIMED_OUT, None)
        return 0

    def send(self, data: Any, flags: int = 0) -> int:
        """Where there is no room, 0, and not BlockingIOError: the next call has to send the same octets."""
        try:
            return super().send(data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLError as error:
            raise TlsError(describe_error(error)) from None

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Called by recv and recv_into."""
        try:
            return super().read(len, buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLError as error:
            raise TlsError(describe_error(error)) from None

    def close(self) -> None:
        if self._is_shaken:
            with contextlib.suppress(OSError, ValueError):
                self.unwrap()  # sends the close_notify, and does not wait for that of the server
        super().close()


def open_socket(address: Address, kind: socket.SocketKind, tls: ClientTls | None = None) -> socket.socket:
    """A non-blocking socket; a `TlsSocket` for ``tls``. Raises OpenError where this host refuses one."""
    family, _ = address
    try:
        made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise OpenError([f"cannot open a socket: {error.strerror}"]) from None
    if kind == socket.SOCK_STREAM and family != socket.AF_UNIX:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    elif kind == socket.SOCK_DGRAM and family == socket.AF_UNIX:
        made.bind("")  # the kernel chooses an abstract name (unix(7)), to which answers are sent
    if tls is None:
        return made
    tls.context.sslsocket_class = TlsSocket
    return tls.context.wrap_socket(made, do_handshake_on_connect=False, server_hostname=tls.server_name)


def connect(made: socket.socket, address: Address) -> None:
    """Begin to connect. Raises OSError, of which BlockingIOError says that it goes on.

    An `ssl.SSLSocket` can be used after ``connect_ex`` alone, and not after a ``connect`` that goes on.
    """
    if number := made.connect_ex(address[1]):
        raise OSError(number, os.strerror(number))


def classify(error: OSError) -> tuple[Outcome, str]:
    """The outcome that an error means, and its text. Raises OpenError for an error of this host."""
    outcome = outcome_of(error)
    if outcome is None:
        raise OpenError([f"cannot continue: {error.strerror or error}"]) from None
    return outcome, error.strerror or str(error)
