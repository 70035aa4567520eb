"""The conversation of `netd talk`: input and scheduled texts are sent over a link, and what it receives is shown."""

import asyncio
import contextlib
import selectors
import time
from dataclasses import dataclass

from netd.client.talk.link import Link
from netd.client.talk.template import NamePrefix, Template, is_farewell, with_end
from netd.client.talk.user_io import Interrupted, UserInterface
from netd.errors import HungUpError, NoAnswerError

QUIET = 1.0
"""Seconds without an answer, or without input after a farewell, that end the wait for one: long for a network, short
for a person."""


REFUSAL = 0.1
"""Seconds that the other end of a stream has to refuse a connection, before the first line of a pipe is sent: if it
closes at once, it is up to its scheduler whether it has read that line, and so whether that line is lost."""


@dataclass(frozen=True)
class Schedule:
    """Texts that are sent at intervals."""

    template: Template
    every: float
    """Seconds from one to the next; the first is sent at once."""
    count: int | None = None
    """The number of texts; None: no limit."""


def talk(
    link: Link,
    ui: UserInterface,
    name: str | None = None,
    schedule: Schedule | None = None,
    wait: float | None = None,
    end: bytes | None = None,
) -> None:
    """Run a conversation until this side has finished and was answered.

    Raises `HungUpError` where the other end closes before, `NoAnswerError` where it has answered nothing, and the
    `OperatorError` of a link that fails. A close after a farewell is no error.

    At a terminal, a farewell (``q``, ``bye``) ends the input. In a pipe it does so only if no input follows for
    `QUIET`: all of a pipe is to be sent, and a line that is a farewell in a chat may be a line like others elsewhere.

    ``wait``: seconds without an answer after which the wait for another one ends, or seconds in all after a farewell.
    None: `QUIET` where the link carries messages or the user has left, else until the other end closes. 0: no answer
    is waited for, or missed.

    ``end``: the line end that is sent, LF, CR LF or nothing; None: that of the input. Without one, a line over a stream
    is sent when the one before was answered, or after `QUIET`: only this tells them apart.
    """
    # epoll(7) refuses a file as standard input; poll(2) does not.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())) as runner:
        try:
            runner.run(_Talk(link, ui, name, schedule, wait, end).run())
        except Interrupted:
            raise KeyboardInterrupt from None


class _Talk:
    def __init__(
        self,
        link: Link,
        ui: UserInterface,
        name: str | None,
        schedule: Schedule | None,
        wait: float | None,
        end: bytes | None,
    ) -> None:
        self._link = link
        self._ui = ui
        self._schedule = schedule
        self._wait = wait
        self._end = end
        self._name = name
        self._prefix = NamePrefix(name)
        self._closed = False  # by the other end
        self._sent_farewell = False
        self._unsent = False  # some input could not be sent
        self._asked = False  # something but a farewell was sent
        self._answered = False  # something was received
        self._heard = asyncio.Event()  # something was received since the last line was sent, or the end
        self._sending = asyncio.Lock()
        self._last_activity = time.monotonic()

    async def run(self) -> None:
        receiving = asyncio.create_task(self._receive())
        if self._link.streams and not self._ui.interactive:
            await asyncio.wait((receiving,), timeout=REFUSAL)
        sending = asyncio.create_task(self._send_all())
        try:
            await asyncio.wait((receiving, sending), return_when=asyncio.FIRST_COMPLETED)
            if self._prefix.farewell and not sending.done():
                await asyncio.wait((sending,), timeout=QUIET)  # a pipe may have input after its farewell
            if sending.done():
                await self._finish(receiving, left=sending.result())
            else:
                _check_end(receiving, left=self._prefix.farewell)
                self._unsent |= not self._prefix.farewell and (
                    self._schedule is not None or not self._ui.has_finished()
                )
            if self._unsent:
                raise HungUpError([f"{self._link.url}: closed by the other end"])
            if self._asked and not self._answered and self._wait != 0:
                raise NoAnswerError([f"{self._link.url}: nothing was received{self._hint()}"])
        finally:
            await _cancel(receiving, sending)

    def _hint(self) -> str:
        return "" if self._end == b"" else "; if a message has no line end there, try --end none"

    async def _receive(self) -> None:
        try:
            while (data := await self._link.receive()) is not None:
                self._last_activity = time.monotonic()
                self._answered = True
                self._heard.set()
                await self._ui.show(data, whole=not self._link.streams)
                await asyncio.sleep(0)  # a peer that sends without a pause must not starve the other tasks
        except asyncio.CancelledError:
            self._ui.discard()
            raise
        finally:
            self._closed = True
            self._heard.set()
            await self._ui.show_end()

    async def _send_all(self) -> bool:
        """Send until this side has finished. Whether the user has left."""
        lines = asyncio.create_task(self._send_lines())
        tasks = [lines]
        if self._schedule:
            tasks.append(asyncio.create_task(self._send_scheduled(self._schedule)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if lines.done() and not lines.result():
                await tasks[-1]  # the end of a pipe, such as /dev/null, does not end a schedule
            return lines.done() and lines.result()
        finally:
            await _cancel(*tasks)

    async def _send_lines(self) -> bool:
        """Send the input. Whether the user has left: with a farewell, or with the end of input at a terminal."""
        async with contextlib.aclosing(self._ui.lines()) as lines:
            timeout: float | None = None
            begins = True  # what comes next is the beginning of a line
            while True:
                try:
                    line = await asyncio.wait_for(anext(lines, None), timeout)
                except TimeoutError:
                    return True
                if line is None:
                    return self._prefix.farewell or self._ui.interactive
                if data := self._prefix.add(line):
                    if begins and self._end == b"" and self._link.streams:
                        await self._wait_for_turn()
                    await self._send(data)
                begins = line.endswith(b"\n")
                self._sent_farewell |= self._prefix.farewell
                if self._prefix.farewell and self._ui.interactive:
                    return True
                timeout = QUIET if self._prefix.farewell else None

    async def _wait_for_turn(self) -> None:
        """Wait until the line that was sent last has an answer, or has had the time for one."""
        if self._asked:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._last_activity + QUIET - time.monotonic()):
                    await self._heard.wait()
        self._heard.clear()

    async def _send_scheduled(self, schedule: Schedule) -> bool:
        prefix = NamePrefix(self._name)
        due = time.monotonic()
        number = 0
        while number != schedule.count:
            await asyncio.sleep(due - time.monotonic())
            number += 1
            if line := prefix.add(schedule.template.render(time.time(), number) + b"\n"):
                await self._send(line)
            # Texts that were missed, while the peer did not read or the host was suspended, are skipped.
            due = max(due + schedule.every, time.monotonic())
        return False

    async def _send(self, line: bytes) -> None:
        async with self._sending:
            # A peer that has closed its side may still receive (shutdown(2)), but not after a farewell.
            sent = not (self._closed and self._sent_farewell) and await self._link.send(with_end(line, self._end))
        # A farewell or an empty line that could not be sent is no loss.
        means = bool(line.strip()) and not is_farewell(line)
        self._asked |= means
        self._unsent |= means and not sent
        self._last_activity = time.monotonic()

    async def _finish(self, receiving: asyncio.Task[None], *, left: bool) -> None:
        """Signal the end of input, and wait for the remaining answers."""
        await self._link.finish()
        wait = self._wait
        if wait is None and (left or not self._link.streams):
            wait = QUIET
        since = self._last_activity = time.monotonic()
        while not receiving.done():
            timeout = wait and (since if left else self._last_activity) + wait - time.monotonic()
            if timeout is not None and timeout <= 0:
                return
            await asyncio.wait((receiving,), timeout=timeout)
        _check_end(receiving, left=left)
        # A peer that closes at once and one that has read everything before can look the same until now.
        self._unsent |= self._asked and not left and not await self._link.delivered()


def _check_end(receiving: asyncio.Task[None], *, left: bool) -> None:
    """Raise the error that ended the link, if there is one. After a farewell, a reset is no error."""
    try:
        receiving.result()
    except HungUpError:
        if not left:
            raise


async def _cancel(*tasks: asyncio.Task[bool] | asyncio.Task[None]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
