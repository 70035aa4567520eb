"""A member of a room, or a guest: its name, what it gets and how, and what it may send."""

from netd.contract import Post
from netd.peer import Peer
from netd.services.chat.news import News

_RATE, _BURST = 20.0, 100.0  # messages a second, and at once after a pause: more than a person types

Key = tuple[str, str]
"""The sender of a message: transport and address. The same when a member leaves and joins again."""


def key_of(peer: Peer) -> Key:
    """The key of a peer, the same at every endpoint of the service."""
    return peer.transport, peer.remote


class Member:
    """A member, or a guest: a peer to which netd may not send without being asked. A guest has no post."""

    __slots__ = (
        "_at",
        "_tokens",
        "active_at",
        "announced_as",
        "color",
        "guest_notice_sent",
        "hears_from",
        "host",
        "key",
        "lost",
        "name",
        "post",
        "terminator",
        "unshown",
        "welcomed",
    )

    def __init__(self, peer: Peer, post: Post | None, now: float, terminator: bytes) -> None:
        self.key = key_of(peer)
        self.post = post
        self.host = (
            peer.host if peer.transport == "udp" else None
        )  # a program that sends one datagram a run has another port each time
        self.name = ""
        self.color: bool | None = None  # None: as the room's option says
        self.terminator = terminator
        self.active_at = now  # when it last sent
        self.hears_from: int | None = None  # the first line that it is sent; None: it is still being sent the history
        self.announced_as = ""  # the name in the last announcement; empty before its first message
        self.guest_notice_sent = False
        self.lost = 0  # messages that its post refused
        self.unshown = 0  # messages above the rate
        self.welcomed = False  # it was told which members are here
        self._tokens = _BURST
        self._at = now

    @property
    def shown_as(self) -> str:
        """Its name to other members: its address until it has chosen one."""
        return self.name or self.key[1]

    def with_line_end(self, text: str) -> bytes:
        """The text as a line for this member."""
        return text.encode() + self.terminator

    def set_line_end(self, terminator: bytes) -> None:
        """End lines to this member as it ends its own; a message without a line end changes nothing."""
        self.terminator = line_end(terminator) or self.terminator

    def deliver(self, lines: bytes, number: int = 1) -> None:
        """Post so many lines. Lines that are lost are counted, and a notice with the count precedes the next ones."""
        assert self.post is not None, "a guest has no post"
        # One post for both: else, with room for the notice only, it could be all that this member gets from now on.
        notice = self.with_line_end(lost_notice(self.lost)) if self.lost else b""
        self.lost = 0 if self.post(notice + lines) else self.lost + number

    def news(self) -> bytes:
        """What was posted since the last answer, if this member is sent nothing but answers (`Rules.push`)."""
        if not isinstance(self.post, News):
            return b""
        lost, lines = self.post.take()
        return (self.with_line_end(lost_notice(lost)) if lost else b"") + lines

    def may_speak(self, now: float) -> bool:
        """Whether one more message is within the rate; one that is not is counted."""
        self._tokens = min(_BURST, self._tokens + max(0.0, now - self._at) * _RATE)
        self._at = now
        if self._tokens < 1.0:
            self.unshown += 1
            return False
        self._tokens -= 1.0
        return True

    def flood_notice(self) -> str:
        """The notice of messages that were not shown, once; empty if all were."""
        number, self.unshown = self.unshown, 0
        return f"* {counted(number)} not shown, since you wrote too fast" if number else ""


def line_end(terminator: bytes) -> bytes:
    """The line end for a member that ended its own line so: LF; CRLF, also for CR NUL; empty for none."""
    return b"\r\n" if terminator == b"\r\0" else terminator


def lost_notice(number: int) -> str:
    """The notice to a member that reads too slowly."""
    return f"* {counted(number)} lost, since you read too slowly"


def counted(number: int) -> str:
    """The number with its noun."""
    return "1 message" if number == 1 else f"{number} messages"
