"""reply: a fixed text."""

from typing import Annotated, Literal

from pydantic import Field

from netd.contract import Context, Conversation
from netd.lines import split_terminator
from netd.peer import Peer
from netd.values import Model

_LONGEST_TEXT = 8192


class Reply:
    """Answers the first message with a fixed text and closes, or sends the text as soon as a peer connects."""

    class Options(Model):
        """Options of ``reply``."""

        text: Annotated[str, Field(max_length=_LONGEST_TEXT)] = "hi"
        """What to say, at most 8192 characters, sent as UTF-8. One without a line end at its end gets that of the
        message it answers."""
        when: Literal["message", "connect"] = "message"
        """``message``: after the first segment came; ``connect``: unasked."""

    def __init__(self, options: Options, context: Context) -> None:
        self._text = options.text.encode()
        self._unasked = options.when == "connect"

    def stream(self, peer: Peer) -> Conversation:
        if self._unasked:
            yield self._ended(b"\r\n")
        elif data := (yield None):
            yield self._ended(split_terminator(data)[1])

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._ended(split_terminator(data)[1])

    def _ended(self, terminator: bytes) -> bytes:
        return self._text if self._text.endswith(b"\n") else self._text + terminator
