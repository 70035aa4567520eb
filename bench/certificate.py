"""The certificate of the servers that are measured over TLS."""

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def certificate(directory: Path) -> Path:
    """A file (PEM) in this directory with an ECDSA key on P-256 and a certificate for it that lasts a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    pem, how = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file = directory / "localhost.pem"
    file.touch(mode=0o600)
    file.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(pem) + key.private_bytes(pem, how, serialization.NoEncryption())
    )
    return file
