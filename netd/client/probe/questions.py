"""The questions for each service, and the check of their answers. Values only: no input, no output.

Where the service returns what it receives, a question carries the number of the run, a sequence number and the time at
which it was due, so that late, duplicated, reordered and corrupted answers are recognised.
"""

import re
from abc import ABC, abstractmethod
from random import Random

from netd.text import escaped

_HEADER = 20  # octets: 4 of the run, 8 of the sequence number, 8 of the time at which it was due
_TEXT_HEADER = 40  # characters: the same in hexadecimal
_FILLER = b"abcdefghijklmnopqrstuvwxyz0123456789"
_SHORTEST_LINE = 64  # octets; run, number and time may not fit into fewer
_LONGEST_DATAGRAM = 65507  # what IPv4 and UDP leave of 65535
_LONGEST_STREAMED = 2**20
_LONGEST_LINE = 4096  # netd's limits.line
_QUOTED = 32  # octets of a wrong answer that are shown
_RFC868_EPOCH = 2_208_988_800  # 1970-01-01 in seconds since 1900-01-01, both 00:00 UTC


class Tagged(ABC):
    """Questions for a service that returns what it receives, so that many can be outstanding at once."""

    longest: int
    """Octets of the longest right answer."""
    expected: str
    """The right answer in words."""
    greets = False
    """Whether the service may send a line before the first answer."""

    @abstractmethod
    def question(self, number: int, due: int) -> bytes:
        """The question with this sequence number. ``due``: nanoseconds of the monotonic clock."""

    @abstractmethod
    def length(self, received: bytearray) -> int:
        """The octets of the first answer in what was received; 0 if it is not complete."""

    @abstractmethod
    def number(self, answer: bytes) -> int | None:
        """The sequence number in an answer; None if there is none."""

    @abstractmethod
    def right(self, answer: bytes, number: int, due: int) -> bool:
        """Whether an answer is the right one to that question."""

    def clock(self, answer: bytes) -> int | None:
        """The seconds since 1970 in a right answer, if it has them."""
        return None


class Plain(ABC):
    """Questions for a service that sends one answer and closes: each has its own socket."""

    longest: int
    """Octets of the longest right answer; 0: the connection is the answer."""
    expected: str
    """The right answer in words."""

    @abstractmethod
    def right(self, answer: bytes) -> bool:
        """Whether all octets received are a right answer."""

    def clock(self, answer: bytes, now: float) -> int | None:
        """The seconds since 1970 in a right answer, if it has them; ``now`` selects the era of a 32-bit time."""
        return None


def describe_wrong(question: Tagged | Plain, answer: bytes) -> str:
    """What was expected, and what came, as text that is safe for a terminal."""
    return f"expected {question.expected}, got {_quoted(answer)}"


def _quoted(answer: bytes) -> str:
    size = f"{len(answer)} octet{'s' * (len(answer) != 1)}"
    more = "…" * (len(answer) > _QUOTED)
    return f'{size}: "{escaped(answer[:_QUOTED].decode("latin-1"))}{more}"' if answer else size


def _line_length(received: bytearray) -> int:
    return received.find(b"\n") + 1


class TextEcho(Tagged):
    """A line of printable text that has to come back unchanged: also for servers that decode what they receive."""

    def __init__(self, size: int, run: int) -> None:
        self.longest = size
        self.expected = f"the {size} octets of the question"
        self._head = b"%08x" % run
        self._tail = (_FILLER * (size // len(_FILLER) + 1))[: size - _TEXT_HEADER - 1] + b"\n"

    def question(self, number: int, due: int) -> bytes:
        return b"%b%016x%016x%b" % (self._head, number, due, self._tail)

    def length(self, received: bytearray) -> int:
        return self.longest if len(received) >= self.longest else 0

    def number(self, answer: bytes) -> int | None:
        if len(answer) != self.longest or not (match := re.match(self._head + b"([0-9a-f]{16})", answer)):
            return None
        return int(match[1], 16)

    def right(self, answer: bytes, number: int, due: int) -> bool:
        return answer == self.question(number, due)


class Echo(Tagged):
    """Octets of all values that have to come back unchanged (RFC 862)."""

    def __init__(self, size: int, run: int) -> None:
        self.longest = size
        self.expected = f"the {size} octets of the question"
        self._head = run.to_bytes(4)
        self._tail = (bytes(range(256)) * (size // 256 + 1))[: size - _HEADER]

    def question(self, number: int, due: int) -> bytes:
        return self._head + number.to_bytes(8) + due.to_bytes(8) + self._tail

    def length(self, received: bytearray) -> int:
        return self.longest if len(received) >= self.longest else 0

    def number(self, answer: bytes) -> int | None:
        if len(answer) != self.longest or answer[:4] != self._head:
            return None
        return int.from_bytes(answer[4:12])

    def right(self, answer: bytes, number: int, due: int) -> bool:
        return answer == self.question(number, due)


class PingPong(Tagged):
    """``ping RUN NUMBER DUE``, to which the answer is ``pong`` and the same (netd's pingpong)."""

    def __init__(self, size: int, run: int) -> None:
        self.longest = size + 1  # where the line ends with CRLF
        self.expected = "pong and the rest of the question"
        self._size = size
        self._run = run

    def _rest(self, number: int, due: int) -> bytes:
        return (b" %08x %d %d" % (self._run, number, due)).ljust(self._size - 5, b".")

    def question(self, number: int, due: int) -> bytes:
        return b"ping" + self._rest(number, due) + b"\n"

    def length(self, received: bytearray) -> int:
        return _line_length(received)

    def number(self, answer: bytes) -> int | None:
        return _number_in(answer, rb"pong %08x (\d{1,19}) " % self._run)

    def right(self, answer: bytes, number: int, due: int) -> bool:
        return answer.rstrip(b"\r\n") == b"pong" + self._rest(number, due)


class TextTime(Tagged):
    """Asks netd's text time for the seconds since 1970, in a format that holds the rest of the question."""

    longest = 256
    expected = "the question with the seconds since 1970 for %s"
    greets = True

    def __init__(self, run: int) -> None:
        self._run = run

    def _tag(self, number: int, due: int) -> bytes:
        return b"%08x %d %d " % (self._run, number, due)

    def question(self, number: int, due: int) -> bytes:
        return self._tag(number, due) + b"%s\n"

    def length(self, received: bytearray) -> int:
        return _line_length(received)

    def number(self, answer: bytes) -> int | None:
        return _number_in(answer, rb"%08x (\d{1,19}) " % self._run)

    def right(self, answer: bytes, number: int, due: int) -> bool:
        tag = self._tag(number, due)
        return answer.startswith(tag) and self.clock(answer) is not None

    def clock(self, answer: bytes) -> int | None:
        match = re.fullmatch(rb"[0-9a-f]{8} \d+ \d+ (\d{1,12})\r?\n?", answer)
        return int(match[1]) if match else None


def _number_in(answer: bytes, pattern: bytes) -> int | None:
    match = re.match(pattern, answer)
    return int(match[1]) if match else None


class Daytime(Plain):
    """One line with the date and the time (RFC 867), which fixes no syntax: printable text with a digit in it."""

    longest = 512
    expected = "one printable line with a digit in it"

    def right(self, answer: bytes) -> bool:
        if len(answer) > self.longest:
            return False
        try:
            line = answer.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            return False
        return line.isprintable() and any(character.isdigit() for character in line)


class Rfc868(Plain):
    """Four octets: the seconds since 1900, modulo 2^32 (RFC 868)."""

    longest = 4
    expected = "4 octets"

    def right(self, answer: bytes) -> bool:
        return len(answer) == 4

    def clock(self, answer: bytes, now: float) -> int | None:
        seconds = int.from_bytes(answer) - _RFC868_EPOCH
        # Of all times with this remainder, take the nearest to ``now``.
        return seconds + round((now - seconds) / 2**32) * 2**32


class Connect(Plain):
    """No question: the connection is the answer."""

    longest = 0
    expected = "a connection"

    def right(self, answer: bytes) -> bool:
        return True


SERVICES = ("echo", "pingpong", "time", "daytime", "rfc868", "connect")

_BY_PORT = {13: "daytime", 37: "rfc868", 7013: "daytime", 7037: "time", 8888: "pingpong"}


def usual_service(port: int) -> str:
    """The service of a port: those of the RFCs and of netd's own configs, else echo."""
    return _BY_PORT.get(port, "echo")


def find_question(service: str, size: int, *, streams: bool, random: Random, binary: bool = False) -> Tagged | Plain:
    """Questions of ``size`` octets for a service. Raises ValueError where there are none.

    ``binary``: those for echo have octets of all values, and not printable text.
    """
    run = random.getrandbits(32)
    match service:
        case "echo":
            least = _HEADER if binary else _TEXT_HEADER + 1
            most = _LONGEST_STREAMED if streams else _LONGEST_DATAGRAM
            if not least <= size <= most:
                shorter = "" if binary else f", or from {_HEADER} with --binary"
                raise ValueError(f"expected a size from {least} (run, number, time) to {most}{shorter}, got {size}")
            return Echo(size, run) if binary else TextEcho(size, run)
        case "pingpong":
            if not _SHORTEST_LINE <= size <= _LONGEST_LINE:
                raise ValueError(f"expected a size from {_SHORTEST_LINE} to {_LONGEST_LINE}, got {size}")
            return PingPong(size, run)
        case "time":
            return TextTime(run)
        case "daytime":
            return Daytime()
        case "rfc868":
            return Rfc868()
        case "connect" if streams:
            return Connect()
    raise ValueError("a datagram service has no connections: connect is for tcp:// and unix://")
