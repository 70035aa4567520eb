"""The proxies in front of a service: which hosts name the peers of their connections (PROXY protocol)."""

from typing import Annotated, Any

from pydantic import Field, model_serializer

from netd.admission.addresses import NetworkOption
from netd.values import Model

NO_DATAGRAMS = "proxy_protocol is for streams: netd reads no header in datagrams; give them a service of their own"
"""The error for a service with proxies on a socket of datagrams."""


class ProxyProtocol(Model):
    """The proxies that send a header of the PROXY protocol."""

    sources: Annotated[tuple[NetworkOption, ...], Field(alias="from", min_length=1)]
    """The proxies: networks, addresses, `local` (loopback and UNIX peers) or `any`. Each of their connections begins
    with a header of version 1 or 2, within ten seconds; all other connections are refused. The peer that the header
    names is the peer in all else: in access, limits, bans, logs and commands. A proxy itself, which names no peer
    (LOCAL, UNKNOWN), is served without these checks. `any` lets every client name any address."""

    @model_serializer
    def _written(self) -> dict[str, Any]:
        return {"from": [named.text for named in self.sources]}

    @property
    def admits_unix(self) -> bool:
        """Whether UNIX peers are proxies."""
        return any(named.text in ("local", "any") for named in self.sources)

    def explain(self, address: bytes | None) -> str:
        """What the key means for a peer with this address (4 or 16 octets), or for a UNIX peer (None)."""
        if address is None:
            is_proxy = self.admits_unix
        else:
            is_proxy = any(network.holds(address) for named in self.sources for network in named.networks)
        if is_proxy:
            return "a proxy: a header names the peer of each of its connections; without a name it is served"
        named = "" if address is None else "as the peer that a proxy names; "
        return f"{named}a connection of its own is refused: not in proxy_protocol.from"
