"""The options of TLS to targets: the key ``to_tls``."""

from typing import Annotated, Literal

from pydantic import Field

from netd.values import Model, Path


class ToTls(Model):
    """TLS to `tls://` targets."""

    ca: Path | None = None
    """The certificates in PEM that are trusted: those of authorities, or of targets themselves. Unset: those of the
    authorities that this host trusts."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,253}$")] | None = None
    """The name or address that the certificate of each target has to be for, and that targets are asked for (SNI).
    Unset: the host in the target's URL."""
    certificate: Path | None = None
    """The certificate in PEM with which netd connects, followed by those of its issuers. Unset: none."""
    key: Path | None = None
    """Its private key in PEM, without a passphrase. Unset: it is in the file of the certificate."""
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """The oldest version: TLSv1.2 or TLSv1.3. TLSv1.2, since older ones are not secure (RFC 8996)."""
    verify: bool = True
    """Whether the certificate of a target is verified. If false, any host on the way can read and change what is sent;
    netd warns at each start."""
