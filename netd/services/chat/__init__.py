"""chat: a room in which each message goes to all other members, over streams and datagrams.

`room.py` is the room, `member.py` one in it, `news.py` what waits for one that gets answers only, `text.py` what may be
shown.
"""

from typing import Literal

from netd.contract import Context, Post, WaitingConversation
from netd.lines import LineTooLong, split_terminator
from netd.peer import Peer
from netd.services.chat.member import Member, line_end
from netd.services.chat.news import News
from netd.services.chat.room import Room, Rules
from netd.services.chat.text import clean, cut, is_farewell
from netd.services.framing import Framed

# A line that is sent on may be three times as long (an octet that is not UTF-8 becomes U+FFFD). It still has to fit
# into the send queue of one peer, and into one datagram.
_LONGEST_LINE = 16384
# Each has to fit into 64 octets, which netd may send over UDP in answer to any datagram (`amplify`).
_FULL = "* the room is full"
_GOODBYE = "* goodbye"
_GUEST = "* others hear you, but you cannot hear them from here"


class Chat:
    """A room: sends each message to all other members, over streams and datagrams and at every endpoint of the service.

    A line or a datagram is a message. ``NAME : text`` sets the sender's name, the first time also ``NAME: text``,
    unless another member has it; ``q`` or ``bye`` leaves. A member over a stream that sends no line ends, and so waits
    for an answer, gets one.
    """

    server_initiated = True
    single_worker = True

    class Options(Framed, Rules):
        """Options of ``chat``."""

        answer: Literal["ack", "last"] = "ack"
        """The answer to a datagram. ``ack``: ok; ``last``: the last message of another member, or ok if there is none;
        a source that `amplify` does not list gets only the start of it."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._line_limit = min(context.line_limit, _LONGEST_LINE)
        self._room = Room(options, context.clock, context.call_soon)
        self._answered: News | None = None  # of the member that the last datagram answered with its news

    def take_over(self, before: "Chat") -> None:
        """Continue the room of the service that this one replaces, under the new options."""
        self._room = before._room
        self._room.apply(self._options)

    def stream(self, peer: Peer, post: Post) -> WaitingConversation:
        room = self._room
        member = room.join(peer, post)
        if member is None:
            yield f"{_FULL}\r\n".encode()
            return
        try:
            yield from room.replay(member)
            reader = self._options.reader(self._line_limit)
            while (message := (yield from reader.read())) is not None:
                member.set_line_end(reader.terminator)
                line = clean(message)
                if is_farewell(line, member.name):
                    room.leave(member)
                    yield self._flood_notice(member) + member.with_line_end(_GOODBYE)
                    return
                answer = room.handle_line(member, line)
                if answer == "" and not reader.terminator:
                    answer = "ok"
                # Also an empty answer: at each yield the transport may let the loop serve other connections.
                yield member.with_line_end(answer) if answer else b""
            yield self._flood_notice(member)
        finally:
            room.leave(member)

    def datagram(self, data: bytes, peer: Peer, post: Post | None) -> bytes | None:
        self._answered = None
        message, terminator = split_terminator(data)
        if len(message) > self._line_limit:
            raise LineTooLong(self._line_limit)
        line = clean(message)
        sender = self._room.sender(peer)
        if is_farewell(line, sender.name if sender else ""):
            if sender:
                self._room.leave(sender)
            return _GOODBYE.encode() + (line_end(terminator) or b"\n")
        member = self._room.datagram_member(peer, post)
        if member is None:
            return _FULL.encode() + (line_end(terminator) or b"\n")
        member.set_line_end(terminator)
        answer = self._room.handle_line(member, line)
        if answer is None:
            return None  # an answer would acknowledge a message that was not shown
        news = self._room.news(member)
        if news and isinstance(member.post, News):
            self._answered = member.post
        return news + member.with_line_end(answer) if answer else news or self._acknowledgement(member)

    def truncate(self, answer: bytes, most: int) -> bytes:
        """The lines that fit, or the beginning of the first; the others come with the next answer to the member."""
        lines = answer.splitlines(keepends=True)
        size = number = 0
        while number < len(lines) and size + len(lines[number]) <= most:
            size += len(lines[number])
            number += 1
        fitting, rest = b"".join(lines[:number]), lines[number:]
        if not fitting:
            line, terminator = split_terminator(rest.pop(0))
            fitting = cut(line, most - len(terminator)) + terminator
        if self._answered is not None:
            self._answered.put_back(rest)
        return fitting

    def _acknowledgement(self, member: Member) -> bytes:
        if member.post is None and not member.guest_notice_sent:
            member.guest_notice_sent = True
            return member.with_line_end(_GUEST)
        last = self._room.last_for(member) if self._options.answer == "last" else None
        return last or member.with_line_end("ok")

    @staticmethod
    def _flood_notice(member: Member) -> bytes:
        notice = member.flood_notice()
        return member.with_line_end(notice) if notice else b""
