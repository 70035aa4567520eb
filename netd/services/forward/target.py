"""`Target`: the URL that connections and datagrams are passed on to, parsed and frozen."""

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, TypeAlias, get_args

from netd.endpoints import Endpoint
from netd.errors import InvalidValueError
from netd.peer import Transport
from netd.text import likely, shown

Kind = Literal["stream", "datagram"]
Scheme: TypeAlias = Literal[Transport, "tls"]
_SCHEMES = get_args(Scheme)
_EVERYWHERE = ("*", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Target:
    """One place to connect to."""

    transport: Scheme
    host: str = ""
    """A numeric address in its canonical form, or a name, which workers resolve; empty over UNIX."""
    port: int = 0
    path: str = ""
    """The path of a UNIX socket: absolute, or ``@NAME`` in the abstract namespace (unix(7))."""
    is_name: bool = field(default=False, compare=False)
    """Whether ``host`` is a name."""
    text: str = field(default="", compare=False)
    """The URL as the operator wrote it."""

    @classmethod
    def parse(cls, text: object) -> "Target":
        """The target of a URL. Raises ValueError."""
        if not isinstance(text, str) or "://" not in text:
            raise InvalidValueError(f"expected a URL such as tcp://192.0.2.7:80, got {shown(text)}")
        scheme = text.partition("://")[0]
        if scheme not in _SCHEMES:
            raise InvalidValueError(f"unknown scheme {shown(scheme)} of a target", likely(scheme, _SCHEMES))
        if "?" in text:
            raise ValueError(f"a target has no socket options, got {shown(text)}")
        parsed = Endpoint.parse(text)
        transport: Scheme = scheme  # type: ignore[assignment]  # it is one of them
        if parsed.host in _EVERYWHERE:
            raise ValueError(f"expected one address or name to connect to, got {shown(text)}")
        if not (parsed.port or parsed.path):
            raise ValueError(f"expected a port from 1 to 65535, got {shown(text)}")
        return cls(transport, parsed.host, parsed.port, parsed.path, _is_name(parsed.host), text)

    def __str__(self) -> str:
        return self.text

    @property
    def certified_host(self) -> str:
        """The host as certificates have it: without a zone (%eth0), and without the dot that ends an absolute name."""
        return self.host.partition("%")[0].rstrip(".")

    @property
    def kind(self) -> Kind:
        """Whether it takes connections or datagrams."""
        return "stream" if self.transport in ("tcp", "tls", "unix") else "datagram"

    @property
    def socket_transport(self) -> Transport:
        """That of its socket: TLS is over TCP."""
        return "tcp" if self.transport == "tls" else self.transport

    @property
    def socket_path(self) -> str:
        """The path as connect(2) takes it: an abstract one begins with NUL."""
        return f"\0{self.path[1:]}" if self.path.startswith("@") else self.path


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return bool(host)
    return False
