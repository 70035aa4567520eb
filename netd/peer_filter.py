"""Which peers an operator means: `PeerFilter`, made once of what ``--peer`` takes."""

from ipaddress import ip_network

from netd.addresses import Network, network_of, octets, parse_address, split_port
from netd.peer import Peer


class PeerFilter:
    """The peers of an address, with or without port, or of a network, or the one that a list shows so.

    Text that is neither address nor network means the peers that a list shows so, and where there are none, no peer.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._port: int | None = None
        self._interface = ""
        self.network: Network | None = None
        """None where the text is neither an address nor a network."""
        try:
            host, self._port = split_port(text)
            if self._port is not None:
                parse_address(host)  # a network has no ports
            self.network = network_of(ip_network(host, strict=False))
            self._interface = host.partition("%")[2]
        except ValueError:
            pass

    def matches(self, peer: Peer) -> bool:
        """Whether this peer is meant."""
        if self.network is None or peer.family == "unix":
            return self._text in (peer.remote, peer.host, peer.source)
        return (
            self.network.holds(octets(peer.host))
            and self._port in (None, peer.port)
            and self._interface in ("", peer.host.partition("%")[2])
        )
