"""The options of TLS: the key ``tls`` of a service."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from netd.errors import InvalidValueError
from netd.notation import Notation
from netd.text import shown
from netd.values import Model, Path, list_hint, parse_path

_MOST_CERTIFICATES = 64
_MOST_PROTOCOLS = 16
_PATH_SCHEMA: dict[str, Any] = {"type": "string", "pattern": "^/"}


def _paths(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (parse_path(value),)
    if isinstance(value, list | tuple) and 0 < len(value) <= _MOST_CERTIFICATES:
        return tuple(map(parse_path, value))
    message = f"expected a path, or a list of at most {_MOST_CERTIFICATES} paths, got {shown(value)}"
    raise InvalidValueError(message, list_hint(value))


Paths = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda value: () if value == () else _paths(value)),
    PlainSerializer(
        lambda paths: paths[0] if len(paths) == 1 else list(paths) or None, return_type=Any, when_used="json"
    ),
    WithJsonSchema(
        {"anyOf": [_PATH_SCHEMA, {"type": "array", "items": _PATH_SCHEMA, "minItems": 1}, {"type": "null"}]}
    ),
    Notation(f"path, or list of at most {_MOST_CERTIFICATES} paths"),
]


class TlsOptions(Model):
    """TLS at `tls://` endpoints. ``defaults.tls`` gives the values that are not set here."""

    certificate: Annotated[Paths, BeforeValidator(lambda value: () if value is None else value)] = ()
    """The certificate in PEM, followed by those of its issuers up to the root: a path, or a list of paths, of which a
    connection gets the one that has the name that the client asks for (SNI, RFC 6066), else the first. netd reads the
    files when it starts and at each reload, as the user that starts it."""
    key: Annotated[Paths, BeforeValidator(lambda value: () if value is None else value)] = ()
    """The private key in PEM, without a passphrase: a path, or as many paths as certificates, in their order. Unset: it
    is in the file of the certificate."""
    client_ca: Path | None = None
    """The certificates in PEM of the authorities that issue certificates to clients."""
    crl: Path | None = None
    """Revocation lists in PEM of these authorities (CRL, RFC 5280), one for each; without a list that is valid now, no
    certificate of its authority is. Unset: none is revoked."""
    client: Literal["none", "optional", "required"] = "none"
    """Whether clients have certificates of `client_ca`: `none` (netd asks for none), `optional` (if a client sends one,
    it has to be valid), or `required`. none, since few clients have one."""
    minimum: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2"
    """The oldest version: TLSv1.2 or TLSv1.3. TLSv1.2, since older ones are not secure (RFC 8996), and many programs
    know no newer one."""
    ciphers: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    """The ciphers of TLS 1.2, in the notation of openssl-ciphers(1). Unset: those of OpenSSL on this host that Python
    takes for secure. Those of TLS 1.3 are all secure, and stay."""
    alpn: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[!-~]{1,255}$")], ...], Field(max_length=_MOST_PROTOCOLS)
    ] = ()
    """The protocols of the service, the preferred one first, as in [http/1.1], for clients that ask which one is spoken
    (ALPN, RFC 7301). None: the client is told none."""


def merge(base: TlsOptions, own: TlsOptions) -> TlsOptions:
    """The keys that are given in ``own``, and the other ones from ``base``; a certificate comes with its own key."""
    given = {name: getattr(own, name) for name in own.model_fields_set}
    if "certificate" in given:
        given.setdefault("key", ())
    return base.model_copy(update=given)
