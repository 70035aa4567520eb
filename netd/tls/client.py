"""The side of TLS that connects: its context, the name that it expects, and what its errors mean."""

import encodings.idna  # noqa: F401  # ssl needs it for names, and a worker may have no right to read it later
import errno
import glob
import os
import ssl
from dataclasses import dataclass, field

from netd.text import printable
from netd.tls.buffers import Buffers
from netd.tls.last_session import LastSession

_NOT_TLS = {
    "WRONG_VERSION_NUMBER",  # what is no record of TLS, as a line of text
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNEXPECTED_MESSAGE",  # an echo of this side's own hello
    "UNEXPECTED_RECORD",
}
_KEY_FAULTS = {
    "KEY_VALUES_MISMATCH": "the key is not that of the certificate",
    "KEY_TYPE_MISMATCH": "the key is not that of the certificate",
}


class TlsError(OSError):
    """TLS with the other end failed; the text says why. It has no error number."""


@dataclass(frozen=True, slots=True)
class ClientTls:
    """What connections to one server need."""

    context: ssl.SSLContext
    server_name: str
    """The host that the server is asked for (SNI), and that its certificate has to be for: a name, or an address."""
    buffers: Buffers = field(default_factory=Buffers, compare=False)
    """Those of all connections that one thread serves."""
    session: LastSession = field(default_factory=LastSession, compare=False)
    """What they resume."""


def client_context(
    cafile: str | None = None,
    certificate: str | None = None,
    key: str | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    *,
    insecure: bool = False,
) -> ssl.SSLContext:
    """A context that verifies the server's certificate and its name, unless it is ``insecure``.

    ``cafile`` is the path of certificates in PEM that are trusted, in place of those of the host. ``certificate`` and
    ``key``, each in PEM, are those of this side; without ``key`` it is in the file of the certificate.

    ValueError: what OpenSSL finds wrong with a file. OSError: a file cannot be opened.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif cafile is not None:
        # Any certificate in the file is trusted, not only that of a root: it may be that of the server.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cafile)
        except ssl.SSLError:
            raise ValueError("there is no certificate in PEM in it") from None
    else:
        context.load_default_certs()
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            fault = "a certificate and its key in PEM are expected"
            raise ValueError(_KEY_FAULTS.get(error.reason or "", fault)) from None
    return context


def host_authorities() -> tuple[str, ...]:
    """The files with the authorities that this host trusts, which a context without ``cafile`` would use.

    OpenSSL looks into a directory at each handshake, for the hash of a name (openssl-rehash(1)).
    """
    where = ssl.get_default_verify_paths()
    directories = os.environ.get(where.openssl_capath_env, where.openssl_capath).split(os.pathsep)
    hashed = [path for one in directories if one for path in glob.glob(f"{glob.escape(one)}/{'[0-9a-f]' * 8}.[0-9]")]
    return tuple(one for one in (where.cafile or "", *sorted(hashed)) if os.access(one, os.R_OK))


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase; store it without (openssl-pkey(1))")


def describe_error(error: OSError) -> str:
    """Why TLS failed, in OpenSSL's words where they say enough: a line without control characters."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {printable(error.verify_message.rstrip('.'))}"
    if isinstance(error, ssl.SSLEOFError) or error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
        return "closed by the other end during the TLS handshake"
    if not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno) if error.errno else str(error)
    words = (error.reason or "unknown error").lower().replace("_", " ")
    if error.reason in _NOT_TLS:
        return f"the server does not speak TLS ({words})"
    return words if "alert" in words else f"TLS failed: {words}"
