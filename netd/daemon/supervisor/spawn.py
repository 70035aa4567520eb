"""The birth of a worker: a fork of the supervisor that lets go of all that is the supervisor's."""

import codecs
import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from netd.daemon import privileges
from netd.daemon.channel import Channel, pair
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_worker import Failed, Response
from netd.daemon.tasks import Result
from netd.errors import EXIT_SOFTWARE
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.logs import Sink

Entry = Callable[[int, Channel, Sink], int]
"""What a worker runs: gets its number, its end of the channel and the log, and returns the exit code."""

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # the supervisor's to answer


class WorkerError(Exception):
    """A worker cannot be started or brought up to date; the message says why."""


class Asked(NamedTuple):
    """A request that a worker has not answered."""

    response: type
    """The type of its response, unless that is `Failed`."""
    take: Callable[[Response | None], None]
    """Gets the response; None: there will be none."""


@dataclass(eq=False)
class WorkerProcess:
    """A worker, as the supervisor knows it."""

    number: int
    """Which column of the counters it writes."""
    pid: int
    channel: Channel
    stack: int
    """A file in memory, in which it says what it was doing when it is aborted."""
    started: float
    beaten: float
    """When it answered last (CLOCK_MONOTONIC)."""
    unanswered: int = 0
    """Beats it was asked for since."""
    preparing: bool = False
    """Whether it was sent a config, and has not answered yet."""
    busy_until: float = 0.0
    """Until when it may work on a config without answering anything else (CLOCK_MONOTONIC)."""
    requests: dict[int, Asked] = field(default_factory=dict)
    """By number, also those whose response comes too late."""
    last_request: int = 0
    """The number of the last request."""
    lines_lost: int = 0
    """How many lines of its log nobody will read, as it has said."""
    leaving: bool = False
    """Whether it accepts no more, and ends after its last connection."""
    gone: bool = False
    """Whether there is nothing more to say to it."""
    ended: Result[None] = field(default_factory=Result)
    """Done once its process has ended, and was reaped."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there. Until it is reaped, no other process has its number."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """The exit code, or the negative number of a signal, if the process has ended. It is reaped then."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        """End the process, and reap it."""
        self.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)


def how_it_ended(code: int) -> str:
    """How a process ended, from what `os.waitstatus_to_exitcode` makes of it."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"  # a real-time signal has no name


def fork(number: int, who: privileges.RunAs, sink: Sink, entry: Entry) -> WorkerProcess:
    """Start a process that becomes ``who`` and runs ``entry``. `WorkerError` says why it cannot be started."""
    parent = os.getpid()
    try:
        ours, theirs = pair()
    except OSError as error:
        raise WorkerError(f"cannot start a process: {error.strerror}") from None
    _import_for_later()
    gc.disable()  # see below
    stack = -1
    try:
        stack = os.memfd_create("netd-stack", os.MFD_CLOEXEC)
        pid = os.fork()
    except OSError as error:
        gc.enable()
        for end in (ours, theirs):
            end.close()
        if stack >= 0:
            os.close(stack)
        raise WorkerError(f"cannot start a process: {error.strerror}") from None
    if pid == 0:
        # This frame is never left: the parent's objects stay as they are, and none of them closes anything here.
        code = EXIT_SOFTWARE
        try:
            # So that no collection of this process closes what the parent has open, or copies its memory.
            gc.freeze()
            gc.enable()
            channel = Channel(theirs, takes_descriptors=True)
            code = _be_worker(number, who, sink, channel, stack, parent, entry)
        except BaseException as error:
            DaemonEvents().netd_failed(error)
        finally:
            os._exit(code)
    gc.enable()
    theirs.close()
    now = time.monotonic()
    return WorkerProcess(number, pid, Channel(ours, takes_descriptors=False), stack, now, now)


def _be_worker(
    number: int, who: privileges.RunAs, sink: Sink, channel: Channel, stack: int, parent: int, entry: Entry
) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ignored in _IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    close_all_but({0, 1, 2, channel.fileno(), stack, sink.descriptor})
    faulthandler.enable(file=stack)
    sink.lost = 0  # what the parent has lost, the parent tells
    try:
        privileges.drop_to(who, parent)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        # In response to the first request, whatever that will be.
        channel.send_encoded(encode(Failed(f"cannot become {who.name}: {reason}")), request=1)
        return EXIT_SOFTWARE
    return entry(number, channel, sink)


def _import_for_later() -> None:
    """Have in memory what Python would look for in its files at the first use: a worker may not be allowed to read."""
    for encoding in ("ascii", "latin-1", "unicode_escape", "utf-8"):
        codecs.lookup(encoding)
    for module in ("_strptime", "linecache", "traceback", "zoneinfo"):
        importlib.import_module(module)


def close_all_but(kept: set[int]) -> None:
    """Close every other descriptor, which the process has from its parent."""
    start = 0
    for descriptor in sorted(kept):
        if start < descriptor:  # an empty range would mean everything
            os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
