"""discard (RFC 863)."""

from netd.contract import Conversation
from netd.peer import Peer


class Discard:
    """Discards whatever it receives and never answers."""

    rfc = 863

    def stream(self, peer: Peer) -> Conversation:
        while (yield None):
            pass

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return None
