"""`PeerFilter`: the peers that the option ``--peer`` of a command selects."""

from ipaddress import ip_network

from netd.addresses import Network, network_of, pack_address, parse_address, split_port
from netd.peer import Peer


class PeerFilter:
    """Matches the peers of an address, of an address with a port, or of a network.

    Any other text matches the peers that `netd connections` shows by that text, such as a path or ``uid=0``.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._port: int | None = None
        self._interface = ""
        self.network: Network | None = None
        """None if the text is neither an address nor a network."""
        try:
            host, self._port = split_port(text)
            if self._port is not None:
                parse_address(host)  # a network has no ports
            self.network = network_of(ip_network(host, strict=False))
            self._interface = host.partition("%")[2]
        except ValueError:
            pass

    def matches(self, peer: Peer) -> bool:
        """Whether the filter selects this peer."""
        if self.network is None or peer.family == "unix":
            return self._text in (peer.remote, peer.host, peer.source)
        return (
            self.network.holds(pack_address(peer.host))
            and self._port in (None, peer.port)
            and self._interface in ("", peer.host.partition("%")[2])
        )
