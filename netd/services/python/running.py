"""The service of the code that runs now, so that what it prints and logs is an event of its service.

`current` has that of each thread, of each task of asyncio, and of each turn of a conversation.
"""

from collections.abc import Callable, Generator
from contextvars import ContextVar
from functools import cached_property
from types import GeneratorType
from typing import Any, TypeVar

from netd.addresses import address_text
from netd.contract import WaitingConversation
from netd.peer import Peer
from netd.services.python.request_handlers import caller_of
from netd.shared.running import RunningMemory, record
from netd.telemetry.code_events import CodeEvents
from netd.telemetry.throttle import LONGEST_LINE

T = TypeVar("T")


class RunningCode:
    """The code of a service; where it serves a connection or a datagram, also for which peer."""

    __slots__ = ("__weakref__", "_begun", "_memory", "_peer", "events")

    def __init__(self, events: CodeEvents, peer: Peer | str = "", memory: RunningMemory | None = None) -> None:
        self.events = events
        self._memory = memory
        self._peer = peer
        self._begun: dict[str, str] | None = None  # by stream: what was printed of a line that has no end yet

    def serving(self, peer: Peer | str) -> "RunningCode":
        """The same code, while it serves this peer."""
        return RunningCode(self.events, peer, self._memory)

    def enter(self) -> int:
        """It runs from now on, in this thread: what is left of that when the process dies says why. For `leave`."""
        if self._memory is None:
            return -1
        return self._memory.enter(record(self.events.service, self._source))

    def in_loop(self) -> tuple[memoryview, bytes]:
        """What `enter` writes in the thread of the loop, and where: the first octet is 0 while it does not run."""
        what = record(self.events.service, self._source)
        return self._memory.octets[: len(what)] if self._memory else memoryview(bytearray(len(what))), what

    def leave(self, entered: int) -> None:
        """It has returned."""
        if self._memory is not None:
            self._memory.leave(entered)

    @property
    def _source(self) -> str:
        """The address of the peer."""
        peer = self._peer
        return peer.source if not isinstance(peer, str) else peer.rpartition(":")[0].strip("[]") or peer

    @property
    def peer(self) -> str:
        """The peer as text; empty: there is none."""
        return self._peer if isinstance(self._peer, str) else self._peer.remote

    def run(self, function: Callable[..., T], *arguments: object) -> T:
        """Call a function of the code."""
        token, entered = current.set(self), self.enter()
        try:
            return function(*arguments)
        finally:
            self.leave(entered)
            current.reset(token)

    def printed(self, stream: str, text: str) -> None:
        """It has printed text to ``stdout`` or ``stderr``. A line is logged at its end, or when it is too long."""
        if self._begun is None:
            self._begun = {}
        *lines, rest = (self._begun.pop(stream, "") + text).split("\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
        elif rest:
            self._begun[stream] = rest
        self._log(stream, lines)

    def _log(self, stream: str, lines: list[str]) -> None:
        if found := [line for one in lines if (line := one.removesuffix("\r"))]:
            self.events.lines_printed(stream, self.peer, found)

    def finish(self) -> None:
        """It has served the peer: log what it has printed of a line without an end."""
        while self._begun:
            stream, text = self._begun.popitem()
            self._log(stream, [text])


current: ContextVar[RunningCode | None] = ContextVar("current", default=None)
"""The code that runs in this thread, or task of asyncio; None: it is netd's own, or of a thread that code has begun."""


class AttributedService:
    """Has the code of a service run as `current`."""

    def __init__(self, service: Any, code: RunningCode) -> None:
        self.service = service
        self._code = code

    @cached_property
    def _call_handler(self) -> Callable[[Any, Any, Any], object]:
        return caller_of(self.service.handler)

    def stream(self, peer: Peer, *post: object) -> WaitingConversation:
        code = self._code.serving(peer)
        conversation = code.run(self.service.stream, peer, *post)
        if not isinstance(conversation, GeneratorType):
            raise TypeError(f"{type(self.service).__name__}.stream returned no generator: it has no yield in it")
        return _turns(code, conversation)

    def datagram(self, data: bytes, peer: Peer, *post: object) -> bytes | None:
        code = self._code.serving(peer)
        token, entered = current.set(code), code.enter()  # as `run`, which would take twice the time
        try:
            answer: bytes | None = self.service.datagram(data, peer, *post)
        finally:
            code.leave(entered)
            current.reset(token)
            code.finish()
        return answer

    def handler(self, request: Any, client_address: Any, server: Any) -> object:
        host, port = client_address
        code = self._code.serving(address_text(host, port) if port else host)  # over UNIX the host is the peer as text
        try:
            return code.run(self._call_handler, request, client_address, server)
        finally:
            code.finish()

    def truncate(self, answer: bytes, most: int) -> bytes | None:
        shortened: bytes | None = self._code.run(self.service.truncate, answer, most)
        return shortened

    def take_over(self, before: "AttributedService") -> None:
        if type(self.service) is type(before.service):
            self._code.run(self.service.take_over, before.service)


class AttributedCoroutine(AttributedService):
    """The same for a service with an async function. Tasks that this begins run as it does."""

    async def handler(self, reader: Any, writer: Any) -> object:  # type: ignore[override]
        name = writer.get_extra_info("peername")
        code = self._code.serving(name if isinstance(name, str) else address_text(*name[:2]))
        current.set(code)  # of this task alone
        entered = code.enter()
        try:
            return await self.service.handler(reader, writer)
        finally:
            code.leave(entered)
            code.finish()


def _turns(code: RunningCode, conversation: WaitingConversation) -> Generator[Any, Any, None]:
    """The conversation, each turn of which runs as this code."""
    data: Any = None
    use, restore = current.set, current.reset
    slot, running = code.in_loop()
    try:
        while True:
            token = use(code)
            slot[:] = running
            try:
                piece = conversation.send(data)
            except StopIteration:
                return
            finally:
                slot[0] = 0
                restore(token)
            data = yield piece
    finally:
        code.run(conversation.close)
        code.finish()
