"""The TLS handshake: the preamble of connections at ``tls://`` endpoints."""

import hashlib
import ssl
from collections.abc import Generator
from functools import partial
from time import monotonic
from typing import Any

from netd.errors import PeerError
from netd.peer import Peer, Tls
from netd.reasons import HandshakeFailure
from netd.telemetry.service_events import ServiceEvents
from netd.tls.buffers import Buffers
from netd.tls.client_hello import ClientHello, parse_hello
from netd.tls.contexts import Contexts
from netd.transport.stream.preamble import TIMEOUT, Interrupt, Wrap
from netd.transport.stream.tls_socket import TlsSocket

MOST_UNDER_WAY = 1024
"""Handshakes that a process has under way. Each takes some 50 KB in OpenSSL until its end, and up to ten seconds where
its peer is slow; one that is not takes a few round trips, so that so many are enough for ten thousand in a second. One
more ends the oldest, which is that of a slow peer, or of one that sends nothing more."""


class _Failure(PeerError):
    """A handshake that has failed, with what the peer is to be told: the alert."""

    def __init__(self, reason: HandshakeFailure, error: str, alert: bytes = b"") -> None:
        super().__init__(error)
        self.reason: HandshakeFailure = reason
        self._alert = alert

    @property
    def answer(self) -> bytes:
        return self._alert


class UnderWay:
    """The handshakes that a process has under way, the oldest first."""

    def __init__(self) -> None:
        self._all: dict[Interrupt, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def add(self, interrupt: Interrupt) -> None:
        """Add one, and end the oldest where there are too many."""
        if len(self._all) >= MOST_UNDER_WAY:
            oldest = next(iter(self._all))
            self.discard(oldest)
            oldest(_Failure("busy", f"{MOST_UNDER_WAY} later handshakes are under way"))
        self._all[interrupt] = None

    def discard(self, interrupt: Interrupt) -> None:
        """Remove one, if it is there."""
        self._all.pop(interrupt, None)


_ALL = UnderWay()


class TlsHandshake:
    """The handshakes of a service, in one process."""

    def __init__(self, contexts: Contexts, events: ServiceEvents) -> None:
        self._contexts = contexts
        self._events = events
        self._buffers = Buffers()

    def __call__(self, peer: Peer, interrupt: Interrupt) -> Generator[bytes | None, bytes, tuple[Wrap, Peer]]:
        """A handshake with this peer (`netd.transport.stream.preamble.Transforming`)."""
        began = monotonic()
        received = b""
        try:
            while (hello := parse_hello(received)) is None:
                received += yield None
            if not hello.is_tls:
                raise _Failure("plain_text", "the connection does not begin with a TLS handshake")
            return (yield from self._handshake(peer, interrupt, hello, received))
        except _Failure as failure:
            self._events.handshake_failed(peer, failure.reason, str(failure))
            raise
        except GeneratorExit:
            if received:
                reason: HandshakeFailure = "timeout" if monotonic() - began >= TIMEOUT else "closed"
                self._events.handshake_failed(peer, reason, "")
            raise

    def _handshake(
        self, peer: Peer, interrupt: Interrupt, hello: ClientHello, received: bytes
    ) -> Generator[bytes | None, bytes, tuple[Wrap, Peer]]:
        _ALL.add(interrupt)
        try:
            buffers = self._buffers
            context = self._contexts.select(hello.server_name)
            tls = context.wrap_bio(buffers.incoming, buffers.outgoing, server_side=True)
            while True:
                buffers.put(received)
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    if answer := buffers.outgoing.read():
                        yield answer
                    received = yield None
                except ssl.SSLError as error:
                    raise _failure(error, buffers.outgoing.read()) from None
            received, ticket = buffers.incoming.read(), buffers.outgoing.read()
            if ticket and tls.version() != "TLSv1.3":
                yield ticket  # with the end of the handshake, for which the client waits
                ticket = b""
        finally:
            _ALL.discard(interrupt)
        self._events.handshake_done(resumed=bool(tls.session_reused))
        wrap = partial(TlsSocket, tls=tls, buffers=buffers, received=received, ticket=ticket)
        return wrap, peer._replace(tls=_facts(tls, hello.server_name))


def _failure(error: ssl.SSLError, alert: bytes) -> _Failure:
    """The failure that OpenSSL reports."""
    reason = error.reason or ""
    kind: HandshakeFailure = "protocol"
    if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE"):
        kind = "version"
    elif reason == "NO_SHARED_CIPHER":
        kind = "cipher"
    elif reason in ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED"):
        kind = "certificate"
    elif "ALERT" in reason:
        kind = "alert"
    detail = getattr(error, "verify_message", "")
    text = reason.lower().replace("_", " ") or "the handshake failed"
    return _Failure(kind, f"{text}: {detail}" if detail else text, alert)


def _facts(tls: ssl.SSLObject, server_name: str) -> Tls:
    """What is known of a connection after its handshake."""
    cipher = tls.cipher()
    facts = Tls(tls.version() or "", cipher[0] if cipher else "", server_name=server_name)
    if alpn := tls.selected_alpn_protocol():
        facts = facts._replace(alpn=alpn)
    if certificate := tls.getpeercert(binary_form=True):
        facts = facts._replace(fingerprint=hashlib.sha256(certificate).hexdigest(), **_names(_decoded(tls)))
    return facts


def _decoded(tls: ssl.SSLObject) -> Any:
    """What the certificate of the peer says; nothing where its names are no text."""
    try:
        return tls.getpeercert() or {}
    except ValueError:
        return {}


# The attributes of a name by the words of OpenSSL, and by those of RFC 4514.
_ATTRIBUTES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_KINDS = {"DNS": "dns", "URI": "uri", "email": "email", "IP Address": "ip"}


def _names(certificate: Any) -> dict[str, Any]:
    """The names in a certificate, as `ssl.SSLObject.getpeercert` decodes it."""
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    common = [value for name, value in subject if name == "commonName"]
    return {
        "subject": ",".join(f"{_ATTRIBUTES.get(name, name)}={_escaped(value)}" for name, value in reversed(subject)),
        "common_name": common[-1] if common else "",
        "names": tuple(
            f"{_KINDS[kind]}:{value}" for kind, value in certificate.get("subjectAltName", ()) if kind in _KINDS
        ),
    }


def _escaped(value: str) -> str:
    """A value of a name, in which nothing stands for the end of it (RFC 4514, section 2.4)."""
    return "".join(f"\\{one}" if one in '\\,+"<>;=' else one for one in value)
