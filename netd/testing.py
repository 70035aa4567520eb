r"""Tests of services without sockets, for netd's own services and those of other packages.

A script states the input of a conversation and all of its output::

    from netd.testing import build, datagram, script

    def test_lines_come_back_reversed():
        reverse = build(Reverse)
        script(reverse).receives(b"ab\nc").sends(b"ba\n").receives_eof().sends(b"c\r\n").ends().also_segmented()
        assert datagram(reverse, b"ab") == b"ba"

The subject of each step is the conversation. A step runs when it is called, so a test can do something else between two
steps, such as a step of another script::

    room = build(Chat)
    alex, bob = script(room), script(room)
    alex.receives(b"alex : hello\n")
    bob.posts(b"* alex has joined\r\nalex : hello\r\n")

If the conversation differs from a step, the step raises AssertionError, which shows the steps so far. Output that no
step has stated is an error of the next step. After the last step it is a ResourceWarning, which pytest shows, and which
fails a test under ``-W error``.
"""

import inspect
import json
import reprlib
import warnings
from collections.abc import Callable, Iterator
from random import Random
from types import GeneratorType
from typing import Any, Literal, NoReturn
from weakref import WeakMethod

from netd.contract import Context, Post, Receive, Wait
from netd.errors import PeerError
from netd.peer import Peer
from netd.services.service_type import DeclarationError, ServiceType
from netd.services.socketserver_classes import is_a

NOW = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC, a Tuesday."""
PEER = Peer("tcp", "192.0.2.7", 5353, "192.0.2.1", 7)
"""A client over TCP, with addresses of RFC 5737."""
UDP_PEER = PEER._replace(transport="udp")
"""The same over UDP."""

_MOST = 2**26  # octets that a conversation may send in one turn, where
_OVERHEAD = 64  # octets are added for each piece
_LONGEST_SHOWN = 400  # characters of one step in an error message

_Verb = Literal["receives", "receives_eof", "receives_reset", "times_out", "sends", "posts", "waits", "ends"]
_Step = tuple[_Verb, tuple[bytes, ...]]


def context(*, clock: Callable[[], float] = lambda: NOW, seed: int = 1, line_limit: int = 4096) -> Context:
    """A `Context` that is the same in each run: a clock that stands still at `NOW`, and a `Random` with a seed."""
    return Context(clock=clock, random=Random(seed), line_limit=line_limit)  # noqa: S311  # no secrets depend on it


def build(service: type, given: Context | None = None, /, **options: object) -> Any:
    """A service of this class, built as netd does, with options as a config has them.

    Without a context it gets a new `context()`::

        build(Reverse, shout=True)
        build(Time, context(clock=lambda: 0.0), timezone="Asia/Shanghai")

    Raises `netd.services.service_type.DeclarationError` for a class that cannot be served, pydantic.ValidationError for
    wrong options. A handler of `socketserver` and a function are none: they have a socket, and are tested over one.
    """
    if inspect.isroutine(service) or is_a(service, "BaseRequestHandler"):
        raise DeclarationError(service, "it has a socket, and is tested over one; netd.testing tests what has none")
    kind = ServiceType.of(service)
    return kind.build(kind.options.model_validate_json(json.dumps(options)), given or context())


def datagram(service: Any, data: bytes, peer: Peer = UDP_PEER, post: Post | None = None) -> bytes | None:
    """The answer of a service to one datagram, or None. For a `PeerError` it is the line that the peer receives.

    A `server_initiated` service gets the ``post`` too; None stands for a peer that receives answers only.
    """
    kind = ServiceType.of(type(service))
    if kind.datagrams in (None, "program"):
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

    The conversation is closed when the script is deleted, so a test keeps a reference to the script of each peer
    that is to stay connected.
    """
    if isinstance(service, type):
        raise TypeError(f"expected an object, got a class; pass build({service.__name__})")
    return Script(service, peer)


class Script:
    """One conversation, and the steps it has taken. Each step returns the script itself, for the next one."""

    def __init__(self, service: Any, peer: Peer) -> None:
        self.peer_reads = True
        """False: the peer does not read, so each `Post` returns False and its data is lost."""
        self.lost = 0
        """The number of posts that returned False, also after the end."""
        self.ended = False
        """Whether the conversation has returned, raised `PeerError`, or asked for input after the end of file, at which
        a transport closes it."""
        self._service = service
        self._peer = peer
        self._steps: list[_Step] = []
        self._unstated: list[tuple[_Verb, bytearray]] = []  # output that no step has stated
        self._wait: Wait | None = None
        self._receive: Receive | None = None
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

        Segments that remain when the conversation ends are discarded, as in a transport.
        """
        if not all(segments):
            raise ValueError("a segment is not empty; receives_eof is the end of file")
        self._begin_input("receives", segments)
        for segment in segments:
            if self.ended:
                break
            if self._wait:
                self._fail("receives", (segment,))
            self._advance(segment)
        return self

    def receives_eof(self) -> "Script":
        """The peer has finished sending."""
        self._begin_input("receives_eof", ())
        self._eof = True
        self._advance(b"")
        return self

    def receives_reset(self) -> "Script":
        """The connection is reset, or a time-out ends it: the conversation is closed in any state.

        Output that no step has stated is lost.
        """
        self._unstated.clear()
        self._steps.append(("receives_reset", ()))
        self._close()
        return self

    def times_out(self) -> "Script":
        r"""Nothing comes from the peer for as long as the conversation waits (`Receive`)::

        script(shell).receives(b"login\n").sends(b"password: ").times_out().sends(b"too late\r\n").ends()
        """
        if not self._receive or self._receive.seconds is None:
            self._fail("times_out")
        self._begin_input("times_out", ())
        self._advance(None)
        return self

    @property
    def unanswered(self) -> str:
        """What the peer has sent and gets no answer to as yet, as the conversation says (`Receive`)."""
        return self._receive.unanswered if self._receive else ""

    def sends(self, data: bytes) -> "Script":
        """The conversation has sent this next, in any number of pieces. b"": it has sent nothing next."""
        return self._check_output("sends", data)

    def posts(self, data: bytes) -> "Script":
        """This was posted to the peer next, in any number of pieces. b"": nothing was posted next."""
        return self._check_output("posts", data)

    def output(self) -> bytes:
        """The output since the last step, sent and posted, for a test that cannot state it."""
        self._resume()
        unstated, self._unstated = self._unstated, []
        self._steps += [(verb, (bytes(data),)) for verb, data in unstated]
        return b"".join(data for _, data in unstated)

    def waits(self) -> "Script":
        r"""The conversation waits for something other than its peer (`Wait`), also when it is resumed too early.

        The conversation resumes at the first step after the wait is finished::

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

        The input of each step is cut in two, at each of its octets in turn; then all input is sent octet by octet. A
        service that reads lines has to answer the same. The script may consist of input, answers and the end only, and
        the service must keep no state between conversations.
        """
        if self._unstated:
            self._fail("also_segmented")
        other = {verb for verb, _ in self._steps} - {"receives", "receives_eof", "sends", "ends"}
        if other:
            raise ValueError(f"a script with {' and '.join(sorted(other))} cannot be repeated")
        for steps in _segmentations(self._steps):
            again = Script(self._service, self._peer)
            for verb, data in steps:
                getattr(again, verb)(*data)
            if self.ended:
                again.ends()
        return self

    def _advance(self, data: bytes | None) -> None:
        """Resume the conversation, until it asks for input, waits, or ends."""
        self._wait = self._receive = None
        size = 0
        try:
            piece = self._conversation.send(data)
            while piece is not None:
                if isinstance(piece, Wait):
                    self._wait = piece
                    return
                if isinstance(piece, Receive):
                    piece.check()
                    self._receive = piece
                    break
                if type(piece) is not bytes:
                    raise TypeError(f"a conversation yields bytes, None, Receive or Wait, not {reprlib.repr(piece)}")
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
        """Resume the conversation if its wait is finished."""
        if self._wait and self._wait.done:
            self._advance(None)

    def _close(self) -> None:
        self.ended = True
        self._wait = self._receive = None
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

    def _add(self, verb: _Verb, data: bytes) -> None:
        """Append output, to the piece before it if that is of the same kind."""
        if self._unstated and self._unstated[-1][0] == verb:
            self._unstated[-1][1].extend(data)
        elif data:
            self._unstated.append((verb, bytearray(data)))

    def _begin_input(self, verb: _Verb, segments: tuple[bytes, ...]) -> None:
        """Begin a step with input. All output has to be stated, and the conversation has to wait for input."""
        self._resume()
        if self._unstated or self.ended or self._eof or self._wait:
            self._fail(verb, segments)
        self._steps.append((verb, segments))

    def _check_output(self, verb: _Verb, data: bytes) -> "Script":
        self._resume()
        if self._next(verb) != data:
            self._fail(verb, (data,))
        if data:
            del self._unstated[0]
        self._steps.append((verb, (data,)))
        return self

    def _next(self, verb: str) -> bytes:
        """The first output that no step has stated, if it is of this kind."""
        return bytes(self._unstated[0][1]) if self._unstated and self._unstated[0][0] == verb else b""

    def _fail(self, verb: str, data: tuple[bytes, ...] = ()) -> NoReturn:
        """Raise AssertionError, which shows the steps, then the failed one and what the conversation did instead."""
        lines = ["the conversation does not follow the script:", ""]
        lines += [f"  {_line(*step)}" for step in self._steps]
        lines.append(f"- {_line(verb, data)}")
        lines += [f"+ {_line(found, (bytes(octets),))}" for found, octets in self._unstated]
        lines.append(f"+ {'ends' if self.ended else 'waits' if self._wait else 'asks for input'}")
        if found := self._next(verb):
            lines += ["", f"the first difference is at octet {_first_difference(data[0], found)}"]
        self._unstated.clear()  # shown here, so __del__ must not warn of it
        raise AssertionError("\n".join(lines))

    def __del__(self) -> None:
        for verb, data in self._unstated:
            warnings.warn(
                f"no step of the script states: {_line(verb, (bytes(data),))}", ResourceWarning, 2, source=self
            )


def _segmentations(steps: list[_Step]) -> Iterator[list[_Step]]:
    """The same steps, with the input cut at other octets."""
    for number, (verb, segments) in enumerate(steps):
        if verb == "receives":
            data = b"".join(segments)
            for cut in range(1, len(data)):
                yield [*steps[:number], (verb, (data[:cut], data[cut:])), *steps[number + 1 :]]
    yield [
        (verb, tuple(bytes([octet]) for octet in b"".join(data)) if verb == "receives" else data)
        for verb, data in steps
    ]


def _line(verb: str, data: tuple[bytes, ...]) -> str:
    """One step as text, without the middle of a long one."""
    text = " ".join(map(repr, data))
    if len(text) > _LONGEST_SHOWN:
        half = _LONGEST_SHOWN // 2
        text = f"{text[:half]} ... {text[-half:]} ({sum(map(len, data))} octets)"
    return f"{verb:14} {text}".rstrip()


def _first_difference(one: bytes, other: bytes) -> int:
    """The first octet that differs; the length of the shorter one if the other begins with it."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
