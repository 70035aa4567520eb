"""echo (RFC 862)."""

from netd.contract import Conversation
from netd.peer import Peer


class Echo:
    """Sends back whatever it receives."""

    rfc = 862
    reflects = True

    def stream(self, peer: Peer) -> Conversation:
        while data := (yield None):
            yield data

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return data
