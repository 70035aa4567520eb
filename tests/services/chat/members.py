"""A chat without sockets, and its members: one over a stream, one over datagrams."""

from typing import Any

from netd.peer import Peer
from netd.testing import PEER, UDP_PEER, datagram, script
from tests.support.services import service


def chat(*, announce: bool = False, **options: Any) -> Any:
    return service("chat", announce=announce, **options)


def _lines(octets: bytes) -> list[str]:
    # Not splitlines, which also splits at characters that no terminal takes for a line end.
    text = octets.decode().replace("\r\n", "\n")
    assert not text or text.endswith("\n")
    return text.split("\n")[:-1]


class Talker:
    """Holds a conversation with a chat."""

    def __init__(self, chat: Any, peer: Peer = PEER) -> None:
        self._script = script(chat, peer)
        self._unread = b""

    def say(self, *lines: str) -> None:
        for line in lines:
            self.receive(line.encode() + b"\n")

    def receive(self, data: bytes) -> None:
        """The chat receives this from the member."""
        self._unread += self._script.output()
        self._script.receives(data)

    def end(self) -> None:
        """The member has finished sending."""
        self._unread += self._script.output()
        self._script.receives_eof()

    def reset(self) -> None:
        """The connection is reset."""
        self._unread += self._script.output()
        self._script.receives_reset()

    def read(self) -> list[str]:
        """The lines received since the last call, answers and posts."""
        octets, self._unread = self._unread + self._script.output(), b""
        return _lines(octets)

    def __del__(self) -> None:
        self._script.output()  # a test need not read everything

    @property
    def over(self) -> bool:
        return self._script.ended

    @property
    def missed(self) -> int:
        return self._script.lost

    @property
    def reads(self) -> bool:
        """False: what is posted is lost."""
        return self._script.peer_reads

    @reads.setter
    def reads(self, reads: bool) -> None:
        self._script.peer_reads = reads


class Mailer:
    """Sends datagrams to a chat, as a member or as a guest, which receives answers only."""

    def __init__(
        self, chat: Any, *, guest: bool = False, host: str = "192.0.2.7", port: int = 5353, local_port: int = 7
    ) -> None:
        self.received: list[bytes] = []
        self.reads = True  # False: what is posted is lost
        self.posted = 0
        self.missed = 0
        self.chat = chat
        self._peer = UDP_PEER._replace(host=host, port=port, local_port=local_port)
        self._post = None if guest else self.post

    def post(self, data: bytes) -> bool:
        assert isinstance(data, bytes)
        self.posted += 1
        if not self.reads:
            self.missed += 1
            return False
        self.received.append(data)
        return True

    def send(self, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        answer = datagram(self.chat, data, self._peer, self._post)
        if answer is not None:
            self.received.append(answer)

    def read(self) -> list[str]:
        """The lines received since the last call, answers and posts."""
        octets = b"".join(self.received)
        self.received.clear()
        return _lines(octets)
