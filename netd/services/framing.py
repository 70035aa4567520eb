"""The options of services that read messages from a stream."""

from typing import Annotated

from pydantic import Field

from netd.lines import PAUSE, Framing, Reader, messages
from netd.values import Duration, Model


class Framed(Model):
    """How the messages in a stream are told apart."""

    framing: Framing = "auto"
    """``line``: a line end ends a message; ``chunk``: each segment is one; ``auto``: as ``line``, and a ``pause`` ends
    the messages of a program that sends no line ends: of a peer that has sent none yet, and two octets or more first.
    The answer to such a message has no line end."""
    pause: Annotated[Duration, Field(ge=0.1, le=60)] = PAUSE
    """The pause of ``auto``, 100ms to 1m: longer than a program takes to send the rest of a message."""

    def reader(self, line_limit: int) -> Reader:
        """A reader for one peer; ``line_limit`` is `Context.line_limit`."""
        return messages(self.framing, line_limit, self.pause)
