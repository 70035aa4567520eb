"""The link over TLS: OpenSSL between two buffers, above a link over TCP."""

import asyncio
import contextlib
import datetime
import ssl

from netd.client.talk.link import CONNECT_TIMEOUT, Link
from netd.errors import HungUpError, UnreachableError
from netd.tls.client import ClientTls, describe_error

_RECEIVE_SIZE = 65536  # octets that are decrypted with one call: more than a record holds


class TlsLink:
    """A link over TLS. `handshake` comes first."""

    streams = True

    def __init__(self, bare: Link, tls: ClientTls) -> None:
        self.url = bare.url
        self.address = bare.address
        self._bare = bare
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.context.wrap_bio(self._incoming, self._outgoing, server_hostname=tls.server_name)
        self._is_verified = tls.context.verify_mode != ssl.CERT_NONE
        self._flushing: asyncio.Task[bool] | None = None
        self._left = b""  # decrypted before the end of this side, and not received yet

    async def handshake(self) -> None:
        """Raises `UnreachableError` where it fails, or takes longer than a connection may."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._shake()
        except ssl.SSLError as error:
            await self._flush()  # the alert, which tells the server why
            raise UnreachableError([f"{self.url}: {describe_error(error)}"]) from None
        except TimeoutError:
            late = "no answer to the TLS handshake in time; does the server speak TLS?"
            raise UnreachableError([f"{self.url}: {late}"]) from None
        except HungUpError as error:
            raise UnreachableError([f"{problem} during the TLS handshake" for problem in error.problems]) from None

    async def _shake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._receive_more()
            else:
                await self._flush()
                return

    @property
    def security(self) -> str:
        """The protocol, the cipher, and what the certificate of the server says."""
        from netd.tls.peer_certificate import describe_certificate  # only here, since it takes long

        cipher = self._tls.cipher()
        der = self._tls.getpeercert(binary_form=True)
        said = describe_certificate(der, datetime.datetime.now(datetime.UTC)) if der else "no certificate"
        words = (self._tls.version() or "", cipher[0] if cipher else "", said)
        return ", ".join(words) + ("" if self._is_verified else ", not verified")

    async def send(self, data: bytes) -> bool:
        try:
            self._tls.write(data)
        except ssl.SSLError:
            return False  # there may be data left to receive; receive() then reports the end
        return await self._flush()

    async def _flush(self) -> bool:
        """Send what TLS has for the other end. False: the other end cannot receive it."""
        return await asyncio.shield(self._begin_flush())  # a part of a record would make all after it unreadable

    def _begin_flush(self) -> asyncio.Task[bool]:
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._send_outgoing())
        return self._flushing

    async def _send_outgoing(self) -> bool:
        while data := self._outgoing.read():
            if not await self._bare.send(data):
                return False
        return True

    async def receive(self) -> bytes | None:
        while not self._left:
            try:
                return self._tls.read(_RECEIVE_SIZE) or None
            except ssl.SSLWantReadError:
                await self._receive_more()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return None  # many servers close without the close_notify of TLS
            except ssl.SSLError as error:
                raise HungUpError([f"{self.url}: {describe_error(error)}"]) from None
        data, self._left = self._left, b""
        return data

    async def _receive_more(self) -> None:
        # What TLS sends by itself goes meanwhile: the other end may receive nothing before this side does.
        self._begin_flush()
        if data := await self._bare.receive():
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def finish(self) -> None:
        # OpenSSL looks for the close_notify of the other end, and would discard what is before that.
        with contextlib.suppress(ssl.SSLError):
            while data := self._tls.read(_RECEIVE_SIZE):
                self._left += data
        received = self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._incoming.write(received)
        await self._flush()
        await self._bare.finish()

    async def delivered(self) -> bool:
        return await self._bare.delivered()

    def close(self) -> None:
        self._bare.close()
