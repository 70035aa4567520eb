"""The members of a chat room, as one client that reads for all of them."""

import itertools
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable

LOOPBACK = "127.0.0.1"
PATIENCE = 60.0  # seconds until a member that is not answered is an error
LOST = 10.0  # seconds until a message that has not reached all members counts as lost
TOGETHER = 16  # members over UDP that join or leave at once: so many have room in the queue of netd's socket
_MESSAGE = re.compile(rb"\[(\d+)\]\r?\n")


class Member:
    """A socket and what it has received that is not read yet."""

    def __init__(self, kind: socket.SocketKind, port: int) -> None:
        self.kind = kind
        self.sock = socket.socket(socket.AF_INET, kind)
        self.sock.settimeout(PATIENCE)
        self.sock.connect((LOOPBACK, port))
        self.sock.setblocking(False)
        self.unread = b""
        self.answered = False


class Crowd:
    """Members over TCP and over UDP of a room; counts the messages that reach them."""

    def __init__(self, tcp: int, udp: int) -> None:
        self.expected = 0
        self.reached: Counter[int] = Counter()
        """To how many members each message was sent."""
        self._ports = {socket.SOCK_STREAM: tcp, socket.SOCK_DGRAM: udp}
        self._selector = selectors.EpollSelector()
        self._members: list[Member] = []
        self._sent = 0

    @property
    def received(self) -> int:
        return self.reached.total()

    def join(self, streams: int, datagrams: int) -> None:
        """So many members join; each of them is known to the room at the end."""
        for kind in [socket.SOCK_STREAM] * streams + [socket.SOCK_DGRAM] * datagrams:
            one = Member(kind, self._ports[kind])
            self._members.append(one)
            self._selector.register(one.sock, selectors.EVENT_READ, one)
        self._all_say(lambda number: b"m%d : here\n" % number)
        while self._read(1):  # announcements
            pass

    def speak(self, number: int) -> None:
        """Send so many messages, each from another member, and each when the one before it has reached all others."""
        others = len(self._members) - 1
        for _ in range(number):
            message, self._sent = self._sent, self._sent + 1
            self._members[message % len(self._members)].sock.send(b"[%d]\n" % message)
            self.expected += others
            self._until(lambda: self.reached[message] >= others, LOST)  # noqa: B023

    def leave(self) -> None:
        """All members leave."""
        self._all_say(lambda number: b"q\n")
        self._close()

    def _all_say(self, text: Callable[[int], bytes]) -> None:
        """Each says this, and gets an answer."""
        for one in self._members:
            one.answered = False
        streams = [one for one in self._members if one.kind == socket.SOCK_STREAM]
        datagrams = [one for one in self._members if one.kind == socket.SOCK_DGRAM]
        groups = [datagrams[place : place + TOGETHER] for place in range(0, len(datagrams), TOGETHER)]
        if streams:
            groups.insert(0, streams)
        numbers = itertools.count()
        for group in groups:
            for one in group:
                one.sock.send(text(next(numbers)))
            self._until(lambda: all(one.answered for one in group), PATIENCE)  # noqa: B023
            assert all(one.answered for one in group)

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._read(0.1)

    def _read(self, seconds: float) -> bool:
        """Whether something came within this time."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            one: Member = key.data
            try:
                piece = one.sock.recv(65536)
            except BlockingIOError:
                continue
            if not piece and one.kind == socket.SOCK_STREAM:
                self._selector.unregister(one.sock)
            text = one.unread + piece
            end = text.rfind(b"\n") + 1
            one.unread = text[end:]
            self.reached.update(int(number) for number in _MESSAGE.findall(text, 0, end))
            one.answered = one.answered or any(word in text for word in (b"q leaves", b"ok", b"goodbye"))
        return bool(ready)

    def _close(self) -> None:
        for one in self._members:
            one.sock.close()
        self._members.clear()
        self._selector.close()
        self._selector = selectors.EpollSelector()

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()
        self._selector.close()
