"""chargen (RFC 864)."""

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.values import Model

# The chargen pattern. Line n starts one character after line n-1, so it repeats after 95 lines of 74 octets.
_RING = bytes(range(0x21, 0x7F)) + b" "
_PERIOD = b"".join((_RING * 2)[start : start + 72] + b"\r\n" for start in range(95))
# Whole periods, so many that a transport never joins pages, and one send(2) of them takes a tenth of a millisecond.
_PERIODS = 40


class Chargen:
    """Sends the 95 printable ASCII characters repeatedly, in lines of 72, for as long as the peer reads."""

    rfc = 864
    discards_input = True

    class Options(Model):
        """chargen has no options."""

    def __init__(self, options: Options, context: Context) -> None:
        self._random = context.random
        self._page = _PERIOD * _PERIODS

    def stream(self, peer: Peer) -> Conversation:
        while True:
            yield self._page

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        """0 to 512 characters, at random, as RFC 864 requires; each answer starts at the first line."""
        return _PERIOD[: self._random.randint(0, 512)]

    def truncate(self, answer: bytes, most: int) -> bytes:
        return answer[:most]
