"""upper, the smallest service that changes what it receives."""

from netd.contract import Conversation
from netd.peer import Peer


class Upper:
    """Sends back what it receives with the ASCII letters in upper case."""

    def stream(self, peer: Peer) -> Conversation:
        while data := (yield None):
            yield data.upper()

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return data.upper()
