"""The room of a chat: its members and guests, their names, and the messages."""

from collections import deque
from collections.abc import Callable, Iterator
from heapq import nsmallest
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, WithJsonSchema

from netd.contract import Post
from netd.peer import Peer
from netd.services.chat.member import Key, Member, key_of, lost_notice
from netd.services.chat.news import News
from netd.services.chat.text import Color, Name, folded, painted, split_name
from netd.values import Duration, Model

_MOST_GUESTS = 1024
# Octets of lines that are delivered together, half of what the queue of a peer takes; and those added to each for what
# colours and a line end may take.
_MOST_UNSENT, _ADDED = 32768, 64
_MOST_LISTED = 8  # names that a new member gets

NAMELESS = "* say who you are, as in NAME : hello"
TAKEN = "* that name is taken"
TAKEN_NAMELESS = "* that name is taken; say another, as in NAME : hello"
_COLOR_USAGE = "* expected /color on or /color off"


class Rules(Model):
    """The options of a room."""

    colors: dict[Name, Color] = Field(default_factory=dict)
    """Colours by name, as in {alex: {fg: yellow, bg: green}}: the eight of ANSI, and bright_ ones. Any other name gets
    a colour that is computed from the name."""
    color: Annotated[
        Literal["auto", "on", "off"],
        BeforeValidator(lambda value: ("off", "on")[value] if isinstance(value, bool) else value),
        WithJsonSchema({"enum": ["auto", "on", "off", True, False]}),
    ] = "auto"
    """Whether names are shown in colour; auto: if `colors` is not empty. A member changes it for itself with the line
    /color on or /color off."""
    history: Annotated[int, Field(ge=0, le=1000)] = 0
    """The number of past messages sent to a new member, 0 to 1000; 0, since their authors wrote for the members at that
    time. Each is kept in memory and takes up to four times limits.line, which for a chat is at most 16KiB."""
    max_members: Annotated[int, Field(ge=1, le=1024)] = 256
    """The most members in the room, 1 to 1024. Each message is sent to all of them, so its cost grows with this."""
    announce: bool = True
    """Whether the room shows that a member joins, leaves or changes its name, and answers the first message of a member
    over a stream with the names of the others. A member that has sent no message, such as a load balancer's check, is
    not announced."""
    name_required: bool = False
    """Whether a member needs a name before its messages are shown; off: the address stands in place of the name."""
    push: bool = True
    """Whether members over datagrams are sent the messages of others at once. Off: these come with the answer to the
    next datagram of the member, the latest in at most 1024 octets, for a program that receives once for each send. A
    source that `amplify` does not list gets as many as fit into 64 octets, or the length of its datagram, and the rest
    with the next answers."""
    idle: Duration = 300.0
    """How long a member over datagrams stays in the room after its last one; 5m, as limits.idle for a connection."""


class Line(NamedTuple):
    """A line that the room shows: a name, and the text before and after it."""

    key: Key
    name: str
    text: str
    before: str = ""

    @property
    def size(self) -> int:
        """Octets, with colours and a line end."""
        return len(f"{self.before}{self.name}{self.text}".encode()) + _ADDED

    def render(self, rules: Rules, *, color: bool, terminator: bytes) -> bytes:
        """The line as octets."""
        name = painted(self.name, rules.colors) if color else self.name.encode()
        return self.before.encode() + name + self.text.encode() + terminator


class Room:
    """The members and guests, and the last messages."""

    def __init__(
        self, rules: Rules, clock: Callable[[], float], call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._clock = clock
        self._call_soon = call_soon
        self._streams: set[Member] = set()
        # In the order of their last datagram, so that the next to expire is the first.
        self._datagrams: dict[Key, Member] = {}
        self._guests: dict[Key, Member] = {}
        self._named: dict[str, Member] = {}
        self._history: deque[Line] = deque()
        self._message_count = 0
        self._unsent: list[tuple[Line, Member]] = []  # with its sender each
        self._unsent_size = 0
        self._shown_count = 0  # lines, of which the last are unsent
        self._will_deliver = False
        self._last: Line | None = None
        self._last_other: Line | None = None  # the last one from another sender
        self.apply(rules)

    def apply(self, rules: Rules) -> None:
        """Take new options. All members stay, even if there are more than max_members now."""
        self._rules = rules
        self._history = deque(self._history, rules.history)

    # Joining and leaving.

    def join(self, peer: Peer, post: Post) -> Member | None:
        """A new member over a stream, which gets messages once `replay` has ended; None: the room is full."""
        now = self._clock()
        if self._is_full(now):
            return None
        member = Member(peer, post, now, b"\r\n")
        self._streams.add(member)
        return member

    def replay(self, member: Member) -> Iterator[bytes]:
        """The history, and the messages that come while a slow member reads it, as far as they are kept."""
        following = self._message_count - len(self._history)
        while following < self._message_count:
            oldest = self._message_count - len(self._history)
            if following < oldest:
                yield member.with_line_end(lost_notice(oldest - following))
                following = oldest
            else:
                line = self._history[following - oldest]
                following += 1
                yield self._render(line, member)
        member.hears_from = self._shown_count

    def datagram_member(self, peer: Peer, post: Post | None) -> Member | None:
        """The sender of a datagram: a member if it has a post, else a guest; None: the room is full."""
        now = self._clock()
        self._expire(now)
        key = key_of(peer)
        if post is not None and not self._rules.push:
            before = self._datagrams.get(key)
            post = before.post if before and isinstance(before.post, News) else News()
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
            member.hears_from = self._shown_count
            for line in self._history:
                member.deliver(self._render(line, member))
        member.active_at = now
        return member

    def leave(self, member: Member) -> None:
        """Remove a member or guest. A second call does nothing."""
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
        if member.announced_as:
            self._announce(member, " has left")

    def sender(self, peer: Peer) -> Member | None:
        """The member or guest that has sent datagrams from this address."""
        key = key_of(peer)
        return self._datagrams.get(key) or self._guests.get(key)

    def _is_full(self, now: float) -> bool:
        self._expire(now)
        return len(self._streams) + len(self._datagrams) >= self._rules.max_members

    def _expire(self, now: float) -> None:
        for members in (self._datagrams, self._guests):
            while members and (member := next(iter(members.values()))).active_at + self._rules.idle <= now:
                self.leave(member)

    # Messages.

    def handle_line(self, member: Member, line: str) -> str | None:
        """Show a cleaned line, or do what it says. The answer, which may be empty; None: the line is not shown."""
        now = self._clock()
        member.active_at = max(member.active_at, now)  # if the clock was set back, it does not expire now
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
        answer = TAKEN if taken else member.flood_notice()
        if member.post is not None:
            self._announce_name(member)
        message = Line(member.key, member.shown_as, f" : {text}")
        if self._last and self._last.key != message.key:
            self._last_other = self._last
        self._last = message
        self._history.append(message)
        self._message_count += 1
        self._show(message, member)
        if not answer and not member.welcomed and self._rules.announce and member in self._streams:
            member.welcomed = True
            answer = self._others_than(member)
        return answer

    def _others_than(self, member: Member) -> str:
        """The names of the others for a new member, and how to leave."""
        others = [one for one in (*self._streams, *self._datagrams.values()) if one is not member]
        if not others:
            return "* you are alone here; q leaves"
        names = nsmallest(_MOST_LISTED, [one.announced_as for one in others if one.announced_as])
        if rest := len(others) - len(names):
            names.append(f"{rest} other{'s' * (rest > 1)}")
        return f"* here: {', '.join(names)}; q leaves"

    def _name(self, member: Member, name: str) -> bool:
        """Give a member this name; False if another one has it, or a name that looks the same.

        The address of a guest may be forged, so a member may take the name of a guest. A sender of datagrams may take
        the name of another sender on the same host: a program that sends one datagram a run has another port each time.
        """
        if name == member.name:
            return True
        holder = self._named.get(folded(name), member)
        if holder is not member:
            if holder.host is not None and holder.host == member.host:
                member.announced_as, holder.announced_as = member.announced_as or holder.announced_as, ""
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

    def _announce_name(self, member: Member) -> None:
        """Announce a new member, or a new name, but only before a message: so the rate of messages bounds it."""
        if not member.announced_as:
            member.announced_as = member.shown_as
            self._announce(member, " has joined")
        elif member.announced_as != member.shown_as:
            self._announce(member, f" is now {member.shown_as}")
            member.announced_as = member.shown_as

    def _announce(self, member: Member, what: str) -> None:
        if self._rules.announce:
            self._show(Line(member.key, member.announced_as, what, "* "), member)

    def last_for(self, member: Member) -> bytes | None:
        """The last message of another sender."""
        line = self._last_other if self._last and self._last.key == member.key else self._last
        return self._render(line, member) if line else None

    def _show(self, line: Line, sender: Member) -> None:
        """Deliver a line to all members but its sender, together with what others send at the same time.

        Else a thousand members that join at once were a million posts, during which the loop serves no other peer.
        """
        size = line.size
        if self._unsent_size + size > _MOST_UNSENT:
            self._deliver()
        self._unsent.append((line, sender))
        self._unsent_size += size
        self._shown_count += 1
        if not self._will_deliver:
            self._will_deliver = True
            self._call_soon(self._deliver_later)

    def _deliver_later(self) -> None:
        self._will_deliver = False
        self._deliver()

    def _deliver(self) -> None:
        """Deliver what is unsent: over a stream in one post, over datagrams in one for each line."""
        unsent, self._unsent, self._unsent_size = self._unsent, [], 0
        first = self._shown_count - len(unsent)
        own: dict[Member, list[int]] = {}
        for place, (_, sender) in enumerate(unsent):
            own.setdefault(sender, []).append(place)
        rendered: dict[tuple[bool, bytes], list[bytes]] = {}
        for member in [*self._streams, *self._datagrams.values()]:
            if member.hears_from is None:
                continue
            form = (self._in_color(member), member.terminator)
            if form not in rendered:
                rendered[form] = [self._render(line, member) for line, _ in unsent]
            start = max(0, member.hears_from - first)
            lines = rendered[form][start:]
            for place in reversed(own.get(member, ())):
                del lines[place - start]
            if member in self._streams:
                if lines:
                    member.deliver(b"".join(lines), len(lines))
            else:
                for line in lines:
                    member.deliver(line)

    def news(self, member: Member) -> bytes:
        """What was shown since the last answer to a member that is sent nothing but answers; nothing to others."""
        if isinstance(member.post, News):
            self._deliver()
        return member.news()

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
