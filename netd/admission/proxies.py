"""The proxies in front of a service: which hosts name the peers of their connections (PROXY protocol)."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_serializer

from netd.admission.addresses import NetworkOption
from netd.values import Model

NO_DATAGRAMS = "proxy_protocol is for streams: netd reads no header in datagrams; give them a service of their own"
"""The error for a service with proxies on a socket of datagrams."""


Version: TypeAlias = Literal[1, 2]
"""A version of the protocol: a line of text, or binary."""
BOTH: tuple[Version, ...] = (1, 2)


def _without_repetition(versions: Sequence[Version]) -> Sequence[Version]:
    if len(set(versions)) < len(versions):
        raise ValueError("a version is given twice")
    return versions


class ProxyProtocol(Model):
    """The proxies that send a header of the PROXY protocol."""

    sources: Annotated[tuple[NetworkOption, ...], Field(alias="from", min_length=1)]
    """The proxies: networks, addresses, `local` (loopback and UNIX peers) or `any`. Each of their connections begins
    with a header, within ten seconds. The peer that the header names is the peer in all else: in access, limits, bans,
    logs and commands. A proxy itself, which names no peer (LOCAL, UNKNOWN), is served without these checks. `any` lets
    every client name any address."""
    versions: Annotated[tuple[Version, ...], Field(min_length=1), AfterValidator(_without_repetition)] = BOTH
    """The versions of the header that are taken; a connection with another one is closed. Both, since the first octet
    tells them apart."""
    others: Literal["refuse", "direct"] = "refuse"
    """Connections from other sources than these: `refuse`, or `direct`, which serves each as its own peer. The source
    alone decides: what they send is never a header. Refused, since a service behind proxies is meant to be reached
    through them."""

    @model_serializer
    def _written(self) -> dict[str, Any]:
        written: dict[str, Any] = {"from": [named.text for named in self.sources]}
        if self.versions != BOTH:
            written["versions"] = list(self.versions)
        if self.others != "refuse":
            written["others"] = self.others
        return written

    @property
    def admits_unix(self) -> bool:
        """Whether UNIX peers are proxies."""
        return any(named.text in ("local", "any") for named in self.sources)

    def lists(self, address: bytes) -> bool:
        """Whether the host with this address (4 or 16 octets) is a proxy."""
        return any(network.holds(address) for named in self.sources for network in named.networks)

    def explain(self, address: bytes | None) -> str:
        """What the key means for a peer with this address (4 or 16 octets), or for a UNIX peer (None)."""
        if self.admits_unix if address is None else self.lists(address):
            return "a proxy: a header names the peer of each of its connections; without a name it is served"
        if self.others == "direct":
            return "no proxy of proxy_protocol.from: a connection of its own has no header"
        named = "" if address is None else "as the peer that a proxy names; "
        return f"{named}a connection of its own is refused: not in proxy_protocol.from"
