"""Requests to workers, their responses, and the heartbeats that show that their loops turn.

The supervisor waits for no worker: a request is a `Result`, and a packet that finds no room ends what it was for.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from select import EPOLLIN
from typing import Any

from netd.daemon.channel import DOES_NOT_READ, ChannelError, ClosedError, Message, ProtocolError
from netd.daemon.messages import from_worker
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import Heartbeat, Order, Prepare, Request, response_to
from netd.daemon.messages.from_worker import (
    Alive,
    Busy,
    Done,
    Failed,
    Notice,
    Offender,
    R,
    ReportWanted,
    Response,
    TraceLines,
)
from netd.daemon.supervisor.spawn import Asked, WorkerProcess
from netd.daemon.tasks import Result
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

PATIENCE = 5.0
"""Seconds a worker has to answer, and to end when it was told to."""
PREPARING = 20.0
"""Seconds a worker has to make what a config needs, of which all but the code of the services themselves is quick."""

_MOST_MESSAGES = 100  # taken from a worker at once
_ROOM = 0.25  # seconds until a worker's socket has room for a packet; it holds hundreds
_HEARTBEAT = encode(Heartbeat())


class Requests:
    """Asks workers. ``reported`` gets what a worker says unasked."""

    def __init__(self, loop: Loop, events: DaemonEvents, reported: Callable[[WorkerProcess, Notice], None]) -> None:
        self._loop = loop
        self._events = events
        self._reported = reported

    def watch(self, worker: WorkerProcess) -> None:
        """Hear a worker from now on."""
        self._loop.watch(worker.channel.fileno(), EPOLLIN, lambda events: self._hear(worker))

    def ask(
        self,
        request: Request[R],
        descriptors: Sequence[int],
        workers: Iterable[WorkerProcess],
        seconds: float = PATIENCE,
    ) -> Result[dict[WorkerProcess, R | Failed]]:
        """Ask workers: their responses, once all have answered or are gone.

        One that is gone has none. One that does not answer within ``seconds`` has none either, and is aborted, to be
        replaced; unless it works on a config.
        """
        result: Result[dict[WorkerProcess, Any]] = Result()
        answers: dict[WorkerProcess, Any] = {}
        waiting: dict[WorkerProcess, int] = {}
        timer: Timer | None = None

        def answered(worker: WorkerProcess, answer: Response | None) -> None:
            del waiting[worker]
            if answer is not None:
                answers[worker] = answer
            if timer and not waiting:
                self._loop.wheel.drop(timer)
                result.set(answers)

        def expired() -> None:
            for worker, number in list(waiting.items()):
                worker.requests[number] = Asked(response, lambda answer: None)  # it may come yet
                if not _is_busy(worker):
                    self.abort(worker, seconds)
            result.set(answers)

        body, response = encode(request), response_to(request)
        for worker in [worker for worker in workers if not worker.gone]:
            waiting[worker] = worker.last_request + 1
            self._send(worker, body, descriptors, Asked(response, partial(answered, worker)))
        if waiting:
            timer = self._loop.later(seconds, expired)
        else:
            result.set(answers)
        return result

    async def prepare(
        self, request: Prepare, descriptors: Sequence[int], workers: Sequence[WorkerProcess]
    ) -> dict[WorkerProcess, Done | Failed]:
        """As `ask`, for a config: what its services do when they are made may take long, and is no hang.

        A worker that is not ready in time is not looked at for as long again: a config that is refused ends no
        connection.
        """
        for worker in workers:
            worker.preparing = True
        answers = await self.ask(request, descriptors, workers, PREPARING)
        for worker in workers:
            worker.preparing = False
        for worker in answers:
            worker.busy_until = 0.0
        return answers

    def tell(self, order: Order, workers: Iterable[WorkerProcess], *, must: bool = True) -> None:
        """Send workers what has no response. One that does not take it is aborted, if it ``must``."""
        body = encode(order)
        for worker in [worker for worker in workers if not worker.gone]:
            try:
                worker.channel.send_encoded(body, (), _ROOM if must else 0.0)
            except ChannelError as error:
                if must or error.half:
                    self._not_sent(worker, error)

    def _send(self, worker: WorkerProcess, body: bytes, descriptors: Sequence[int], asked: Asked) -> None:
        """Send a worker a request."""
        worker.last_request += 1
        number = worker.last_request
        worker.requests[number] = asked
        try:
            worker.channel.send_encoded(body, descriptors, _ROOM, number)
        except ChannelError as error:
            with contextlib.suppress(ChannelError):
                self._take(worker)  # one that ended may have said why, and that is the answer
            if worker.requests.pop(number, None):
                asked.take(None if isinstance(error, ClosedError) else Failed(str(error)))
            if not worker.gone:
                self._not_sent(worker, error)

    def _not_sent(self, worker: WorkerProcess, error: ChannelError) -> None:
        """A worker did not get a message. It is at fault where it is gone, or does not read."""
        if isinstance(error, ClosedError):
            self._end(worker)
        elif error.half or (str(error) == DOES_NOT_READ and not _is_busy(worker)):
            self.abort(worker, _ROOM)

    def _take(self, worker: WorkerProcess) -> None:
        """Take what a worker has sent. `ChannelError` if it has ended, or is ended for what it sent."""
        try:
            for _ in range(_MOST_MESSAGES):  # what is left waits: no worker may keep the supervisor busy
                received = worker.channel.receive()
                if received is None:
                    return
                self._take_message(worker, received[0])
        except ChannelError as error:
            if isinstance(error, ProtocolError):  # once for each worker: nothing more is taken from it
                self._events.message_rejected(worker.number, worker.pid, str(error))
            self._end(worker)
            raise

    def _take_message(self, worker: WorkerProcess, received: Message) -> None:
        number, message = from_worker.decode(received)
        worker.beaten = time.monotonic()
        worker.unanswered = 0
        try:
            match message:
                case Busy():
                    if worker.preparing:  # a worker that was told to; one that hangs does not say so
                        worker.busy_until = time.monotonic() + 2 * PREPARING
                case Offender() | ReportWanted() | TraceLines():
                    self._reported(worker, message)
                case _:
                    asked = worker.requests.get(number or 0)
                    if asked is None:
                        raise ProtocolError(f"a response to request {number}, which it does not have")
                    # One that does not fit leaves the request where it is, to be ended with the worker.
                    if not isinstance(message, asked.response | Failed):
                        raise ProtocolError(f"{type(message).__name__} in response to request {number}")
                    del worker.requests[number or 0]
                    asked.take(message)
        except ProtocolError:
            raise
        except Exception as error:  # a bug ends no other worker
            self._events.command_failed("message of a worker", error)
            raise ChannelError("its message was not dealt with") from error

    def _hear(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(ChannelError):
            self._take(worker)

    def _end(self, worker: WorkerProcess) -> None:
        """Have done with a worker whose end of the channel is closed, or that is not trusted any more."""
        self.hang_up(worker)
        worker.signal(signal.SIGKILL)  # it may have ended already; SIGCHLD tells the rest

    def hang_up(self, worker: WorkerProcess) -> None:
        """There is nothing more to say to a worker, and nothing more to hear."""
        if not worker.gone:
            worker.gone = True
            self._loop.unwatch(worker.channel.fileno())
        requests, worker.requests = worker.requests, {}
        for asked in requests.values():
            asked.take(None)

    def beat(self, workers: Iterable[WorkerProcess]) -> bool:
        """Ask every worker for a sign, and abort those that have not answered the last two times.

        To be called once in an interval. True when all have answered since the last call, or work on a config.
        """
        alive = True
        for worker in [worker for worker in workers if not worker.gone]:
            try:
                # What came while this process itself was held up counts.
                self._take(worker)
            except ChannelError:
                alive = False
                continue
            if worker.unanswered and _is_busy(worker):
                continue
            alive = alive and not worker.unanswered
            if worker.unanswered >= 2:
                self.abort(worker, time.monotonic() - worker.beaten)
            else:
                worker.unanswered += 1
                self._send(worker, _HEARTBEAT, (), Asked(Alive, partial(_note, worker)))
        return alive

    def abort(self, worker: WorkerProcess, seconds: float) -> None:
        """End a worker that does not answer, with SIGABRT first, at which it writes down what it was doing."""
        if worker.gone:
            return
        self.hang_up(worker)
        self._events.worker_aborted(worker.number, worker.pid, round(seconds, 1))
        worker.signal(signal.SIGABRT)
        worker.signal(signal.SIGCONT)  # a stopped process would keep the abort waiting
        self._loop.later(1.0, lambda: _kill(worker))


def _note(worker: WorkerProcess, answer: Response | None) -> None:
    if isinstance(answer, Alive):
        worker.lines_lost = answer.lines_lost


def _kill(worker: WorkerProcess) -> None:
    """Kill one that does not even abort. Until it is reaped, no other process has its number."""
    if worker.channel.fileno() >= 0:
        worker.signal(signal.SIGKILL)


def _is_busy(worker: WorkerProcess) -> bool:
    """Whether it works on a config, which is no reason to end it."""
    return time.monotonic() < worker.busy_until
