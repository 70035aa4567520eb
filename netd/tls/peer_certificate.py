"""What the certificate of a server says, for people. It needs the package cryptography."""

import datetime
import warnings

from cryptography import x509

from netd.text import printable

_LONGEST = 200
"""Characters of a name that are shown: the server chooses them."""


def describe_certificate(der: bytes, now: datetime.datetime) -> str:
    """The subject, the issuer and the end of a certificate in DER, which need not be one."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of what the standards forbid and servers have
            found = x509.load_der_x509_certificate(der)
            subject, issuer = (printable(name.rfc4514_string()[:_LONGEST]) for name in (found.subject, found.issuer))
            end = found.not_valid_after_utc
    except (ValueError, TypeError, KeyError, x509.InvalidVersion):  # the second and third for names that are no text
        return "a certificate that cannot be read"
    by = "self-signed" if subject == issuer else f"issued by {issuer}"
    return f"{subject or 'no subject'}, {by}, {'expired' if end < now else 'valid until'} {end:%Y-%m-%d}"
