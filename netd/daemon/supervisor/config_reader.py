"""Reading the config again while netd serves: in a process of its own, so that nothing waits for it.

What it takes to read a config, and how long a file system takes to give it, is not for the supervisor to wait for.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from typing import Any, NoReturn

from netd.admission.access_memory import AccessTables
from netd.config import transfer
from netd.config.model import Config
from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message, pair
from netd.daemon.privileges import end_with
from netd.daemon.supervisor import config_diff
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.spawn import close_all_but
from netd.daemon.tasks import Queue, Result, Tasks
from netd.errors import EXIT_OSERR, EXIT_SOFTWARE, OperatorError
from netd.transport.listen import finish
from netd.transport.loop import Loop

LOADING = 60.0
"""Seconds that reading a config may take, the largest of which takes ten on a common host (`netd.config.bounds`)."""


class ConfigReader:
    """Reads the config with ``load``, as often as it is asked to."""

    def __init__(self, tasks: Tasks, loop: Loop, load: Callable[[], Config]) -> None:
        self._tasks = tasks
        self._loop = loop
        self._load = load
        self._queue = Queue()  # one process at a time, however many ask
        self._children: set[int] = set()

    async def load(self, old: Config, initial: Config) -> ConfigDiff:
        """The config as its file says it now, and what it changes of ``old`` (`plan.compare`).

        `OperatorError` says what is wrong with it, `CommandError` why it could not be read.
        """
        async with self._queue:
            answer, descriptors = await self._answer(old, initial)
        if problems := answer.get("problems"):
            error = OperatorError(problems)
            error.exit_code = answer["exit_code"]
            raise error
        if bug := answer.get("bug"):
            raise CommandError(f"a bug in netd, or in a package with services: {bug}", EXIT_SOFTWARE)
        tables = AccessTables(descriptors[0])
        await self._tasks.in_slices(_import(answer["modules"]))
        config = await self._tasks.in_slices(transfer.restore(answer["config"], tables))
        return await self._tasks.in_slices(config_diff.restore(answer["diff"], config))

    async def _answer(self, old: Config, initial: Config) -> tuple[Message, list[int]]:
        """What the process that reads says, and the descriptor of the access rules."""
        result: Result[tuple[Message, list[int]]] = Result()
        try:
            ours, theirs = pair()
            with theirs:
                parent = os.getpid()
                pid = os.fork()
                if pid == 0:
                    _read(Channel(theirs, takes_descriptors=False), self._load, old, initial, parent)
        except OSError as error:
            raise CommandError(f"cannot start a process that reads the config: {error.strerror}", EXIT_OSERR) from None
        self._children.add(pid)
        channel = Channel(ours, takes_descriptors=True)

        def hear(mask: int) -> None:
            try:
                received = channel.receive()
            except DescriptorsLostError as error:
                result.fail(CommandError(f"cannot take the access rules of the config: {error}", EXIT_OSERR))
            except ChannelError:
                result.fail(CommandError("the process that reads the config died", EXIT_SOFTWARE))
            else:
                if received:
                    result.set(received)

        self._loop.watch(channel.fileno(), select.EPOLLIN, hear)
        slow = CommandError(f"reading the config took more than {LOADING:.0f} s", EXIT_OSERR)
        timer = self._loop.later(LOADING, lambda: result.fail(slow))
        try:
            return await result
        finally:
            self._loop.wheel.drop(timer)
            self._loop.unwatch(channel.fileno())
            channel.close()
            if pid in self._children:
                os.kill(pid, signal.SIGKILL)  # it has said all, or takes too long

    def reap(self) -> None:
        """Some child ended: see whether it is one of these."""
        for pid in list(self._children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._children.discard(pid)


def _import(names: list[str]) -> Generator[None, None, None]:
    """Import what services needed when they were made, since a worker may not be able to read it, as in a chroot.

    They are made here no more: a constructor may take its time.
    """
    for name in names:
        with contextlib.suppress(Exception):  # it was there a moment ago; where it is needed, the lack of it is told
            importlib.import_module(name)
        yield


def _read(channel: Channel, load: Callable[[], Config], old: Config, initial: Config, parent: int) -> NoReturn:
    """What the process does that reads the config."""
    try:
        known = set(sys.modules)
        gc.freeze()  # what the parent has needs no look, and stays in memory that both share
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        close_all_but({0, 1, 2, channel.fileno()})
        end_with(parent)
        answer: dict[str, Any]
        descriptors: list[int] = []
        try:
            config = load()
            diff = finish(config_diff.compare(old, config, initial))
            modules = [name for name in sys.modules if name not in known]
            answer = {"config": transfer.dump(config), "diff": diff.dump(), "modules": modules}
            descriptors.append(config.access_tables.descriptor)
        except OperatorError as error:
            answer = {"problems": error.problems, "exit_code": error.exit_code}
        except BaseException as error:  # a package with services may raise anything
            answer = {"bug": traceback.format_exception_only(error)[-1].strip()}
        channel.send(answer, descriptors, LOADING)
    finally:
        os._exit(0)
