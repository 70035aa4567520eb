"""pingpong: each message is answered ``pong``, as a check that the host answers."""

from netd.contract import Context, WaitingConversation
from netd.lines import split_terminator
from netd.peer import Peer
from netd.services.framing import Framed


class PingPong:
    """Answers each message with ``pong``, and ``ping TEXT`` with ``pong TEXT``, so that answers can be told apart."""

    class Options(Framed):
        """Options of ``pingpong``."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._line_limit = context.line_limit

    def stream(self, peer: Peer) -> WaitingConversation:
        reader = self._options.reader(self._line_limit)
        while (message := (yield from reader.read())) is not None:
            yield _pong(message) + reader.terminator

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        message, terminator = split_terminator(data)
        return _pong(message) + terminator


def _pong(message: bytes) -> bytes:
    return b"pong" + message[4:] if message[:5].lower() == b"ping " else b"pong"
