"""Reads the config again while netd serves, in a child process.

The supervisor does not wait for a large config, a slow file system, or the constructor of a service.
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
from netd.daemon.resource_limits import ends_before_this_at_oom
from netd.daemon.supervisor import config_diff, restart_check
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.control import CommandError
from netd.daemon.tasks import Queue, Result, Tasks
from netd.errors import EXIT_OSERR, EXIT_SOFTWARE, OperatorError
from netd.privileges import close_all_but, end_with
from netd.services import table
from netd.steps import finish
from netd.tls.sealed_files import SealedFiles
from netd.transport.loop import Loop

READ_TIMEOUT = 60.0
"""Seconds that reading a config may take. The largest one (`netd.config.bounds`) takes ten on a common host."""


class ConfigReader:
    """Reads the config with ``load``, in a new child process each time."""

    def __init__(self, tasks: Tasks, loop: Loop, load: Callable[[], Config]) -> None:
        self.tasks = tasks
        """What runs the coroutines of the supervisor."""
        self._loop = loop
        self._load = load
        self._queue = Queue()  # one process at a time
        self.children: set[int] = set()
        """The process ids of the child processes that were not reaped yet."""

    async def load(self, old: Config, initial: Config) -> ConfigDiff:
        """Read the config file, and compare it with ``old`` (`config_diff.compare`).

        Raises `OperatorError` with the problems of the config, `CommandError` if it could not be read.
        """
        async with self._queue:
            answer, descriptors = await self._read(old, initial)
        if problems := answer.get("problems"):
            error = OperatorError(problems)
            error.exit_code = answer["exit_code"]
            raise error
        if bug := answer.get("bug"):
            raise CommandError(f"a bug in netd, or in a package with services: {bug}", EXIT_SOFTWARE)
        tables = AccessTables(descriptors[0])
        sealed = [SealedFiles(descriptor) for descriptor in descriptors[1:]]
        await self.tasks.in_slices(_import(answer["modules"]))
        config = await self.tasks.in_slices(transfer.restore(answer["config"], tables, sealed))
        return await self.tasks.in_slices(config_diff.restore(answer["diff"], config))

    async def _read(self, old: Config, initial: Config) -> tuple[Message, list[int]]:
        """Have a child process read the config. Its answer, and the descriptors of access rules and certificates."""
        result: Result[tuple[Message, list[int]]] = Result()
        try:
            ours, theirs = pair()
            with theirs:
                parent = os.getpid()
                with ends_before_this_at_oom():
                    pid = os.fork()
                if pid == 0:
                    _run_reader(Channel(theirs, takes_descriptors=False), self._load, old, initial, parent)
        except OSError as error:
            raise CommandError(f"cannot start a process that reads the config: {error.strerror}", EXIT_OSERR) from None
        self.children.add(pid)
        channel = Channel(ours, takes_descriptors=True)

        def on_readable(mask: int) -> None:
            try:
                received = channel.receive()
            except DescriptorsLostError as error:
                result.fail(
                    CommandError(f"cannot receive the access rules and certificates of the config: {error}", EXIT_OSERR)
                )
            except ChannelError:
                result.fail(CommandError("the process that reads the config exited", EXIT_SOFTWARE))
            else:
                if received:
                    result.set(received)

        self._loop.watch(channel.fileno(), select.EPOLLIN, on_readable)
        slow = CommandError(f"reading the config took more than {READ_TIMEOUT:.0f} s", EXIT_OSERR)
        timer = self._loop.later(READ_TIMEOUT, lambda: result.fail(slow))
        try:
            return await result
        finally:
            self._loop.wheel.drop(timer)
            self._loop.unwatch(channel.fileno())
            channel.close()
            if pid in self.children:
                os.kill(pid, signal.SIGKILL)  # it has answered, or takes too long

    def reap(self) -> None:
        """Reap the child processes that exited. Called at SIGCHLD."""
        for pid in list(self.children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.children.discard(pid)


def _import(names: list[str]) -> Generator[None, None, None]:
    """Import the modules that the services imported in their constructors: a worker in a chroot cannot read them.

    The constructors are not called here, since they may take long.
    """
    for name in names:
        with contextlib.suppress(Exception):  # if it fails now, the worker reports it
            importlib.import_module(name)
        yield


def _run_reader(channel: Channel, load: Callable[[], Config], old: Config, initial: Config, parent: int) -> NoReturn:
    """The child process: read the config, send the answer to the supervisor, and exit."""
    try:
        known = set(sys.modules)
        gc.freeze()  # the parent's objects are not collected here, so their memory stays shared
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        close_all_but({0, 1, 2, channel.fileno()})
        end_with(parent)
        answer: dict[str, Any]
        descriptors: list[int] = []
        try:
            table.look_again()
            config = load()
            diff = finish(config_diff.compare(old, config, initial))
            restart_check.check(initial, config)
            modules = [name for name in sys.modules if name not in known]
            answer = {"config": transfer.dump(config), "diff": diff.dump(), "modules": modules}
            descriptors.append(config.access_tables.descriptor)
            descriptors += [files.descriptor for files in transfer.tls_files(config)]
        except OperatorError as error:
            answer = {"problems": error.problems, "exit_code": error.exit_code}
        except BaseException as error:  # a package with services may raise anything
            answer = {"bug": traceback.format_exception_only(error)[-1].strip()}
        channel.send(answer, descriptors, READ_TIMEOUT)
    finally:
        os._exit(0)
