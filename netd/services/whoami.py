"""whoami: the address of the peer, as netd sees it."""

from netd.contract import Conversation
from netd.peer import Peer


class WhoAmI:
    """Sends the peer's address and the local one, as netd sees them, in one line and closes."""

    discards_input = True

    def stream(self, peer: Peer) -> Conversation:
        yield self._line(peer)

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._line(peer)

    def truncate(self, answer: bytes, most: int) -> bytes:
        """As many whole fields as fit; the peer's address comes first."""
        return answer[: most - 1].rpartition(b" ")[0] + b"\r\n"

    @staticmethod
    def _line(peer: Peer) -> bytes:
        via = f" via={peer.via}" if peer.proxied else ""
        return (
            f"peer={peer.remote} local={peer.local} transport={peer.transport} family={peer.family}{via}\r\n".encode()
        )
