"""chat: a room in which everybody hears what the others say, over streams and datagrams alike."""

from typing import Literal

from netd.contract import Context, Conversation, Post
from netd.lines import Framing, LineTooLong, messages, split_terminator
from netd.peer import Peer
from netd.services.chat.room import Member, Room, Rules, line_end
from netd.services.chat.text import clean, cut

# As text for others a line may take three times as much (an octet that is no UTF-8 is shown as U+FFFD), and that has to
# fit into what a transport keeps for one peer, and into one datagram.
_LONGEST_LINE = 16384
_FAREWELLS = ("q", "bye")
# What an answer over datagrams says has to fit into the 64 octets that strangers may have.
_FULL = "* the room is full"
_GOODBYE = "* goodbye"
_GUEST = "* others hear you, but you cannot hear them from here"


class Chat:
    """A room: what one says, all others hear, over streams and datagrams and at every endpoint of the service.

    A line or a datagram is a message. ``NAME : text`` sets the name that stands before it, the first time also
    ``NAME: text``, unless another member has it; ``q`` or ``bye`` leaves.
    """

    server_initiated = True
    single_worker = True

    class Options(Rules):
        """Options of ``chat``."""

        framing: Framing = "line"
        """``line``: a line end ends a message; ``chunk``: each segment is one, for programs that send no newline."""
        answer: Literal["ack", "last"] = "ack"
        """What a datagram is answered with. ``ack``: ok; ``last``: the last message of somebody else, or ok where there
        is none; a stranger gets as much of it as a reply may have (see `amplify`)."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._line_limit = min(context.line_limit, _LONGEST_LINE)
        self._room = Room(options, context.clock)

    def take_over(self, before: "Chat") -> None:
        """Go on with the room of the service that this one replaces, under the new options."""
        self._room = before._room
        self._room.apply(self._options)

    def stream(self, peer: Peer, post: Post) -> Conversation:
        room = self._room
        member = room.join(peer, post)
        if member is None:
            yield f"{_FULL}\r\n".encode()
            return
        try:
            yield from room.replay(member)
            reader = messages(self._options.framing, self._line_limit)
            while (message := (yield from reader.read())) is not None:
                member.end_lines_as(reader.terminator)
                line = clean(message)
                if line.rstrip() in _FAREWELLS:
                    room.leave(member)
                    yield self._excused(member) + member.ended(_GOODBYE)
                    return
                answer = room.take(member, line)
                # Also where it is nothing, since between two messages the others have their turn.
                yield member.ended(answer) if answer else b""
            yield self._excused(member)
        finally:
            room.leave(member)

    def datagram(self, data: bytes, peer: Peer, post: Post | None) -> bytes | None:
        message, terminator = split_terminator(data)
        if len(message) > self._line_limit:
            raise LineTooLong(self._line_limit)
        line = clean(message)
        if line.rstrip() in _FAREWELLS:
            self._room.forget(peer)
            return _GOODBYE.encode() + (line_end(terminator) or b"\n")
        member = self._room.recognize(peer, post)
        if member is None:
            return _FULL.encode() + (line_end(terminator) or b"\n")
        member.end_lines_as(terminator)
        answer = self._room.take(member, line)
        if answer is None:
            return None  # an answer would say that it was heard
        return member.ended(answer) if answer else self._acknowledgement(member)

    def truncate(self, answer: bytes, most: int) -> bytes:
        """The beginning of the room's last message."""
        line, terminator = split_terminator(answer)
        return cut(line, most - len(terminator)) + terminator

    def _acknowledgement(self, member: Member) -> bytes:
        if member.post is None and not member.told:
            member.told = True
            return member.ended(_GUEST)
        last = self._room.last_for(member) if self._options.answer == "last" else None
        return last or member.ended("ok")

    @staticmethod
    def _excused(member: Member) -> bytes:
        excuse = member.excuse()
        return member.ended(excuse) if excuse else b""
