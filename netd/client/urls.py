"""The URLs that clients connect to."""

from netd.addresses import split_port
from netd.endpoints import Endpoint
from netd.text import shown

_EXAMPLE = "expected a URL such as tcp://localhost:7, tls://localhost:7, udp://[::1]:7 or unix:///run/echo.sock"


def client_endpoint(text: str) -> Endpoint:
    """The endpoint of a URL that a client can connect to. Raises ValueError."""
    scheme, separator, place = text.partition("://")
    if not separator:
        raise ValueError(f"{_EXAMPLE}, got {shown(text)}")
    if scheme in ("tcp", "tls", "udp") and split_port(place.partition("?")[0])[1] is None:
        raise ValueError(f"{_EXAMPLE}; {text} has no port")
    endpoint = Endpoint.parse(text)
    if endpoint.transport == "systemd":
        raise ValueError(f"{_EXAMPLE}; systemd:// is for listeners")
    if endpoint.host in ("*", "0.0.0.0", "::") or (endpoint.host and not endpoint.port):
        raise ValueError(f"{_EXAMPLE}; {text} is not an address to connect to")
    if "?" in text:
        raise ValueError(f"{_EXAMPLE}; socket options are for listeners")
    return endpoint
