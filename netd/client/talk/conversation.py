"""A conversation: what a person says goes down a line, as does what is due; what comes back is shown as it comes."""

import asyncio
import contextlib
import selectors
import time
from dataclasses import dataclass

from netd.client.talk.link import Link
from netd.client.talk.template import NamePrefix, Template, is_farewell
from netd.client.talk.user_io import Interrupted, UserInterface
from netd.errors import HungUpError

QUIET = 1.0
"""Seconds without an answer after which nobody is waited for: long for a network, short for a person."""


@dataclass(frozen=True)
class Schedule:
    """What is sent unasked."""

    template: Template
    every: float
    """Seconds from one to the next; the first is sent at once."""
    count: int | None = None
    """How many; None: for ever."""


def talk(line: Link, person: UserInterface, name: str | None, schedule: Schedule | None, wait: float | None) -> None:
    """Talk until this side has finished and was answered; raises the `OperatorError` that says what else ended it.

    A person who says farewell has finished. A pipe has if nothing comes behind it for `QUIET`: whoever filled it wants
    all of it sent, and what is a farewell in a chat is a line like others elsewhere. That the other end closes behind a
    last farewell is right.

    ``wait``: for how many seconds without an answer it is waited then, or in all after a farewell. None: `QUIET` where
    the line carries messages or the person left, else until the other end closes.
    """
    # epoll would not take a file as standard input; poll does (poll(2)).
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())) as runner:
        try:
            runner.run(_Talk(line, person, name, schedule, wait).run())
        except Interrupted:
            raise KeyboardInterrupt from None


class _Talk:
    def __init__(
        self, line: Link, person: UserInterface, name: str | None, schedule: Schedule | None, wait: float | None
    ) -> None:
        self._line = line
        self._person = person
        self._schedule = schedule
        self._wait = wait
        self._name = name
        self._voice = NamePrefix(name)
        self._closed = False  # the other end has finished
        self._has_left = False  # a farewell was said
        self._unsent = False
        self._sending = asyncio.Lock()
        self._moved = time.monotonic()

    async def run(self) -> None:
        hearing = asyncio.create_task(self._hear())
        speaking = asyncio.create_task(self._speak())
        try:
            await asyncio.wait((hearing, speaking), return_when=asyncio.FIRST_COMPLETED)
            if self._voice.took_leave and not speaking.done():
                await asyncio.wait((speaking,), timeout=QUIET)  # for what a pipe may have behind its farewell
            if speaking.done():
                await self._part(hearing, left=speaking.result())
            else:
                _end_of(hearing, left=self._voice.took_leave)
                self._unsent |= not self._voice.took_leave and (
                    self._schedule is not None or not self._person.has_finished()
                )
            if self._unsent:
                raise HungUpError([f"{self._line.url}: closed by the other end"])
        finally:
            await _cancel(hearing, speaking)

    async def _hear(self) -> None:
        try:
            while (data := await self._line.receive()) is not None:
                self._moved = time.monotonic()
                await self._person.show(data, whole=not self._line.streams)
                await asyncio.sleep(0)  # whoever talks without a break does not have everything to themselves
        finally:
            self._closed = True
            await self._person.show_end()

    async def _speak(self) -> bool:
        """Send until this side has finished; whether the person left."""
        words = asyncio.create_task(self._send_words())
        tasks = [words]
        if self._schedule:
            tasks.append(asyncio.create_task(self._send_what_is_due(self._schedule)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if words.done() and not words.result():
                await tasks[-1]  # a pipe that ends, as /dev/null does, ends no schedule
            return words.done() and words.result()
        finally:
            await _cancel(*tasks)

    async def _send_words(self) -> bool:
        """Send what the person says; whether they left."""
        async with contextlib.aclosing(self._person.lines()) as lines:
            patience: float | None = None
            while True:
                try:
                    line = await asyncio.wait_for(anext(lines, None), patience)
                except TimeoutError:
                    return True
                if line is None:
                    return self._voice.took_leave or self._person.present
                await self._send(self._voice.say(line))
                self._has_left |= self._voice.took_leave
                if self._voice.took_leave and self._person.present:
                    return True
                patience = QUIET if self._voice.took_leave else None

    async def _send_what_is_due(self, schedule: Schedule) -> bool:
        voice = NamePrefix(self._name)
        due = time.monotonic()
        number = 0
        while number != schedule.count:
            await asyncio.sleep(due - time.monotonic())
            number += 1
            await self._send(voice.say(schedule.template.render(time.time(), number) + b"\n"))
            # What could not be sent in time, since nobody took it or the machine slept, is not made up for.
            due = max(due + schedule.every, time.monotonic())
        return False

    async def _send(self, data: bytes) -> None:
        if data:
            async with self._sending:
                # Who has finished may still listen (shutdown(2)), but not who was said farewell to.
                sent = not (self._closed and self._has_left) and await self._line.send(data)
            # A farewell or an empty line to who has left already is no loss.
            self._unsent |= not sent and bool(data.strip()) and not is_farewell(data)
            self._moved = time.monotonic()

    async def _part(self, hearing: asyncio.Task[None], *, left: bool) -> None:
        """Wait for the rest of the answers."""
        await self._line.finish()
        wait = self._wait
        if wait is None and (left or not self._line.streams):
            wait = QUIET
        since = self._moved = time.monotonic()
        while not hearing.done():
            patience = wait and (since if left else self._moved) + wait - time.monotonic()
            if patience is not None and patience <= 0:
                return
            await asyncio.wait((hearing,), timeout=patience)
        _end_of(hearing, left=left)


def _end_of(hearing: asyncio.Task[None], *, left: bool) -> None:
    """Raise what else than a close ended it; who has left does not mind that it was a rude one."""
    try:
        hearing.result()
    except HungUpError:
        if not left:
            raise


async def _cancel(*tasks: asyncio.Task[bool] | asyncio.Task[None]) -> None:
    """End tasks, and wait until they have tidied up."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
