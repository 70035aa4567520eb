"""A TLS client for tests, which can half-close, and a TLS server without a config."""

import contextlib
import socket
import ssl
import threading
from typing import Any

from netd.telemetry.service_events import ServiceEvents
from netd.tls.contexts import Contexts, server_context
from netd.tls.options import TlsOptions
from netd.tls.sealed_files import SealedFiles
from netd.transport.stream.preamble import Preambles
from netd.transport.stream.tls_handshake import TlsHandshake
from tests.support.certificates import Authority, Issued

PIECE = 65536


class TlsClient:
    """A connection over TLS, of which `shutdown` sends a close_notify and the end of file, and which then receives on.

    One thread may send while another one receives.
    """

    def __init__(self, bare: socket.socket, context: ssl.SSLContext, server_name: str | None = "localhost") -> None:
        self.bare = bare
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)
        self._held, self._unsent = b"", b""
        self._lock = threading.Lock()
        self.fileno, self.settimeout, self.setblocking = bare.fileno, bare.settimeout, bare.setblocking
        self.setsockopt, self.getsockname, self.close = bare.setsockopt, bare.getsockname, bare.close

    def handshake(self) -> "TlsClient":
        while True:
            try:
                self.tls.do_handshake()
                return self
            except ssl.SSLWantReadError:
                self.bare.sendall(self.outgoing.read())
                self._receive()
            finally:
                self.bare.sendall(self.outgoing.read())

    def _receive(self) -> None:
        data = self.bare.recv(PIECE)
        with self._lock:
            if data:
                self.incoming.write(data)
            else:
                self.incoming.write_eof()

    def recv(self, size: int) -> bytes:
        while True:
            try:
                with self._lock:
                    if self._held:
                        held, self._held = self._held[:size], self._held[size:]
                        return held
                    return self.tls.read(size)
            except ssl.SSLWantReadError:
                self._receive()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLEOFError as error:
                raise ConnectionAbortedError("the end of file, without a close_notify") from error

    def encrypt(self, data: bytes) -> bytes:
        """The records of some octets, which are to be sent."""
        with self._lock:
            assert self.tls.write(data) == len(data)
            return self.outgoing.read()

    def send(self, data: bytes) -> int:
        """Send at most `PIECE` octets. What the socket does not take of it goes first the next time."""
        if self._unsent:
            self._unsent = self._unsent[self.bare.send(self._unsent) :]
            if self._unsent:
                raise BlockingIOError
        self._unsent = self.encrypt(data[:PIECE])
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[self.bare.send(self._unsent) :]
        return len(data[:PIECE])

    def sendall(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            self.bare.sendall(self._unsent + self.encrypt(data[start : start + PIECE]))
            self._unsent = b""

    def shutdown(self, how: int) -> None:
        with self._lock:
            if left := self.tls.pending():  # OpenSSL would discard it
                self._held += self.tls.read(left)
            rest = self.incoming.read()
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.unwrap()
            if rest:
                self.incoming.write(rest)
            self._unsent += self.outgoing.read()
        self._finishing = threading.Thread(target=self._finish, args=(how,))
        self._finishing.start()

    def wait(self) -> None:
        """Wait until the end is sent."""
        self._finishing.join()

    def _finish(self, how: int) -> None:
        """Send what is left: there may be no room before something is received."""
        with contextlib.suppress(OSError):
            self.bare.settimeout(20)
            self.bare.sendall(self._unsent)
            self.bare.shutdown(how)

    def __enter__(self) -> "TlsClient":
        return self

    def __exit__(self, *exception: object) -> None:
        self.bare.close()


def client_context(
    authority: Authority, version: ssl.TLSVersion | None = None, certificate: Issued | None = None
) -> ssl.SSLContext:
    """The context of a client that trusts an authority; of one version of TLS, or with a certificate."""
    context = ssl.create_default_context(cafile=authority.certificate)
    if version:
        context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def tls_preambles(
    issued: Issued, events: ServiceEvents | None = None, trust: str | None = None, **options: Any
) -> Preambles:
    """A handshake with this certificate."""
    files = SealedFiles.copy([str(issued.certificate), str(issued.key)])
    context = server_context(TlsOptions.model_validate(options), files.path, trust)
    return Preambles(transforming=TlsHandshake(Contexts([(context, [])]), events or ServiceEvents("test")))
