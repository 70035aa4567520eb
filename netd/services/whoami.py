"""whoami: the address of the peer, as netd sees it."""

from netd.contract import Conversation
from netd.peer import Peer


class WhoAmI:
    """Tells the peer in one line where it seems to come from and where it arrived, and closes."""

    discards_input = True

    def stream(self, peer: Peer) -> Conversation:
        yield self._line(peer)

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._line(peer)

    def truncate(self, answer: bytes, most: int) -> bytes:
        """As many words as there is room for, of which the first one says the most."""
        return answer[: most - 1].rpartition(b" ")[0] + b"\r\n"

    @staticmethod
    def _line(peer: Peer) -> bytes:
        return f"peer={peer.remote} local={peer.local} transport={peer.transport} family={peer.family}\r\n".encode()
