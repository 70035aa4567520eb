"""reply: a fixed text."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from netd.contract import Context, WaitingConversation
from netd.lines import split_terminator
from netd.peer import Peer
from netd.services.framing import Framed

_LONGEST_TEXT = 8192


class Reply:
    """Answers the first message, or each one, with a fixed text, or sends the text as soon as a client connects."""

    class Options(Framed):
        """Options of ``reply``."""

        text: Annotated[str, Field(max_length=_LONGEST_TEXT)] = "hi"
        """The answer: at most 8192 characters, sent as UTF-8. If it does not end with a line end, the line end of the
        message is added."""
        when: Literal["message", "connect"] = "message"
        """``message``: send the text after the first segment; ``connect``: send it at once. Datagrams are answered
        either way."""
        repeat: bool = False
        """Whether to answer each message of a stream, as ``framing`` tells them apart; off: close after the text."""

        @model_validator(mode="after")
        def _framing_only_for_more_than_one(self) -> "Reply.Options":
            for name, field in Framed.model_fields.items():
                if not self.repeat and getattr(self, name) != field.default:
                    raise ValueError(f"{name}: has no meaning without repeat: true")
            return self

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._text = options.text.encode()
        self._line_limit = context.line_limit

    def stream(self, peer: Peer) -> WaitingConversation:
        options = self._options
        if options.when == "connect":
            yield self._ended(b"\r\n")
        elif not options.repeat and (data := (yield None)):
            yield self._ended(split_terminator(data)[1])
        if options.repeat:
            reader = options.reader(self._line_limit)
            while (yield from reader.read()) is not None:
                yield self._ended(reader.terminator)

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._ended(split_terminator(data)[1])

    def _ended(self, terminator: bytes) -> bytes:
        return self._text if self._text.endswith(b"\n") else self._text + terminator
