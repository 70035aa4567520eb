"""Requests to workers, their responses, and heartbeats, which detect that a worker's loop hangs.

The supervisor does not block on a worker: `Requests.ask` returns a `Result`, and sending fails if the worker's socket
buffer stays full.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from select import EPOLLIN
from typing import Any

from netd.daemon.channel import DOES_NOT_READ, ChannelError, ClosedError, Message, ProtocolError
from netd.daemon.messages import from_worker, to_launcher
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import CountTraffic, Heartbeat, Order, Prepare, Request, response_to
from netd.daemon.messages.from_worker import (
    Alive,
    Busy,
    Done,
    Failed,
    ListenerHeld,
    Notice,
    Offender,
    ProgramsChanged,
    R,
    ReportWanted,
    Response,
    TraceLines,
    Visitors,
    WorkerFault,
)
from netd.daemon.supervisor.spawn import PendingRequest, WorkerProcess
from netd.daemon.tasks import Result
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

RESPONSE_TIMEOUT = 5.0
"""Seconds a worker has to respond to a request, and to exit after `Stop`."""
PREPARE_TIMEOUT = 20.0
"""Seconds a worker has to prepare a config. Only the constructors of services may take long."""

_MOST_MESSAGES, _LONGEST_TURN = 100, 0.02  # messages read from a worker at once, and seconds for them
_SEND_TIMEOUT = 0.25  # seconds to wait for space in a worker's socket buffer, which holds hundreds of packets
_HEARTBEAT = encode(Heartbeat())
_COUNT = encode(CountTraffic())
_COUNT_TIMEOUT = 0.1  # seconds to wait for the counts of workers: a reader of the status notices no more


class Requests:
    """Sends requests to workers. ``on_notice`` is called with each message that is no response."""

    def __init__(self, loop: Loop, events: DaemonEvents, on_notice: Callable[[WorkerProcess, Notice], None]) -> None:
        self._loop = loop
        self._events = events
        self._on_notice = on_notice

    def watch(self, worker: WorkerProcess) -> None:
        """Receive the messages of a worker from now on."""
        self._loop.watch(worker.channel.fileno(), EPOLLIN, lambda mask: self._receive(worker))

    def ask(
        self,
        request: Request[R],
        descriptors: Sequence[int],
        workers: Iterable[WorkerProcess],
        seconds: float = RESPONSE_TIMEOUT,
    ) -> Result[dict[WorkerProcess, R | Failed]]:
        """Send a request to workers. The result is set once each has responded, or its channel is closed.

        A worker without a response is not in the result. One that does not respond within ``seconds`` is aborted and
        replaced, unless it is preparing a config.
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
                worker.requests[number] = PendingRequest(response, lambda answer: None)  # a late response is no error
                if not _is_busy(worker):
                    self.abort(worker, seconds)
            result.set(answers)

        body, response = encode(request), response_to(request)
        for worker in [worker for worker in workers if not worker.disconnected]:
            waiting[worker] = worker.last_request + 1
            self._send_request(worker, body, descriptors, PendingRequest(response, partial(answered, worker)))
        if waiting:
            timer = self._loop.later(seconds, expired)
        else:
            result.set(answers)
        return result

    async def prepare(
        self, request: Prepare, descriptors: Sequence[int], workers: Sequence[WorkerProcess]
    ) -> dict[WorkerProcess, Done | Failed]:
        """As `ask`, for a config: a service's constructor may take long, which is no hang.

        A worker that does not respond in time misses heartbeats for as long again without being aborted, so that a
        rejected config closes no connection.
        """
        for worker in workers:
            worker.preparing = True
        answers = await self.ask(request, descriptors, workers, PREPARE_TIMEOUT)
        for worker in workers:
            worker.preparing = False
        for worker in answers:
            worker.busy_until = 0.0
        return answers

    def send(self, order: Order | to_launcher.Order, workers: Iterable[WorkerProcess], *, must: bool = True) -> None:
        """Send a message without response. With ``must``, a worker that does not read it is aborted."""
        body = encode(order)
        for worker in [worker for worker in workers if not worker.disconnected]:
            try:
                worker.channel.send_encoded(body, (), _SEND_TIMEOUT if must else 0.0)
            except ChannelError as error:
                if must or error.half:
                    self._on_send_error(worker, error)

    def count_traffic(self, workers: Iterable[WorkerProcess]) -> Result[None]:
        """Have workers count what has moved on open connections.

        The result is set once they have, or after `_COUNT_TIMEOUT`: a worker that does not respond, or not read, has
        counted less. It is not asked again before it has responded.
        """
        result: Result[None] = Result()
        asked = {worker for worker in workers if not worker.counting and not worker.disconnected}
        timer = self._loop.later(_COUNT_TIMEOUT, lambda: result.set(None))

        def counted(worker: WorkerProcess, answer: Response | None) -> None:
            worker.counting = False
            asked.discard(worker)
            finish()

        def finish() -> None:
            if not asked:
                self._loop.wheel.drop(timer)
                result.set(None)

        for worker in list(asked):
            worker.counting = True
            self._send_request(worker, _COUNT, (), PendingRequest(Done, partial(counted, worker)), must=False)
        finish()
        return result

    def _send_request(
        self,
        worker: WorkerProcess,
        body: bytes,
        descriptors: Sequence[int],
        pending: PendingRequest,
        *,
        must: bool = True,
    ) -> None:
        """Send a worker a request. ``must`` as for `send`."""
        worker.last_request += 1
        number = worker.last_request
        worker.requests[number] = pending
        try:
            worker.channel.send_encoded(body, descriptors, _SEND_TIMEOUT if must else 0.0, number)
        except ChannelError as error:
            with contextlib.suppress(ChannelError):
                self._read_messages(worker)  # a worker that exited may have sent the reason, which is its response
            if worker.requests.pop(number, None):
                pending.on_response(None if isinstance(error, ClosedError) else Failed(str(error)))
            if not worker.disconnected and (must or error.half):
                self._on_send_error(worker, error)

    def _on_send_error(self, worker: WorkerProcess, error: ChannelError) -> None:
        """Kill a worker with a closed channel, and abort one that does not read. Other errors are not its fault."""
        if isinstance(error, ClosedError):
            self._kill(worker)
        elif error.half or (str(error) == DOES_NOT_READ and not _is_busy(worker)):
            self.abort(worker, _SEND_TIMEOUT)

    def _read_messages(self, worker: WorkerProcess) -> None:
        """Read the messages of a worker. Raises `ChannelError` if it exited, or was killed for an invalid message."""
        try:
            self._handle_messages(worker)
        except ChannelError as error:
            if isinstance(error, ProtocolError):  # once for each worker: nothing more is read from it
                self.reject(worker, str(error))
            else:
                self._kill(worker)
            raise

    def reject(self, worker: WorkerProcess, error: str) -> None:
        """Kill a worker that has sent an invalid message."""
        self._events.message_rejected(worker.user or worker.number, worker.pid, error)
        self._kill(worker)

    def _handle_messages(self, worker: WorkerProcess) -> None:
        """Handle the messages that have arrived. Those beyond the bounds wait: no worker keeps the supervisor busy."""
        until = time.monotonic() + _LONGEST_TURN
        for _ in range(_MOST_MESSAGES):
            if worker.disconnected or time.monotonic() > until:
                return
            received = worker.channel.receive()
            if received is None:
                return
            self._handle_message(worker, received[0])

    def _handle_message(self, worker: WorkerProcess, received: Message) -> None:
        number, message = from_worker.decode(received)
        worker.last_heartbeat = time.monotonic()
        worker.missed_heartbeats = 0
        try:
            match message:
                case Busy():
                    if worker.preparing:  # otherwise it has no reason to send this
                        worker.busy_until = time.monotonic() + 2 * PREPARE_TIMEOUT
                case Offender() | Visitors() | ReportWanted() | TraceLines():
                    self._on_notice(worker, message)
                case ProgramsChanged() | ListenerHeld() | WorkerFault():
                    self._on_notice(worker, message)
                case _:
                    pending = worker.requests.get(number or 0)
                    if pending is None:
                        raise ProtocolError(f"a response to request {number}, which it does not have")
                    # With a response of the wrong type, the request stays open until the worker is disconnected.
                    if not isinstance(message, pending.response | Failed):
                        raise ProtocolError(f"{type(message).__name__} in response to request {number}")
                    del worker.requests[number or 0]
                    pending.on_response(message)
        except ProtocolError:
            raise
        except Exception as error:  # a bug here affects only this worker
            self._events.command_failed("message of a worker", error)
            raise ChannelError("its message was not handled") from error

    def receive_rest(self, worker: WorkerProcess) -> None:
        """Receive what a worker has sent before it exited, which may say why.

        Messages beyond the bounds are lost: a child of the worker may still send some.
        """
        with contextlib.suppress(ChannelError):
            self._handle_messages(worker)

    def _receive(self, worker: WorkerProcess) -> None:
        with contextlib.suppress(ChannelError):
            self._read_messages(worker)

    def _kill(self, worker: WorkerProcess) -> None:
        """Disconnect and kill a worker that closed its end of the channel, or sent an invalid message."""
        self.disconnect(worker)
        worker.signal(signal.SIGKILL)  # it may have exited already; the pool reaps it after SIGCHLD

    def disconnect(self, worker: WorkerProcess) -> None:
        """Send nothing more to a worker, and receive nothing. Its open requests have no response."""
        if not worker.disconnected:
            worker.disconnected = True
            self._loop.unwatch(worker.channel.fileno())
        requests, worker.requests = worker.requests, {}
        for pending in requests.values():
            pending.on_response(None)

    def send_heartbeats(self, workers: Iterable[WorkerProcess]) -> bool:
        """Send a heartbeat to every worker, and abort those that missed the last two.

        Called once per `daemon.heartbeat`. Returns whether each worker has answered since the last call, or is
        preparing a config.
        """
        alive = True
        for worker in [worker for worker in workers if not worker.disconnected]:
            try:
                # Answers that arrived while the supervisor itself was delayed count.
                self._read_messages(worker)
            except ChannelError:
                alive = False
                continue
            if worker.missed_heartbeats and _is_busy(worker):
                continue
            alive = alive and not worker.missed_heartbeats
            if worker.missed_heartbeats >= 2:
                self.abort(worker, time.monotonic() - worker.last_heartbeat)
            else:
                worker.missed_heartbeats += 1
                self._send_request(worker, _HEARTBEAT, (), PendingRequest(Alive, partial(_store_heartbeat, worker)))
        return alive

    def abort(self, worker: WorkerProcess, seconds: float) -> None:
        """End a worker that does not respond: SIGABRT, at which it writes its stack, and SIGKILL a second later."""
        if worker.disconnected:
            return
        self.disconnect(worker)
        if worker.user:
            self._events.launcher_aborted(worker.user, worker.pid, round(seconds, 1))
        else:
            self._events.worker_aborted(worker.number, worker.pid, round(seconds, 1))
        worker.signal(signal.SIGABRT)
        worker.signal(signal.SIGCONT)  # a stopped process would not handle SIGABRT
        self._loop.later(1.0, lambda: _kill_unless_reaped(worker))


def _store_heartbeat(worker: WorkerProcess, answer: Response | None) -> None:
    if isinstance(answer, Alive):
        worker.lines_lost = answer.lines_lost
        worker.hanging = answer.hanging


def _kill_unless_reaped(worker: WorkerProcess) -> None:
    """Kill a worker that SIGABRT did not end. A closed channel means that it was reaped, and its pid may be reused."""
    if worker.channel.fileno() >= 0:
        worker.signal(signal.SIGKILL)


def _is_busy(worker: WorkerProcess) -> bool:
    """Whether a worker is preparing a config, and may miss heartbeats."""
    return time.monotonic() < worker.busy_until
