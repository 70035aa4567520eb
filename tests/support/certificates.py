"""Certificates for tests: authorities, what they issue and revoke, each in files as a server or a client reads them."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

HERE = ("localhost", "127.0.0.1", "::1")
_DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    """The time, in seconds as certificates have it."""
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Issued:
    """A certificate with those of the authorities between it and the root, and its private key: paths of PEM files."""

    certificate: Path
    key: Path
    x509: x509.Certificate

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, in hexadecimal digits."""
        return self.x509.fingerprint(hashes.SHA256()).hex()


class Authority:
    """A certificate authority with its files in a directory; a root, or an intermediate of `issuer`."""

    def __init__(self, directory: Path, name: str = "Test CA", issuer: "Authority | None" = None) -> None:
        self.directory = directory
        self.name = _subject(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = _builder(self.name, (issuer or self).name, self.key, now() - 30 * _DAY, now() + 3650 * _DAY)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        self.x509 = (issuer or self).sign(builder)
        self.chain: bytes = (_pem(self.x509) + issuer.chain) if issuer else b""
        """What a server sends after a certificate of this authority: no root."""
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(_pem(self.x509))

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """Sign with the key of this authority, which is named in it (RFC 5280, 4.2.1.1)."""
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return builder.add_extension(identifier, critical=False).sign(self.key, hashes.SHA256())

    def issue(
        self,
        name: str,
        names: tuple[str, ...] | bytes = HERE,
        *,
        days: tuple[float, float] = (-1, 90),
        client: bool = False,
        rsa_key: bool = False,
        self_signed: bool = False,
    ) -> Issued:
        """Issue a certificate with the common name `name`, which also names its files.

        `names` become its subjectAltName: addresses, URIs (with ``://``), mail addresses (with ``@``), else DNS names;
        or they are its octets, which need not be right.
        It is valid from so many days from now to so many, for a server or a client. A `self_signed` one has nothing of
        this authority but the directory.
        """
        key: _PrivateKey = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
        subject = _subject(name)
        begin, end = (now() + day * _DAY for day in days)
        builder = _builder(subject, subject if self_signed else self.name, key, begin, end)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if isinstance(names, bytes):
            raw = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, names)
            builder = builder.add_extension(raw, critical=False)
        elif names:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
        certificate = builder.sign(key, hashes.SHA256()) if self_signed else self.sign(builder)
        paths = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        paths[0].write_bytes(_pem(certificate) + (b"" if self_signed else self.chain))
        paths[1].touch(mode=0o600)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Issued(*paths, certificate)

    def revoke(self, *issued: Issued, days: float = 30, since: float = -30) -> Path:
        """A list (CRL) that revokes these certificates alone: the path of a PEM file.

        It is valid from so many days from now, ``since``, to so many.
        """
        builder = x509.CertificateRevocationListBuilder(self.name, now() + since * _DAY, now() + days * _DAY)
        for one in issued:
            revoked = x509.RevokedCertificateBuilder(one.x509.serial_number, now() - _DAY).build()
            builder = builder.add_revoked_certificate(revoked)
        path = self.directory / f"{self.certificate.stem}.crl"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _PrivateKey, begin: datetime.datetime, end: datetime.datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), begin, end)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
