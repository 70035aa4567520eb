"""`netd trace` in the supervisor: workers tell what comes and goes at a service, and it is passed on to who looks.

Both ends lose lines rather than make anybody wait, and say how many.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from netd.contract import Post
from netd.daemon.channel import Message
from netd.daemon.json_lines import json_line, keep_alive
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.transport.loop import Loop
from netd.transport.tap import SHOWN, Way

_MOST = 8  # traces at one time
_LONGEST_PEER = 512
_MOST_LINES = 500  # of one packet: more than a worker puts into it
_NEVER = 2.0**40  # seconds since 1970 that no clock shows
_DATA = re.compile(rf"([0-9a-f]{{2}}){{0,{SHOWN}}}")


@dataclass
class _Trace:
    service: str
    peer: str
    post: Post
    skipped: int = 0

    def tell(self, lines: list[Any], skipped: int) -> None:
        """Pass on what a worker says, which is believed in no more than is needed to show it."""
        self.skipped += skipped
        for line in lines[:_MOST_LINES]:
            match line:
                case [int() | float() as when, str() as way, str() as peer, int() as size, str() as data] if (
                    0 <= when < _NEVER and way in get_args(Way) and len(peer) <= _LONGEST_PEER and _DATA.fullmatch(data)
                ):
                    self._post(time=round(when, 6), what=way, peer=peer, size=size, data=data)
        if self.skipped:
            missed, self.skipped = self.skipped, 0
            if not self.post(json_line({"skipped": missed})):
                self.skipped += missed

    def _post(self, **told: Any) -> None:
        if not self.post(json_line(told)):
            self.skipped += 1


class Tracer:
    """Knows who looks at what."""

    def __init__(self, state: State, pool: WorkerPool, loop: Loop) -> None:
        self._state = state
        self._pool = pool
        self._loop = loop
        self._traces: dict[int, _Trace] = {}
        self._numbers = itertools.count(1)

    async def start(self, wanted: dict[str, str], post: Post) -> Callable[[], None]:
        """Have ``post`` told what comes and goes at ``service``, of ``peer`` alone where that is given.

        Returns what ends it. `CommandError` says why it cannot be.
        """
        service, peer = wanted.get("service", ""), wanted.get("peer", "")
        self._state.require(service)
        if len(self._traces) == _MOST:
            raise CommandError(f"there are {_MOST} traces already, and no more at one time")
        number = next(self._numbers)
        trace = self._traces[number] = _Trace(service, peer, post)
        await self._pool.ask_all(_message(number, trace))
        keep_alive(self._loop, post, lambda: number in self._traces)
        return lambda: self._stop(number)

    async def install(self, worker: WorkerProcess) -> None:
        """A worker that has just started looks as the others do."""
        for number, trace in list(self._traces.items()):
            await self._pool.ask(_message(number, trace), workers=[worker])
            if number not in self._traces:  # it has ended meanwhile
                self._pool.requests.tell({"do": "untrace", "trace": number}, [worker])

    def told(self, message: Message) -> None:
        """A worker has something to show."""
        number, lines, skipped = message.get("trace"), message.get("lines"), message.get("skipped")
        trace = self._traces.get(number) if isinstance(number, int) else None
        if trace and isinstance(lines, list) and isinstance(skipped, int):
            trace.tell(lines, skipped)

    def _stop(self, number: int) -> None:
        del self._traces[number]
        self._pool.requests.tell({"do": "untrace", "trace": number}, self._pool.everybody)


def _message(number: int, trace: _Trace) -> Message:
    return {"do": "trace", "trace": number, "service": trace.service, "peer": trace.peer}
