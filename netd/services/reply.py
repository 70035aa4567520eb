"""reply: a fixed text."""

from typing import Annotated, Literal

from pydantic import Field

from netd.contract import Context, Conversation
from netd.lines import split_terminator
from netd.peer import Peer
from netd.values import Model

_LONGEST_TEXT = 8192


class Reply:
    """Answers the first message with a fixed text and closes, or sends the text as soon as a client connects."""

    class Options(Model):
        """Options of ``reply``."""

        text: Annotated[str, Field(max_length=_LONGEST_TEXT)] = "hi"
        """The answer: at most 8192 characters, sent as UTF-8. If it does not end with a line end, the line end of the
        message is added."""
        when: Literal["message", "connect"] = "message"
        """``message``: send the text after the first segment; ``connect``: send it at once. Datagrams are answered
        either way."""

    def __init__(self, options: Options, context: Context) -> None:
        self._text = options.text.encode()
        self._at_connect = options.when == "connect"

    def stream(self, peer: Peer) -> Conversation:
        if self._at_connect:
            yield self._ended(b"\r\n")
        elif data := (yield None):
            yield self._ended(split_terminator(data)[1])

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._ended(split_terminator(data)[1])

    def _ended(self, terminator: bytes) -> bytes:
        return self._text if self._text.endswith(b"\n") else self._text + terminator
