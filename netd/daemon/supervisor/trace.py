"""`netd trace` in the supervisor: workers tell what comes and goes at a service, and it is passed on to who looks.

Both ends lose lines rather than make anybody wait, and say how many.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from netd.contract import Post
from netd.daemon.json_lines import json_line, keep_alive
from netd.daemon.messages.from_supervisor import StartTrace, StopTrace
from netd.daemon.messages.from_worker import TraceLine, TraceLines
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.supervisor.workers import WorkerPool
from netd.transport.loop import Loop

_MOST = 8  # traces at one time


@dataclass
class _Trace:
    service: str
    peer: str
    post: Post
    skipped: int = 0

    def tell(self, lines: list[TraceLine], skipped: int) -> None:
        """Pass on what a worker says."""
        self.skipped += skipped
        for when, way, peer, size, data in lines:
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
                self._pool.requests.tell(StopTrace(number), [worker])

    def told(self, told: TraceLines) -> None:
        """A worker has something to show."""
        if trace := self._traces.get(told.trace):
            trace.tell(told.lines, told.skipped)

    def _stop(self, number: int) -> None:
        del self._traces[number]
        self._pool.requests.tell(StopTrace(number), self._pool.everybody)


def _message(number: int, trace: _Trace) -> StartTrace:
    return StartTrace(number, trace.service, trace.peer)
