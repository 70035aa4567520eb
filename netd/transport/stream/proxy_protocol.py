"""The preamble of a service behind proxies: the header with which each connection of a proxy begins."""

from netd.addresses import pack_address
from netd.admission.bans import exemption
from netd.admission.proxies import ProxyProtocol
from netd.errors import PeerError
from netd.peer import Peer
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.proxy_header import parse_header


def preambles_of(protocol: ProxyProtocol | None) -> Preambles:
    """The preambles that ``proxy_protocol`` of a service asks for.

    Whether a connection has a header depends on its source alone, never on what it sends: else every client could begin
    with a header. One without is refused, or served as that of its source (``others: direct``).
    """
    if protocol is None:
        return NO_PREAMBLES
    proxies, has_unix = exemption(protocol.sources), protocol.admits_unix
    versions, are_direct = protocol.versions, protocol.others == "direct"

    def name(data: bytes, sender: Peer) -> tuple[int, Peer] | None:
        if data:
            return parse_header(data, sender, versions)
        if has_unix if sender.family == "unix" else proxies.find(pack_address(sender.host)):
            return None
        if are_direct:
            return 0, sender
        raise PeerError("not a proxy of proxy_protocol.from")

    return Preambles(name)
