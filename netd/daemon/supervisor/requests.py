"""Requests to workers, their answers, and the heartbeats that show that their loops turn.

The supervisor waits for no worker: a request is a `Result`, and a packet that finds no room ends what it was for.
"""

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from select import EPOLLIN

from netd.daemon.channel import DOES_NOT_READ, ChannelError, ClosedError, Message, encode
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.tasks import Result
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop, Timer

PATIENCE = 5.0
"""Seconds a worker has to answer, and to end when it was told to."""
PREPARING = 20.0
"""Seconds a worker has to make what a config needs, of which all but the code of the services themselves is quick."""

_MOST_MESSAGES = 100  # taken from a worker at once
_ROOM = 0.25  # seconds until a worker's socket has room for a packet; it holds hundreds
_BEAT = encode({"do": "beat"})


class Requests:
    """Asks workers. ``reported`` hears what a worker says unasked."""

    def __init__(self, loop: Loop, events: DaemonEvents, reported: Callable[[WorkerProcess, Message], None]) -> None:
        self._loop = loop
        self._events = events
        self._reported = reported

    def watch(self, worker: WorkerProcess) -> None:
        """Hear a worker from now on."""
        self._loop.watch(worker.channel.fileno(), EPOLLIN, lambda events: self._hear(worker))

    def ask(
        self, message: Message, descriptors: Sequence[int], workers: Iterable[WorkerProcess], seconds: float = PATIENCE
    ) -> Result[dict[WorkerProcess, Message]]:
        """Ask workers: the answers, once all have answered or are gone.

        One that is gone has none. One that does not answer within ``seconds`` has none either, and is aborted, to be
        replaced; unless it works on a config.
        """
        result: Result[dict[WorkerProcess, Message]] = Result()
        answers: dict[WorkerProcess, Message] = {}
        waiting: dict[WorkerProcess, int] = {}
        timer: Timer | None = None

        def answered(worker: WorkerProcess, answer: Message | None) -> None:
            del waiting[worker]
            if answer is not None:
                answers[worker] = answer
            if timer and not waiting:
                self._loop.wheel.drop(timer)
                result.set(answers)

        def expired() -> None:
            for worker, question in list(waiting.items()):
                worker.questions.pop(question, None)
                if not _is_busy(worker):
                    self.abort(worker, seconds)
            result.set(answers)

        body = encode(message)
        for worker in [worker for worker in workers if not worker.gone]:
            waiting[worker] = worker.asked + 1
            self._send(worker, body, descriptors, partial(answered, worker))
        if waiting:
            timer = self._loop.later(seconds, expired)
        else:
            result.set(answers)
        return result

    async def prepare(
        self, message: Message, descriptors: Sequence[int], workers: Sequence[WorkerProcess]
    ) -> dict[WorkerProcess, Message]:
        """As `ask`, for a config: what its services do when they are made may take long, and is no hang.

        A worker that is not ready in time is not looked at for as long again: a config that is refused ends no
        connection.
        """
        for worker in workers:
            worker.preparing = True
        answers = await self.ask(message, descriptors, workers, PREPARING)
        for worker in workers:
            worker.preparing = False
        for worker in answers:
            worker.busy_until = 0.0
        return answers

    def tell(self, message: Message, workers: Iterable[WorkerProcess], *, must: bool = True) -> None:
        """Tell workers something that needs no answer. One that does not take it is aborted, if it ``must``."""
        body = encode(message)
        for worker in [worker for worker in workers if not worker.gone]:
            try:
                worker.channel.send_encoded(body, (), _ROOM if must else 0.0)
            except ChannelError as error:
                if must or error.half:
                    self._not_sent(worker, error)

    def _send(
        self, worker: WorkerProcess, body: bytes, descriptors: Sequence[int], take: Callable[[Message | None], None]
    ) -> None:
        """Ask a worker, and have ``take`` called with its answer."""
        worker.asked += 1
        number = worker.asked
        worker.questions[number] = take
        try:
            worker.channel.send_encoded(body, descriptors, _ROOM, number)
        except ChannelError as error:
            with contextlib.suppress(ChannelError):
                self._take(worker)  # one that ended may have said why, and that is the answer
            if worker.questions.pop(number, None):
                take(None if isinstance(error, ClosedError) else {"error": str(error)})
            self._not_sent(worker, error)

    def _not_sent(self, worker: WorkerProcess, error: ChannelError) -> None:
        """A worker did not get a message. It is at fault where it is gone, or does not read."""
        if isinstance(error, ClosedError):
            self.hang_up(worker)
            worker.signal(signal.SIGKILL)  # it ended, or it has closed its end: SIGCHLD tells the rest
        elif error.half or (str(error) == DOES_NOT_READ and not _is_busy(worker)):
            self.abort(worker, _ROOM)

    def _take(self, worker: WorkerProcess) -> None:
        """Take what a worker has said."""
        for _ in range(_MOST_MESSAGES):  # what is left waits: no worker may keep the supervisor busy
            received = worker.channel.receive()
            if received is None:
                return
            message = received[0]
            worker.beaten = time.monotonic()
            worker.unanswered = 0
            try:
                if isinstance(lost := message.get("lines_lost"), int):
                    worker.lines_lost = max(0, lost)
                if "busy" in message:
                    if worker.preparing:  # a worker that was told to; one that hangs does not say so
                        worker.busy_until = time.monotonic() + 2 * PREPARING
                elif "question" not in message:
                    self._reported(worker, message)
                elif take := worker.questions.pop(message["question"], None):
                    take(message)
            except Exception as error:  # whatever it says, it ends nobody but itself
                self._events.command_failed("message of a worker", error)
                worker.signal(signal.SIGKILL)
                raise ChannelError("it does not keep to the rules") from error

    def _hear(self, worker: WorkerProcess) -> None:
        try:
            self._take(worker)
        except ChannelError:
            self.hang_up(worker)
            # It ended, which SIGCHLD tells; or it broke the rules, and ends now.
            worker.signal(signal.SIGKILL)

    def hang_up(self, worker: WorkerProcess) -> None:
        """There is nothing more to say to a worker, and nothing more to hear."""
        if not worker.gone:
            worker.gone = True
            self._loop.unwatch(worker.channel.fileno())
        questions, worker.questions = worker.questions, {}
        for take in questions.values():
            take(None)

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
                self._send(worker, _BEAT, (), lambda answer: None)
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


def _kill(worker: WorkerProcess) -> None:
    """Kill one that does not even abort. Until it is reaped, no other process has its number."""
    if worker.channel.fileno() >= 0:
        worker.signal(signal.SIGKILL)


def _is_busy(worker: WorkerProcess) -> bool:
    """Whether it works on a config, which is no reason to end it."""
    return time.monotonic() < worker.busy_until
