r"""Tests of services without sockets, for netd's own services and those of other packages.

A script states what a conversation receives, and all that it sends in answer::

    from netd.testing import build, datagram, script

    def test_lines_come_back_reversed():
        reverse = build(Reverse)
        script(reverse).receives(b"ab\nc").sends(b"ba\n").receives_eof().sends(b"c\r\n").ends().also_segmented()
        assert datagram(reverse, b"ab") == b"ba"

The subject of each step is the conversation. A step is taken when it is called, so a test can do something else between
two steps, such as take one of another script::

    room = build(Chat)
    alex, bob = script(room), script(room)
    alex.receives(b"alex : hello\n")
    bob.posts(b"* alex has joined\r\nalex : hello\r\n")

A step that differs from what the conversation does raises AssertionError, which shows the steps up to there. Output
that no step has stated is an error of the next step. After the last step it is a ResourceWarning, which pytest shows,
and which fails a test under ``-W error``.
"""

import json
import reprlib
import warnings
from collections.abc import Callable, Iterator
from random import Random
from types import GeneratorType
from typing import Any, Literal, NoReturn
from weakref import WeakMethod

from netd.contract import Context, Post, Wait
from netd.errors import PeerError
from netd.peer import Peer
from netd.services.service_type import ServiceType

NOW = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC, a Tuesday."""
PEER = Peer("tcp", "192.0.2.7", 5353, "192.0.2.1", 7)
"""A client over TCP, with addresses of RFC 5737."""
UDP_PEER = PEER._replace(transport="udp")
"""The same over UDP."""

_MOST = 2**26  # octets that a conversation may send in one turn,
_OVERHEAD = 64  # and so many that each piece of them counts besides
_LONGEST_SHOWN = 400  # characters that an error shows of one step

_Word = Literal["receives", "receives_eof", "receives_reset", "sends", "posts", "waits", "ends"]
_Step = tuple[_Word, tuple[bytes, ...]]


def context(*, clock: Callable[[], float] = lambda: NOW, seed: int = 1, line_limit: int = 4096) -> Context:
    """A `Context` that is the same in each run: a clock that stands still at `NOW`, and a `Random` with a seed."""
    return Context(clock=clock, random=Random(seed), line_limit=line_limit)  # noqa: S311  # nothing is secret here


def build(service: type, given: Context | None = None, /, **options: object) -> Any:
    """A service of this class, built as netd does, with options as a config has them.

    Without a context it gets a new `context()`::

        build(Reverse, shout=True)
        build(Time, context(clock=lambda: 0.0), timezone="Asia/Shanghai")

    Raises `netd.services.service_type.DeclarationError` for a class that cannot be served, pydantic.ValidationError for
    wrong options.
    """
    kind = ServiceType.of(service)
    return kind.build(kind.options.model_validate_json(json.dumps(options)), given or context())


def datagram(service: Any, data: bytes, peer: Peer = UDP_PEER, post: Post | None = None) -> bytes | None:
    """What a service answers to one datagram, or None. Of a `PeerError` it is the line that the peer gets.

    A `server_initiated` service gets the ``post`` too; None stands for a peer that only gets answers.
    """
    kind = ServiceType.of(type(service))
    if kind.datagrams is None:
        raise TypeError(f"{kind.name} answers no datagrams: it has no 'datagram'")
    try:
        answer: object = (
            service.datagram(data, peer, post) if kind.datagrams == "push" else service.datagram(data, peer)
        )
    except PeerError as error:
        return error.answer
    if answer is not None and not isinstance(answer, bytes):
        raise TypeError(f"a datagram is answered with bytes or None, not {reprlib.repr(answer)}")
    return answer


def script(service: Any, peer: Peer = PEER) -> "Script":
    """Begin a conversation of a service with a peer. It runs until it asks for input.

    It is closed with the script: the peer of a script that the test does not keep has left.
    """
    return Script(service, peer)


class Script:
    """One conversation, and the steps it has taken. Each step returns the script itself, for the next one."""

    def __init__(self, service: Any, peer: Peer) -> None:
        self.peer_reads = True
        """False: the peer takes nothing that is posted. Each `Post` returns False then, and its data is lost."""
        self.lost = 0
        """How many posts have returned False, also after the end."""
        self.ended = False
        """Whether the conversation has returned, raised `PeerError`, or asked for input after the end of file, at which
        a transport closes it."""
        self._service = service
        self._peer = peer
        self._steps: list[_Step] = []
        self._unstated: list[tuple[_Word, bytearray]] = []  # output that no step has stated
        self._wait: Wait | None = None
        self._eof = False
        kind = ServiceType.of(type(service))
        if not kind.converses:
            raise TypeError(f"{kind.name} holds no conversation: it has no 'stream'")
        self._conversation = service.stream(peer, self._weak_post()) if kind.serving == "push" else service.stream(peer)
        if not isinstance(self._conversation, GeneratorType):
            raise TypeError(f"{kind.name}.stream returned no generator: it has no yield in it")
        self._advance(None)

    def receives(self, *segments: bytes) -> "Script":
        """The peer sends this, in one segment or several. One `sends` states the answer to all of them.

        Segments that are left when the conversation ends are thrown away, as a transport does.
        """
        if not all(segments):
            raise ValueError("a segment is not empty; receives_eof is the end of file")
        self._take("receives", segments)
        for segment in segments:
            if self.ended:
                break
            if self._wait:
                self._fail("receives", (segment,))
            self._advance(segment)
        return self

    def receives_eof(self) -> "Script":
        """The peer has finished sending."""
        self._take("receives_eof", ())
        self._eof = True
        self._advance(b"")
        return self

    def receives_reset(self) -> "Script":
        """The connection breaks, or a time-out ends it: the conversation is closed in any state.

        Output that no step has stated is lost.
        """
        self._unstated.clear()
        self._steps.append(("receives_reset", ()))
        self._close()
        return self

    def sends(self, data: bytes) -> "Script":
        """The conversation has sent this next, in any number of pieces. b"": it has sent nothing next."""
        return self._state("sends", data)

    def posts(self, data: bytes) -> "Script":
        """This was posted to the peer next, in any number of pieces. b"": nothing was posted next."""
        return self._state("posts", data)

    def output(self) -> bytes:
        """All that was sent and posted since the last step, for a test that cannot state it."""
        self._resume()
        unstated, self._unstated = self._unstated, []
        self._steps += [(word, (bytes(data),)) for word, data in unstated]
        return b"".join(data for _, data in unstated)

    def waits(self) -> "Script":
        r"""The conversation waits for something other than its peer (`Wait`), also when it is resumed too early.

        It goes on at the first step after the wait is finished::

            asked = script(lookup).receives(b"example.net\n").waits()
            lookup.found("192.0.2.1")
            asked.sends(b"192.0.2.1\n")
        """
        self._resume()
        if self._wait and not self._unstated:
            self._advance(None)
        if not self._wait or self._unstated:
            self._fail("waits")
        self._steps.append(("waits", ()))
        return self

    def ends(self) -> "Script":
        """The conversation has ended."""
        self._resume()
        if not self.ended or self._unstated:
            self._fail("ends")
        self._steps.append(("ends", ()))
        return self

    def also_segmented(self) -> "Script":
        """The same steps in new conversations of the same service, with the input in other segments.

        The input of each step comes cut in two, at each of its octets in turn; then all input comes octet by octet. A
        service that reads lines has to answer the same. The script may have input, answers and the end alone, and the
        service must not remember its peers.
        """
        if self._unstated:
            self._fail("also_segmented")
        other = {word for word, _ in self._steps} - {"receives", "receives_eof", "sends", "ends"}
        if other:
            raise ValueError(f"a script with {' and '.join(sorted(other))} cannot be repeated")
        for steps in _segmentations(self._steps):
            again = Script(self._service, self._peer)
            for word, data in steps:
                getattr(again, word)(*data)
            if self.ended:
                again.ends()
        return self

    def _advance(self, data: bytes | None) -> None:
        """Resume the conversation, until it asks for input, waits, or ends."""
        self._wait = None
        size = 0
        try:
            piece = self._conversation.send(data)
            while piece is not None:
                if isinstance(piece, Wait):
                    self._wait = piece
                    return
                if not isinstance(piece, bytes):
                    raise TypeError(f"a conversation yields bytes, None or a Wait, not {reprlib.repr(piece)}")
                self._add("sends", piece)
                size += len(piece) + _OVERHEAD
                if size > _MOST:
                    raise AssertionError("the conversation sends without end; take what it yields with islice")
                piece = next(self._conversation)
        except StopIteration:
            self.ended = True
        except PeerError as error:
            self._add("sends", error.answer)
            self.ended = True
        except BaseException:
            self._unstated.clear()
            self.ended = True
            raise
        if self._eof:
            self._close()

    def _resume(self) -> None:
        """Go on where a wait is finished."""
        if self._wait and self._wait.done:
            self._advance(None)

    def _close(self) -> None:
        self.ended = True
        self._wait = None
        self._conversation.close()

    def _weak_post(self) -> Post:
        """`_post` without a reference to the script, so that `__del__` runs as soon as the test drops the script."""
        method = WeakMethod(self._post)

        def post(data: bytes) -> bool:
            strong = method()
            return strong is not None and strong(data)

        return post

    def _post(self, data: bytes) -> bool:
        if not isinstance(data, bytes):
            raise TypeError(f"what is posted is bytes, not {reprlib.repr(data)}")
        if self.ended or not self.peer_reads:
            self.lost += 1
            return False
        self._add("posts", data)
        return True

    def _add(self, word: _Word, data: bytes) -> None:
        """Note output, in one piece with the output before it if that is of the same kind."""
        if self._unstated and self._unstated[-1][0] == word:
            self._unstated[-1][1].extend(data)
        elif data:
            self._unstated.append((word, bytearray(data)))

    def _take(self, word: _Word, segments: tuple[bytes, ...]) -> None:
        """Begin a step with input. All output has to be stated before, and the conversation has to ask for input."""
        self._resume()
        if self._unstated or self.ended or self._eof or self._wait:
            self._fail(word, segments)
        self._steps.append((word, segments))

    def _state(self, word: _Word, data: bytes) -> "Script":
        self._resume()
        if self._next(word) != data:
            self._fail(word, (data,))
        if data:
            del self._unstated[0]
        self._steps.append((word, (data,)))
        return self

    def _next(self, word: str) -> bytes:
        """The first output that no step has stated, if it is of this kind."""
        return bytes(self._unstated[0][1]) if self._unstated and self._unstated[0][0] == word else b""

    def _fail(self, word: str, data: tuple[bytes, ...] = ()) -> NoReturn:
        """Raise AssertionError, which shows the steps, then the one that fails and what the conversation does."""
        lines = ["the conversation does not follow the script:", ""]
        lines += [f"  {_line(*step)}" for step in self._steps]
        lines.append(f"- {_line(word, data)}")
        lines += [f"+ {_line(found, (bytes(octets),))}" for found, octets in self._unstated]
        lines.append(f"+ {'ends' if self.ended else 'waits' if self._wait else 'asks for input'}")
        if found := self._next(word):
            lines += ["", f"the first difference is at octet {_first_difference(data[0], found)}"]
        self._unstated.clear()  # it is shown here, and not again by __del__
        raise AssertionError("\n".join(lines))

    def __del__(self) -> None:
        for word, data in self._unstated:
            warnings.warn(
                f"no step of the script states: {_line(word, (bytes(data),))}", ResourceWarning, 2, source=self
            )


def _segmentations(steps: list[_Step]) -> Iterator[list[_Step]]:
    """These steps with what is received cut at other octets."""
    for number, (word, segments) in enumerate(steps):
        if word == "receives":
            data = b"".join(segments)
            for cut in range(1, len(data)):
                yield [*steps[:number], (word, (data[:cut], data[cut:])), *steps[number + 1 :]]
    yield [
        (word, tuple(bytes([octet]) for octet in b"".join(data)) if word == "receives" else data)
        for word, data in steps
    ]


def _line(word: str, data: tuple[bytes, ...]) -> str:
    """One step as text, without its middle where it is long."""
    text = " ".join(map(repr, data))
    if len(text) > _LONGEST_SHOWN:
        half = _LONGEST_SHOWN // 2
        text = f"{text[:half]} ... {text[-half:]} ({sum(map(len, data))} octets)"
    return f"{word:14} {text}".rstrip()


def _first_difference(one: bytes, other: bytes) -> int:
    """The first octet in which two runs differ; the length of the shorter one where the other begins with it."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
