"""A chat without sockets, and its members: one over a stream, one over datagrams."""

from typing import Any

from netd.errors import PeerError
from netd.peer import Peer
from tests.support import PEER, service


def chat(*, announce: bool = False, **options: Any) -> Any:
    return service("chat", announce=announce, **options)


class _Hearer:
    """What one hears: answers and posts, in the order in which they came."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.reads = True  # False: what is posted is lost
        self.over = False
        self.posted = 0
        self.missed = 0

    def post(self, data: bytes) -> bool:
        assert isinstance(data, bytes)
        self.posted += 1
        if self.over or not self.reads:
            self.missed += 1
            return False
        self.heard.append(data)
        return True

    def read(self) -> list[str]:
        """The lines it heard since the last time."""
        # Not splitlines, which would part a line where nobody's terminal does.
        text = b"".join(self.heard).decode().replace("\r\n", "\n")
        self.heard.clear()
        assert not text or text.endswith("\n")
        return text.split("\n")[:-1]


class Talker(_Hearer):
    """Holds a conversation with a chat."""

    def __init__(self, chat: Any, peer: Peer = PEER) -> None:
        super().__init__()
        self._conversation = chat.stream(peer, self.post)
        self._advance(None)

    def say(self, *lines: str) -> None:
        for line in lines:
            self.receive(line.encode() + b"\n")

    def receive(self, data: bytes) -> None:
        """This comes from it."""
        assert not self.over, "it is over"
        self._advance(data)

    def end(self) -> None:
        """It has finished sending."""
        self._advance(b"")

    def reset(self) -> None:
        """It is gone."""
        self.over = True
        self._conversation.close()

    def _advance(self, data: bytes | None) -> None:
        try:
            word = self._conversation.send(data)
            while word is not None:
                if word:
                    self.heard.append(word)
                word = next(self._conversation)
            assert data != b"", "it waits for more after the end"
        except StopIteration:
            self.over = True
        except PeerError as error:
            self.heard.append(error.answer)
            self.over = True


class Mailer(_Hearer):
    """Sends datagrams to a chat, as a guest (who may not be spoken to unasked) or not."""

    def __init__(
        self, chat: Any, *, guest: bool = False, host: str = "192.0.2.7", port: int = 5353, local_port: int = 7
    ) -> None:
        super().__init__()
        self.chat = chat
        self._peer = Peer("udp", host, port, "192.0.2.1", local_port)
        self._post = None if guest else self.post

    def send(self, message: str | bytes) -> None:
        data = message.encode() if isinstance(message, str) else message
        try:
            answer = self.chat.datagram(data, self._peer, self._post)
        except PeerError as error:
            answer = error.answer
        if answer is not None:
            assert isinstance(answer, bytes)
            self.heard.append(answer)
