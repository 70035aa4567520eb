"""The contexts of OpenSSL, from options and files that were checked or that are checked by making them."""

import ssl
from collections.abc import Iterable, Sequence

from netd.tls.options import TlsOptions

_TICKETS = 1
"""Session tickets for each handshake of TLS 1.3: each takes a tenth of a handshake's time, and a client that connects
again needs one. OpenSSL sends two."""


class Contexts:
    """The contexts of a service: one for each certificate, selected by the name that a client asks for."""

    def __init__(self, contexts: Sequence[tuple[ssl.SSLContext, Iterable[str]]]) -> None:
        """Each with the names of its certificate; the first is for clients that ask for no name, or for another."""
        self._first = contexts[0][0]
        self._by_name: dict[str, ssl.SSLContext] = {}
        for context, names in contexts:
            for name in names:
                self._by_name.setdefault(name.lower(), context)

    def select(self, server_name: str) -> ssl.SSLContext:
        """The context for this name, in lower case: that of the name itself, else of a wildcard for its first label."""
        _, _, rest = server_name.partition(".")
        return self._by_name.get(server_name) or self._by_name.get(f"*.{rest}") or self._first


def server_context(options: TlsOptions, certificate: str, trust: str | None) -> ssl.SSLContext:
    """The context of a certificate. ``certificate`` is the path of a file that has its key too; ``trust`` is that of a
    file with `client_ca` and `crl`.

    ValueError: what OpenSSL finds wrong with them. OSError: a file cannot be opened.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if options.minimum == "TLSv1.3" else ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = _TICKETS
    if options.ciphers:
        set_ciphers(context, options.ciphers)
    if options.alpn:
        context.set_alpn_protocols(options.alpn)
    try:
        context.load_cert_chain(certificate, password=_no_passphrase)
    except ssl.SSLError as error:
        raise ValueError(_KEY_FAULTS.get(error.reason or "", _text(error))) from None
    if trust and options.client != "none":
        load_trust(context, trust, has_crl=options.crl is not None)
        context.verify_mode = ssl.CERT_REQUIRED if options.client == "required" else ssl.CERT_OPTIONAL
    return context


def set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    """Set the ciphers of TLS 1.2. ValueError: OpenSSL has none of them."""
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise ValueError("OpenSSL has none of these ciphers (openssl-ciphers(1))") from None


def load_trust(context: ssl.SSLContext, trust: str, *, has_crl: bool) -> None:
    """Verify certificates with what is in a file: those of authorities, and their revocation lists.

    ValueError: OpenSSL cannot read it.
    """
    try:
        context.load_verify_locations(trust)
    except ssl.SSLError as error:
        raise ValueError(_TRUST_FAULTS.get(error.reason or "", _text(error))) from None
    if has_crl:
        if not context.cert_store_stats()["crl"]:
            raise ValueError("there is no revocation list in PEM in it")
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which netd cannot ask for: store it without (openssl-pkey(1))")


_KEY_FAULTS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "KEY_TYPE_MISMATCH": "the key is not that of the certificate",
    "NO_CERTIFICATE_ASSIGNED": "the key is not that of the certificate",  # it is for another algorithm
}
_TRUST_FAULTS = {"NO_CERTIFICATE_OR_CRL_FOUND": "there is no certificate in PEM in it"}


def _text(error: ssl.SSLError) -> str:
    if not error.reason and "PEM lib" in str(error):  # the certificate was read before
        return "there is no key in PEM in it, or none that OpenSSL knows"
    return f"OpenSSL: {(error.reason or str(error)).lower().replace('_', ' ')}"
