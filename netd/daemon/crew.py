"""The crew: forks the workers, talks to them, sees that their loops turn, and replaces those that are lost."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence

from netd.daemon import identity
from netd.daemon.channel import ChannelError, Message, wait
from netd.daemon.fork import Member, WorkerError, fork
from netd.telemetry.counters import MOST_WORKERS
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.logs import Sink
from netd.transport.loop import Loop, Timer

PATIENCE = 5.0
"""Seconds a worker has to answer, and to end when it was told to."""

_DELAYS = (0.0, 0.25, 1.0, 4.0, 15.0, 30.0)  # seconds until a worker is replaced that is lost again and again
_STEADY = 60.0  # seconds after which a loss is not "again"
_LONGEST_STACK = 16384
_MOST_MESSAGES = 100  # taken from a worker at once


class Crew:
    """The workers of one supervisor.

    ``prepare`` is called in each new worker before it does anything, and ``install`` brings one up to date; it raises
    `WorkerError` when that fails. ``lost`` hears of a worker's end, and says how many connections ended with it.
    ``reported`` hears what a worker says unasked.
    """

    def __init__(
        self,
        loop: Loop,
        events: DaemonEvents,
        sink: Sink,
        who: identity.Identity,
        install: Callable[[Member], None],
        lost: Callable[[int], int],
        reported: Callable[[Member, Message], None],
    ) -> None:
        self.members: dict[int, Member] = {}
        """By number; without those that are leaving."""
        self.failed = False
        """Whether a worker had to be killed when it should have ended."""
        self.leaving: list[Member] = []
        """Those that accept no more, and end after their last connection."""
        self._loop = loop
        self._events = events
        self._sink = sink
        self._who = who
        self._install = install
        self._lost = lost
        self._reported = reported
        self._size = 0
        self._lines_lost = 0  # of the log, by workers that are no more
        self._losses: dict[int, tuple[int, float]] = {}  # by number: how many in a row, and when the last one was
        self._replacements: dict[int, Timer] = {}

    # Size.

    def resize(self, size: int, *, must: bool = False) -> None:
        """Have so many workers; those that are too many drain and end.

        One that cannot be started is told of and tried again; or, where it ``must``, `WorkerError` says why not.
        """
        self._size = size
        # One that still drains writes its column, so its number is not free.
        taken = {*self.members, *self._replacements, *(member.number for member in self.leaving)}
        free = [number for number in range(MOST_WORKERS) if number not in taken]
        for number in free[: max(0, size - len(self.members) - len(self._replacements))]:
            if must:
                self._start(number)
            else:
                self._replace(number)
        # The lowest numbers stay: the first worker serves what only one may serve.
        for number in sorted({*self.members, *self._replacements})[size:]:
            if number in self.members:
                self._leave(self.members[number])
            else:
                self._loop.wheel.drop(self._replacements.pop(number))

    def _start(self, number: int) -> None:
        member = fork(number, self._who, self._sink)
        self.members[number] = member
        try:
            self._install(member)
            self._loop.watch(member.channel.fileno(), select.EPOLLIN, lambda events: self._hear(member))
        except (WorkerError, OSError) as error:
            self._end(member)
            raise error if isinstance(error, WorkerError) else WorkerError(str(error.strerror)) from None
        self._events.worker_started(number, member.pid)

    # Talking.

    def ask(
        self, message: Message, descriptors: Sequence[int] = (), members: Iterable[Member] | None = None
    ) -> dict[Member, Message]:
        """Ask workers, by default all that are not leaving, and wait for their answers.

        One that is gone has none. One that does not answer in time is aborted, to be replaced, and has none either.
        """
        asked: dict[Member, int] = {}
        wanted = self.members.values() if members is None else members
        for member in [member for member in wanted if not member.gone]:
            try:
                asked[member] = self._send(member, message, descriptors)
            except ChannelError:
                self._abort(member, PATIENCE)  # it may have half of a message
        until = time.monotonic() + PATIENCE
        answers: dict[Member, Message] = {}
        while asked and (left := until - time.monotonic()) > 0:
            ready = wait([member.channel.fileno() for member in asked], left)
            for member in [member for member in asked if member.channel.fileno() in ready]:
                try:
                    self._take(member)
                except ChannelError:
                    del asked[member]  # SIGCHLD tells the rest
                    continue
                if (answer := member.answers.pop(asked[member], None)) is not None:
                    answers[member] = answer
                    del asked[member]
        for member in asked:
            self._abort(member, PATIENCE)
        return answers

    def ask_all(self, message: Message, descriptors: Sequence[int] = ()) -> dict[Member, Message]:
        """As `ask`, of those that are leaving too."""
        return self.ask(message, descriptors, self.everybody)

    @property
    def everybody(self) -> list[Member]:
        """Also those that are leaving."""
        return [*self.members.values(), *self.leaving]

    def tell(self, message: Message, members: Iterable[Member], seconds: float = PATIENCE) -> None:
        """Tell workers something that needs no answer. One that does not take it within ``seconds`` is aborted."""
        for member in [member for member in members if not member.gone]:
            try:
                member.channel.send(message, (), seconds)
            except ChannelError:
                self._abort(member, seconds)  # it may have half of it

    def _send(self, member: Member, message: Message, descriptors: Sequence[int] = ()) -> int:
        member.asked += 1
        member.channel.send({"question": member.asked, **message}, descriptors, PATIENCE)
        return member.asked

    def _take(self, member: Member) -> None:
        """Take what a worker has answered. Only the answer to the last question can be of interest."""
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
                if message.get("question") == member.asked:
                    member.answers = {member.asked: message}
                elif "question" not in message:
                    self._reported(member, message)
            except Exception as error:  # whatever it says, it ends nobody but itself
                self._events.command_failed("message of a worker", error)
                _signal(member, signal.SIGKILL)
                raise ChannelError("it does not keep to the rules") from error

    def _hear(self, member: Member) -> None:
        try:
            self._take(member)
        except ChannelError:
            if not member.gone:
                self._loop.unwatch(member.channel.fileno())
                member.gone = True
            # It ended, which SIGCHLD tells; or it broke the rules, and ends now.
            _signal(member, signal.SIGKILL)

    # Beats.

    def beat(self) -> bool:
        """Ask every worker for a sign, and abort those that have not answered the last two times.

        To be called once in an interval. True when all have answered since the last call.
        """
        alive = True
        for member in [member for member in self.everybody if not member.gone]:
            try:
                # What came while this process itself was held up counts.
                self._take(member)
                alive = alive and not member.unanswered
                if member.unanswered == 2:
                    self._abort(member, time.monotonic() - member.beaten)
                    continue
                self._send(member, {"do": "beat"})
                member.unanswered += 1
            except ChannelError:
                alive = False
        return alive

    @property
    def healthy(self) -> bool:
        """Whether there are as many workers as there should be, and each has answered the beat before the last one."""
        return len(self.members) >= self._size and all(member.unanswered < 2 for member in self.members.values())

    @property
    def lines_lost(self) -> int:
        """How many lines of workers' logs nobody will read."""
        return self._lines_lost + sum(member.lines_lost for member in self.everybody)

    def _abort(self, member: Member, seconds: float) -> None:
        """End a worker that does not answer, with SIGABRT first, at which it writes down what it was doing."""
        if member.gone:
            return
        member.gone = True
        self._events.worker_aborted(member.number, member.pid, round(seconds, 1))
        _signal(member, signal.SIGABRT)
        _signal(member, signal.SIGCONT)  # a stopped process would keep the abort waiting
        self._loop.later(1.0, lambda: self._kill(member))
        self._loop.unwatch(member.channel.fileno())

    def _kill(self, member: Member) -> None:
        """Kill one that does not even abort. Until it is reaped, no other process has its number."""
        if member.channel.fileno() >= 0:
            _signal(member, signal.SIGKILL)

    # Ends.

    def reap(self) -> None:
        """Some child ended: see which, and have it replaced."""
        for member in self.everybody:
            pid, status = os.waitpid(member.pid, os.WNOHANG)
            if pid:
                self._ended(member, os.waitstatus_to_exitcode(status))

    def _ended(self, member: Member, code: int) -> None:
        connections = self._lost(member.number)
        stack = os.pread(member.stack, _LONGEST_STACK, 0).decode("utf-8", "replace").strip()
        self._lines_lost += member.lines_lost
        self._close(member)
        reason = _reason(code)
        if member in self.leaving:
            self.leaving.remove(member)
            if code == 0:
                self._events.worker_ended(member.number, member.pid)
            else:
                self.failed = self.failed or self._size == 0
                self._events.worker_lost(member.number, member.pid, reason, connections, None, stack)
            self.resize(self._size)  # its number may be what another one waits for
            return
        del self.members[member.number]
        losses, when = self._losses.get(member.number, (0, 0.0))
        now = time.monotonic()
        losses = losses + 1 if now - when < _STEADY else 0
        self._losses[member.number] = (losses, now)
        delay = _DELAYS[min(losses, len(_DELAYS) - 1)]
        self._events.worker_lost(member.number, member.pid, reason, connections, delay, stack)
        self._replace_after(member.number, delay)

    def _replace_after(self, number: int, delay: float) -> None:
        if delay:
            self._replacements[number] = self._loop.later(delay, lambda: self._replace(number))
        else:
            self._replace(number)

    def _replace(self, number: int) -> None:
        """Start a worker in place of one that was lost."""
        self._replacements.pop(number, None)
        try:
            self._start(number)
        except WorkerError as error:
            self._events.worker_failed(number, str(error))
            losses, _ = self._losses.get(number, (0, 0.0))
            self._losses[number] = (losses + 1, time.monotonic())
            self._replace_after(number, _DELAYS[min(losses + 1, len(_DELAYS) - 1)])

    def _end(self, member: Member) -> None:
        """End a worker that did not get to serve."""
        _signal(member, signal.SIGKILL)
        os.waitpid(member.pid, 0)
        del self.members[member.number]
        self._lost(member.number)
        self._close(member)

    def _close(self, member: Member) -> None:
        self._loop.unwatch(member.channel.fileno())
        member.gone = True
        member.channel.close()
        os.close(member.stack)

    def _leave(self, member: Member) -> None:
        del self.members[member.number]
        self.leaving.append(member)
        with contextlib.suppress(ChannelError):
            self._send(member, {"do": "drain"})

    # The end of all.

    def drain(self) -> None:
        """Have every worker accept nothing more, and end after its last connection."""
        self.resize(0)

    def stop(self) -> None:
        """Have every worker cut its connections and end; one that does not in time is aborted."""
        self.drain()
        for member in self.leaving:
            with contextlib.suppress(ChannelError):
                self._send(member, {"do": "stop"})

    def abort(self) -> None:
        """End whoever is left."""
        for member in self.leaving:
            if not member.gone:
                self._abort(member, PATIENCE)

    def kill(self) -> None:
        """End everybody at once, when the supervisor itself cannot go on."""
        for member in self.everybody:
            with contextlib.suppress(ChildProcessError):
                _signal(member, signal.SIGKILL)
                os.waitpid(member.pid, 0)
            self._close(member)
        self.members, self.leaving = {}, []

    @property
    def empty(self) -> bool:
        """Whether no worker is left."""
        return not self.members and not self.leaving


def _signal(member: Member, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(member.pid, number)


def _reason(code: int) -> str:
    """How a process ended, from what `os.waitstatus_to_exitcode` makes of it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"  # a real-time signal has no name
