"""`netd trace` in the supervisor: passes the data that workers receive and send at a service on to the operator.

If a queue is full, the worker and the supervisor drop lines instead of waiting, and report how many.
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
from netd.daemon.supervisor.programs import hands_over
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

    def send(self, lines: list[TraceLine], skipped: int) -> None:
        """Send the lines of a worker to the operator, and the number of lines that were dropped."""
        self.skipped += skipped
        for when, way, peer, size, data, via in lines:
            told = {"text": bytes.fromhex(data).decode("utf-8", "replace")} if way == "unanswered" else {"data": data}
            named = {"via": via} if via else {}
            self._send_line(time=round(when, 6), what=way, peer=peer, **named, size=size, **told)
        if self.skipped:
            dropped, self.skipped = self.skipped, 0
            if not self.post(json_line({"skipped": dropped})):
                self.skipped += dropped

    def _send_line(self, **fields: Any) -> None:
        if not self.post(json_line(fields)):
            self.skipped += 1


class Tracer:
    """The traces that run."""

    def __init__(self, state: State, pool: WorkerPool, loop: Loop) -> None:
        self._state = state
        self._pool = pool
        self._loop = loop
        self._traces: dict[int, _Trace] = {}
        self._numbers = itertools.count(1)

    async def start(self, selection: dict[str, str], post: Post) -> Callable[[], None]:
        """Send the data that the ``service`` in ``selection`` receives and sends to ``post``; of its ``peer`` if given.

        Returns a function that stops the trace. Raises `CommandError` for an unknown service, for one that gives its
        connections to programs, or for too many traces.
        """
        service, peer = selection.get("service", ""), selection.get("peer", "")
        self._state.require(service)
        if any(one.name == service and hands_over(one) for one in self._state.config.services):
            raise CommandError(
                f"'{service}' gives its connections to programs, so netd sees none of the data; "
                "with 'relay: true' in its options it does"
            )
        if len(self._traces) == _MOST:
            raise CommandError(f"there are {_MOST} traces already, which is the limit")
        number = next(self._numbers)
        trace = self._traces[number] = _Trace(service, peer, post)
        await self._pool.ask_all(_message(number, trace))
        keep_alive(self._loop, post, lambda: number in self._traces)
        return lambda: self._stop(number)

    async def sync_worker(self, worker: WorkerProcess) -> None:
        """Start all traces in a new worker."""
        for number, trace in list(self._traces.items()):
            await self._pool.ask(_message(number, trace), workers=[worker])
            if number not in self._traces:  # it was stopped meanwhile
                self._pool.requests.send(StopTrace(number), [worker])

    def on_lines(self, message: TraceLines) -> None:
        """Pass on the lines of a worker, unless the trace was stopped."""
        if trace := self._traces.get(message.trace):
            trace.send(message.lines, message.skipped)

    def _stop(self, number: int) -> None:
        del self._traces[number]
        self._pool.requests.send(StopTrace(number), self._pool.all_workers)


def _message(number: int, trace: _Trace) -> StartTrace:
    return StartTrace(number, trace.service, trace.peer)
