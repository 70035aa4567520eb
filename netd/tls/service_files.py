"""The files of one service: its certificates with their keys, and the authorities of its clients."""

from dataclasses import dataclass

from netd.tls.sealed_files import SealedFiles


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its key."""

    files: SealedFiles
    """Both, one after the other."""
    path: str
    """The file of the certificate."""
    names: tuple[str, ...]
    """The hosts that the certificate is for, in lower case; one may begin with ``*.``."""
    not_after: float
    """When it expires, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class ServiceFiles:
    """What TLS of a service needs beside its options. Copies of the same content are equal."""

    identities: tuple[Identity, ...]
    trust: SealedFiles | None
    """`client_ca` and `crl`; None: there is none."""
    to_trust: SealedFiles | None = None
    """`options.to_tls.ca` of a forward."""
    to_certificate: SealedFiles | None = None
    """`options.to_tls.certificate` and its key."""
