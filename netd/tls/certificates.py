"""What a certificate says: its names, its time, and whether those of its issuers follow it; and the time of a CRL.

The only file that needs the package cryptography, which is imported where a config has TLS.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from netd.tls.sealed_files import SealedFiles

_CERTIFICATE = re.compile(rb"-----BEGIN ((?:X509 )?CERTIFICATE)-----[A-Za-z0-9+/=\s]+?-----END \1-----", re.ASCII)
_LIST = re.compile(rb"-----BEGIN X509 CRL-----[A-Za-z0-9+/=\s]+?-----END X509 CRL-----", re.ASCII)
_MOST = 16  # certificates of a chain that are looked at


@dataclass(frozen=True, slots=True)
class Certificate:
    """The first certificate of a file."""

    subject: str
    """As ``CN=www.example.org`` (RFC 4514)."""
    names: tuple[str, ...]
    """The hosts that it is for, in lower case: alternative names, or without any the common name."""
    not_before: float
    not_after: float
    """The time in which it is valid, in seconds since 1970."""
    missing_issuer: str
    """The issuer, if its certificate is not in the file; empty: it is, or the certificate is a root itself."""


def read_certificate(files: SealedFiles) -> Certificate:
    """The certificate of files that may hold a private key too, of which nothing is copied.

    ValueError: there is none, or it cannot be read.
    """
    with files.mapped() as octets:
        found = [match[0] for _, match in zip(range(_MOST), _CERTIFICATE.finditer(octets), strict=False)]
    if not found:
        raise ValueError("there is no certificate in PEM in it")
    chain = [_parse(one) for one in found]
    first = chain[0]
    try:
        return Certificate(
            first.subject.rfc4514_string(),
            _names(first),
            first.not_valid_before_utc.timestamp(),
            first.not_valid_after_utc.timestamp(),
            "" if any(one.subject == first.issuer for one in chain) else first.issuer.rfc4514_string(),
        )
    except (TypeError, KeyError) as error:  # of names that are no text
        raise ValueError(f"it has a certificate with names that cannot be read: {error}") from None


def invalid_lists(files: SealedFiles, now: float) -> Iterator[tuple[str, float, bool]]:
    """The revocation lists that are not valid ``now``, in seconds since 1970.

    Of each the authority, the time of its end or its beginning, and whether it has ended. ValueError: a list cannot be
    read.
    """
    with files.mapped() as octets:
        found = [match[0] for match in _LIST.finditer(octets)]
    for one in found:
        revoked = x509.load_pem_x509_crl(one)
        begin, end = revoked.last_update_utc.timestamp(), revoked.next_update_utc
        if end and end.timestamp() < now:
            yield revoked.issuer.rfc4514_string(), end.timestamp(), True
        elif now < begin:
            yield revoked.issuer.rfc4514_string(), begin, False


def _parse(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion) as error:
        raise ValueError(f"it has a certificate that cannot be read: {str(error).partition(chr(10))[0]}") from None


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = alternative.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        found = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return tuple(dict.fromkeys(name.lower().removesuffix(".") for name in found))
