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
from netd.daemon.fork import Member
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

    def __init__(self, loop: Loop, events: DaemonEvents, reported: Callable[[Member, Message], None]) -> None:
        self._loop = loop
        self._events = events
        self._reported = reported

    def watch(self, member: Member) -> None:
        """Hear a worker from now on."""
        self._loop.watch(member.channel.fileno(), EPOLLIN, lambda events: self._hear(member))

    def ask(
        self, message: Message, descriptors: Sequence[int], members: Iterable[Member], seconds: float = PATIENCE
    ) -> Result[dict[Member, Message]]:
        """Ask workers: the answers, once all have answered or are gone.

        One that is gone has none. One that does not answer within ``seconds`` has none either, and is aborted, to be
        replaced; unless it works on a config.
        """
        result: Result[dict[Member, Message]] = Result()
        answers: dict[Member, Message] = {}
        waiting: dict[Member, int] = {}
        timer: Timer | None = None

        def answered(member: Member, answer: Message | None) -> None:
            del waiting[member]
            if answer is not None:
                answers[member] = answer
            if timer and not waiting:
                self._loop.wheel.drop(timer)
                result.set(answers)

        def expired() -> None:
            for member, question in list(waiting.items()):
                member.questions.pop(question, None)
                if not _is_busy(member):
                    self.abort(member, seconds)
            result.set(answers)

        body = encode(message)
        for member in [member for member in members if not member.gone]:
            waiting[member] = member.asked + 1
            self._send(member, body, descriptors, partial(answered, member))
        if waiting:
            timer = self._loop.later(seconds, expired)
        else:
            result.set(answers)
        return result

    async def prepare(
        self, message: Message, descriptors: Sequence[int], members: Sequence[Member]
    ) -> dict[Member, Message]:
        """As `ask`, for a config: what its services do when they are made may take long, and is no hang.

        A worker that is not ready in time is not looked at for as long again: a config that is refused ends no
        connection.
        """
        for member in members:
            member.preparing = True
        answers = await self.ask(message, descriptors, members, PREPARING)
        for member in members:
            member.preparing = False
        for member in answers:
            member.busy_until = 0.0
        return answers

    def tell(self, message: Message, members: Iterable[Member], *, must: bool = True) -> None:
        """Tell workers something that needs no answer. One that does not take it is aborted, if it ``must``."""
        body = encode(message)
        for member in [member for member in members if not member.gone]:
            try:
                member.channel.send_encoded(body, (), _ROOM if must else 0.0)
            except ChannelError as error:
                if must or error.half:
                    self._not_sent(member, error)

    def _send(
        self, member: Member, body: bytes, descriptors: Sequence[int], take: Callable[[Message | None], None]
    ) -> None:
        """Ask a worker, and have ``take`` called with its answer."""
        member.asked += 1
        number = member.asked
        member.questions[number] = take
        try:
            member.channel.send_encoded(body, descriptors, _ROOM, number)
        except ChannelError as error:
            with contextlib.suppress(ChannelError):
                self._take(member)  # one that ended may have said why, and that is the answer
            if member.questions.pop(number, None):
                take(None if isinstance(error, ClosedError) else {"error": str(error)})
            self._not_sent(member, error)

    def _not_sent(self, member: Member, error: ChannelError) -> None:
        """A worker did not get a message. It is at fault where it is gone, or does not read."""
        if isinstance(error, ClosedError):
            self.hang_up(member)
            member.signal(signal.SIGKILL)  # it ended, or it has closed its end: SIGCHLD tells the rest
        elif error.half or (str(error) == DOES_NOT_READ and not _is_busy(member)):
            self.abort(member, _ROOM)

    def _take(self, member: Member) -> None:
        """Take what a worker has said."""
        for _ in range(_MOST_MESSAGES):  # what is left waits: no worker may keep the supervisor busy
            received = member.channel.receive()
            if received is None:
                return
            message = received[0]
            member.beaten = time.monotonic()
            member.unanswered = 0
            try:
                if isinstance(lost := message.get("lines_lost"), int):
                    member.lines_lost = max(0, lost)
                if "busy" in message:
                    if member.preparing:  # a worker that was told to; one that hangs does not say so
                        member.busy_until = time.monotonic() + 2 * PREPARING
                elif "question" not in message:
                    self._reported(member, message)
                elif take := member.questions.pop(message["question"], None):
                    take(message)
            except Exception as error:  # whatever it says, it ends nobody but itself
                self._events.command_failed("message of a worker", error)
                member.signal(signal.SIGKILL)
                raise ChannelError("it does not keep to the rules") from error

    def _hear(self, member: Member) -> None:
        try:
            self._take(member)
        except ChannelError:
            self.hang_up(member)
            # It ended, which SIGCHLD tells; or it broke the rules, and ends now.
            member.signal(signal.SIGKILL)

    def hang_up(self, member: Member) -> None:
        """There is nothing more to say to a worker, and nothing more to hear."""
        if not member.gone:
            member.gone = True
            self._loop.unwatch(member.channel.fileno())
        questions, member.questions = member.questions, {}
        for take in questions.values():
            take(None)

    def beat(self, members: Iterable[Member]) -> bool:
        """Ask every worker for a sign, and abort those that have not answered the last two times.

        To be called once in an interval. True when all have answered since the last call, or work on a config.
        """
        alive = True
        for member in [member for member in members if not member.gone]:
            try:
                # What came while this process itself was held up counts.
                self._take(member)
            except ChannelError:
                alive = False
                continue
            if member.unanswered and _is_busy(member):
                continue
            alive = alive and not member.unanswered
            if member.unanswered >= 2:
                self.abort(member, time.monotonic() - member.beaten)
            else:
                member.unanswered += 1
                self._send(member, _BEAT, (), lambda answer: None)
        return alive

    def abort(self, member: Member, seconds: float) -> None:
        """End a worker that does not answer, with SIGABRT first, at which it writes down what it was doing."""
        if member.gone:
            return
        self.hang_up(member)
        self._events.worker_aborted(member.number, member.pid, round(seconds, 1))
        member.signal(signal.SIGABRT)
        member.signal(signal.SIGCONT)  # a stopped process would keep the abort waiting
        self._loop.later(1.0, lambda: _kill(member))


def _kill(member: Member) -> None:
    """Kill one that does not even abort. Until it is reaped, no other process has its number."""
    if member.channel.fileno() >= 0:
        member.signal(signal.SIGKILL)


def _is_busy(member: Member) -> bool:
    """Whether it works on a config, which is no reason to end it."""
    return time.monotonic() < member.busy_until
