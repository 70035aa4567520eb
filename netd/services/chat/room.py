"""The room of a chat: who is in it, what was said, and who gets to hear it."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema

from netd.contract import Post
from netd.peer import Peer
from netd.services.chat.text import Color, Name, folded, painted, split_name
from netd.values import Duration, Model

_RATE, _BURST = 20.0, 100.0  # messages a second, and at once after a pause: more than a person writes
_MOST_GUESTS = 1024

NAMELESS = "* say who you are, as in NAME : hello"
TAKEN = "* that name is taken"
TAKEN_NAMELESS = "* that name is taken; say another, as in NAME : hello"
_COLOR_USAGE = "* expected /color on or /color off"

Key = tuple[str, str]
"""Whose message it is: the transport and the address, which stay while somebody is forgotten and comes again."""


def key_of(peer: Peer) -> Key:
    """The key of a peer, wherever it came to."""
    return peer.transport, peer.remote


class Rules(Model):
    """What an operator may say of a room."""

    colors: dict[Name, Color] = Field(default_factory=dict)
    """Names and their colours, as in {alex: {fg: yellow, bg: green}}: the eight of ANSI, and bright_ ones. Other names
    get a colour that is always the same."""
    color: Annotated[
        Literal["auto", "on", "off"],
        BeforeValidator(lambda value: ("off", "on")[value] if isinstance(value, bool) else value),
        WithJsonSchema({"enum": ["auto", "on", "off", True, False]}),
    ] = "auto"
    """Whether names are shown in colour; auto: where `colors` names anybody. A member changes it for itself with the
    line /color on or /color off."""
    history: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many messages a newcomer gets to see, 0 to 1000; 0, since those who wrote them did not know who would come.
    Each is kept in memory, where it takes up to four times limits.line, which for a chat is at most 16KiB."""
    max_members: Annotated[int, Field(ge=1, le=1024)] = 256
    """How many may be in the room, 1 to 1024. Each message goes to all of them, so this is what one costs."""
    announce: bool = True
    """Whether the room is told who joins, leaves and has another name, of those who have said something; a load
    balancer's check is silent."""
    name_required: bool = False
    """Whether a message is shown only of who has a name; off: the address will do."""
    idle: Duration = 300.0
    """How long who sends datagrams belongs to the room after the last one; 5m, as long as a connection may be idle."""


class Line(NamedTuple):
    """Something that the room shows: a name, and what stands before and after it."""

    key: Key
    name: str
    text: str
    before: str = ""

    def render(self, rules: Rules, *, color: bool, terminator: bytes) -> bytes:
        """The line as octets."""
        name = painted(self.name, rules.colors) if color else self.name.encode()
        return self.before.encode() + name + self.text.encode() + terminator


class Member:
    """Somebody in the room, or a guest: who may speak in it but not be spoken to unasked, and so has no post."""

    __slots__ = (
        "_at",
        "_tokens",
        "color",
        "heard",
        "host",
        "key",
        "known_as",
        "listening",
        "lost",
        "name",
        "post",
        "terminator",
        "told",
        "unshown",
    )

    def __init__(self, peer: Peer, post: Post | None, now: float, terminator: bytes) -> None:
        self.key = key_of(peer)
        self.post = post
        self.host = peer.host if peer.transport == "udp" else None  # of who may come from another port each time
        self.name = ""
        self.color: bool | None = None  # None: as the room has it
        self.terminator = terminator
        self.heard = now  # when its last datagram came
        self.listening = True  # False: it still gets to see what was said before
        self.known_as = ""  # what the room was told of it; nothing of who has said nothing
        self.told = False  # that it is a guest
        self.lost = 0
        self.unshown = 0
        self._tokens = _BURST
        self._at = now

    @property
    def shown_as(self) -> str:
        return self.name or self.key[1]

    def ended(self, text: str) -> bytes:
        """A line for it alone."""
        return text.encode() + self.terminator

    def end_lines_as(self, terminator: bytes) -> None:
        """From now on its lines end as its own one did; one without an end changes nothing."""
        self.terminator = line_end(terminator) or self.terminator

    def hear(self, line: bytes) -> None:
        """Post this to it. What is lost is counted, and told before the next line that can be posted."""
        assert self.post is not None, "guests hear nothing"
        # In one piece with that line, since where only the notice had room it would be all that the next ones say.
        notice = self.ended(lost_notice(self.lost)) if self.lost else b""
        self.lost = 0 if self.post(notice + line) else self.lost + 1

    def may_speak(self, now: float) -> bool:
        """Whether it may say one more message; what it may not is counted."""
        self._tokens = min(_BURST, self._tokens + max(0.0, now - self._at) * _RATE)
        self._at = now
        if self._tokens < 1.0:
            self.unshown += 1
            return False
        self._tokens -= 1.0
        return True

    def excuse(self) -> str:
        """What it has to be told once: how many of its messages were not shown."""
        number, self.unshown = self.unshown, 0
        return f"* {counted(number)} not shown, since you wrote too fast" if number else ""


def line_end(terminator: bytes) -> bytes:
    """What ends a line for who ended one so: LF, or CRLF, also for CR NUL; nothing for one without an end."""
    return b"\r\n" if terminator == b"\r\0" else terminator


def lost_notice(number: int) -> str:
    """What a member is told that did not read."""
    return f"* {counted(number)} lost, since you read too slowly"


def counted(number: int) -> str:
    """So many messages, as people say it."""
    return "1 message" if number == 1 else f"{number} messages"


class Room:
    """Whoever has joined, and what was said last."""

    def __init__(self, rules: Rules, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._streams: set[Member] = set()
        # By who was heard of last, so that those who are forgotten stand at the front.
        self._datagrams: dict[Key, Member] = {}
        self._guests: dict[Key, Member] = {}
        self._named: dict[str, Member] = {}
        self._history: deque[Line] = deque()
        self._said = 0
        self._last: Line | None = None
        self._last_other: Line | None = None  # of somebody else than who said the last one
        self.apply(rules)

    def apply(self, rules: Rules) -> None:
        """Go on under these rules. Who is in stays, also where there are more than may join now."""
        self._rules = rules
        self._history = deque(self._history, rules.history)

    # Coming and going.

    def join(self, peer: Peer, post: Post) -> Member | None:
        """A new member over a stream, which listens once it has seen what `replay` says; None: the room is full."""
        now = self._clock()
        if self._is_full(now):
            return None
        member = Member(peer, post, now, b"\r\n")
        member.listening = False
        self._streams.add(member)
        return member

    def replay(self, member: Member) -> Iterator[bytes]:
        """What was said before it came, and while it was reading that, as far as it is kept."""
        following = self._said - len(self._history)
        while following < self._said:
            oldest = self._said - len(self._history)
            if following < oldest:
                yield member.ended(lost_notice(oldest - following))
                following = oldest
            else:
                line = self._history[following - oldest]
                following += 1
                yield self._render(line, member)
        member.listening = True

    def recognize(self, peer: Peer, post: Post | None) -> Member | None:
        """Who sent a datagram, a member from now on if it has a post, else a guest; None: the room is full."""
        now = self._clock()
        self._expire(now)
        key = key_of(peer)
        if post is None:
            if (former := self._datagrams.get(key)) is not None:
                self.leave(former)
            member = self._guests.pop(key, None) or Member(peer, None, now, b"\n")
            if len(self._guests) >= _MOST_GUESTS:
                self.leave(next(iter(self._guests.values())))
            self._guests[key] = member
        elif (known := self._datagrams.pop(key, None)) is not None:
            member = self._datagrams[key] = known
            member.post = post
        elif self._is_full(now):
            return None
        else:
            member = self._datagrams[key] = Member(peer, post, now, b"\n")
            for line in self._history:
                member.hear(self._render(line, member))
        member.heard = now
        return member

    def leave(self, member: Member) -> None:
        """It is gone, in whatever way; once more does no harm."""
        if member in self._streams:
            self._streams.remove(member)
        elif self._datagrams.get(member.key) is member:
            del self._datagrams[member.key]
        else:
            if self._guests.get(member.key) is member:
                del self._guests[member.key]
                self._release_name(member)
            return
        self._release_name(member)
        if member.known_as:
            self._announce(member, " has left")

    def forget(self, peer: Peer) -> None:
        """Who sent datagrams from here leaves."""
        key = key_of(peer)
        if (member := self._datagrams.get(key) or self._guests.get(key)) is not None:
            self.leave(member)

    def _is_full(self, now: float) -> bool:
        self._expire(now)
        return len(self._streams) + len(self._datagrams) >= self._rules.max_members

    def _expire(self, now: float) -> None:
        for members in (self._datagrams, self._guests):
            while members and (member := next(iter(members.values()))).heard + self._rules.idle <= now:
                self.leave(member)

    # Speaking and hearing.

    def take(self, member: Member, line: str) -> str | None:
        """A clean line of somebody's: show it, or heed it. What to answer, empty if nothing; None: it is not shown."""
        now = self._clock()
        member.heard = max(member.heard, now)  # whatever the clock did meanwhile, it is not who is forgotten
        self._expire(now)
        name, text = split_name(line, member.name)
        taken = name is not None and not self._name(member, name)
        if text.split(maxsplit=1)[:1] == ["/color"]:
            return self._set_color(member, text)
        if not text:
            return TAKEN if taken else ""
        if self._rules.name_required and not member.name:
            return TAKEN_NAMELESS if taken else NAMELESS
        if not member.may_speak(now):
            return None
        answer = TAKEN if taken else member.excuse()
        if member.post is not None:
            self._make_known(member)
        message = Line(member.key, member.shown_as, f" : {text}")
        if self._last and self._last.key != message.key:
            self._last_other = self._last
        self._last = message
        self._history.append(message)
        self._said += 1
        self._show(message, member)
        return answer

    def _name(self, member: Member, name: str) -> bool:
        """Give it this name; False where somebody else has it, or one that would pass for it.

        Guests are whoever a datagram says it is from, so they keep no name from a member. Who sends datagrams has it
        from whoever sent them from the same host before: a program that sends one a run has another port each time.
        """
        if name == member.name:
            return True
        holder = self._named.get(folded(name), member)
        if holder is not member:
            if holder.host is not None and holder.host == member.host:
                member.known_as, holder.known_as = member.known_as or holder.known_as, ""
            elif holder.post is not None or member.post is None:
                return False
            self._release_name(holder)
        self._release_name(member)
        member.name = name
        self._named[folded(name)] = member
        return True

    def _release_name(self, member: Member) -> None:
        if member.name:
            del self._named[folded(member.name)]
            member.name = ""

    def _make_known(self, member: Member) -> None:
        """Have the room know who is about to speak, at the price of a message as it is one to everybody."""
        if not member.known_as:
            member.known_as = member.shown_as
            self._announce(member, " has joined")
        elif member.known_as != member.shown_as:
            self._announce(member, f" is now {member.shown_as}")
            member.known_as = member.shown_as

    def _announce(self, member: Member, what: str) -> None:
        if self._rules.announce:
            self._show(Line(member.key, member.known_as, what, "* "), member)

    def last_for(self, member: Member) -> bytes | None:
        """The last message of somebody else."""
        line = self._last_other if self._last and self._last.key == member.key else self._last
        return self._render(line, member) if line else None

    def _show(self, line: Line, speaker: Member) -> None:
        """Let everybody hear this who listens, but who said it."""
        rendered: dict[tuple[bool, bytes], bytes] = {}
        for member in [*self._streams, *self._datagrams.values()]:
            if member is not speaker and member.listening:
                form = (self._in_color(member), member.terminator)
                if form not in rendered:
                    rendered[form] = self._render(line, member)
                member.hear(rendered[form])

    def _render(self, line: Line, member: Member) -> bytes:
        return line.render(self._rules, color=self._in_color(member), terminator=member.terminator)

    def _in_color(self, member: Member) -> bool:
        if member.color is not None:
            return member.color
        return bool(self._rules.colors) if self._rules.color == "auto" else self._rules.color == "on"

    def _set_color(self, member: Member, line: str) -> str:
        match line.split():
            case [_, ("on" | "off") as switch]:
                member.color = switch == "on"
                return f"* colors are {switch}"
        return _COLOR_USAGE
