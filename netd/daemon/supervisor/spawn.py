"""Starts a worker: a fork of the supervisor that closes the supervisor's descriptors and gives up its rights."""

import codecs
import contextlib
import faulthandler
import gc
import importlib
import os
import signal
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from netd import privileges
from netd.daemon.channel import Channel, pair
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_worker import Failed, HangingRow, Response
from netd.daemon.privileges import explained
from netd.daemon.resource_limits import described, ends_before_this_at_oom
from netd.daemon.tasks import Result
from netd.errors import EXIT_SOFTWARE
from netd.shared.running import RunningMemory
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.sink import Sink

Entry = Callable[[int, Channel, Sink], int]
"""The main function of a worker. Arguments: its number, its end of the channel, the log. Returns the exit code."""

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)  # the supervisor handles them


class WorkerError(Exception):
    """A worker cannot be started, or does not accept the config in force."""


class PendingRequest(NamedTuple):
    """A request without a response yet."""

    response: type
    """The type of its response, unless that is `Failed`."""
    on_response: Callable[[Response | None], None]
    """Called with the response; None: the worker was disconnected."""


@dataclass(eq=False)
class WorkerProcess:
    """A worker, in the supervisor."""

    number: int
    """The column of the counters that it writes."""
    pid: int
    channel: Channel
    stack: int
    """A memfd, to which faulthandler writes the worker's stack when it is aborted or crashes."""
    started: float
    last_heartbeat: float
    """When its last message arrived (CLOCK_MONOTONIC)."""
    missed_heartbeats: int = 0
    """Heartbeats sent since."""
    preparing: bool = False
    """Whether it was sent a config, and has not responded yet."""
    busy_until: float = 0.0
    """Until when it may prepare a config without responding to anything else (CLOCK_MONOTONIC)."""
    requests: dict[int, PendingRequest] = field(default_factory=dict)
    """The open requests by number, including those that timed out."""
    last_request: int = 0
    """The number of the last request."""
    counting: bool = False
    """Whether it was asked to count its traffic, and has not responded yet."""
    lines_lost: int = 0
    """The number of log lines that it has dropped, from its last heartbeat."""
    hanging: Sequence[HangingRow] = ()
    """Its handlers that hang, as of its last heartbeat."""
    draining: bool = False
    """Whether it accepts no connections, and exits after its last one."""
    disconnected: bool = False
    """Whether nothing more is sent to it or received from it."""
    service: str = ""
    """The service that it serves alone; empty: it serves all that have no worker of their own."""
    running: RunningMemory | None = None
    """What code of services runs in it; None: it has none, as a launcher."""
    user: str = ""
    """Of a launcher: the user of its programs; else empty."""
    channels: dict[int, int] = field(default_factory=dict)
    """The launchers' ends of its channels to them, by the number of the launcher."""
    ended: Result[None] = field(default_factory=Result)
    """Set once its process has exited and was reaped."""

    def close(self) -> None:
        """Close all descriptors for a process that has ended."""
        self.channel.close()
        os.close(self.stack)
        if self.running:
            self.running.close_descriptor()
        for launcher in list(self.channels):
            self.close_channel(launcher)
        self.ended.set(None)

    def close_channel(self, launcher: int) -> None:
        """Close the channel to a launcher, if there is one."""
        if (descriptor := self.channels.pop(launcher, None)) is not None:
            os.close(descriptor)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process exists. Its pid is not reused before it is reaped."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def has_exited(self) -> bool:
        """Whether the process has exited and was not reaped yet."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def poll(self) -> int | None:
        """Reap the process if it has exited. Returns the exit code, or the negative number of the signal."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        """Kill and reap the process."""
        self.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)


def how_it_ended(code: int) -> str:
    """The reason why a process ended, as text. ``code`` is from `os.waitstatus_to_exitcode`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"  # a real-time signal has no name


def reap_orphans(known: Container[int]) -> None:
    """Reap the children that exited and are not ``known``: as PID 1 of a container netd gets the orphans of others."""
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    with contextlib.suppress(ChildProcessError):  # there are no children
        # A known one that has exited just now hides others, until the signal for it comes.
        while (found := os.waitid(os.P_ALL, 0, flags)) and found.si_pid not in known:
            os.waitpid(found.si_pid, 0)


def fork(number: int, run_as: privileges.RunAs, sink: Sink, entry: Entry) -> WorkerProcess:
    """Start a process that switches to the user ``run_as`` and runs ``entry``. Raises `WorkerError` if that fails."""
    parent = os.getpid()
    try:
        ours, theirs = pair()
    except OSError as error:
        raise WorkerError(f"cannot start a process: {described(error)}") from None
    _preload(run_as)
    gc.disable()  # see below
    stack = -1
    try:
        stack = os.memfd_create("netd-stack", os.MFD_CLOEXEC)
        with ends_before_this_at_oom():
            pid = os.fork()
    except OSError as error:
        gc.enable()
        for end in (ours, theirs):
            end.close()
        if stack >= 0:
            os.close(stack)
        raise WorkerError(f"cannot start a process: {described(error)}") from None
    if pid == 0:
        # This function does not return here, so no destructor of the parent's objects runs in the child.
        code = EXIT_SOFTWARE
        try:
            # So that no garbage collection here closes the parent's objects, or copies shared memory.
            gc.freeze()
            gc.enable()
            channel = Channel(theirs, takes_descriptors=True)
            code = _run_worker(number, run_as, sink, channel, stack, parent, entry)
        except BaseException as error:
            DaemonEvents().netd_failed(error)
        finally:
            os._exit(code)
    gc.enable()
    theirs.close()
    now = time.monotonic()
    return WorkerProcess(number, pid, Channel(ours, takes_descriptors=False), stack, now, now)


def _run_worker(
    number: int, run_as: privileges.RunAs, sink: Sink, channel: Channel, stack: int, parent: int, entry: Entry
) -> int:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for ignored in _IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    _open_null()
    privileges.close_all_but({0, 1, 2, channel.fileno(), stack, sink.descriptor})
    faulthandler.enable(file=stack)
    try:
        privileges.drop_to(run_as, parent)
    except (OSError, RuntimeError) as error:
        # As the response to the first request, of any kind.
        channel.send_encoded(encode(Failed(explained(run_as, error))), request=1)
        return EXIT_SOFTWARE
    return entry(number, channel, sink)


def _open_null() -> None:
    """Have /dev/null as standard input, before this process has another root directory."""
    null = os.open(os.devnull, os.O_RDWR)
    if null:
        os.dup2(null, 0)


def _preload(run_as: privileges.RunAs) -> None:
    """Import modules that Python would load at first use: a worker may have no access to the files.

    One with another root directory has none to netd itself either; a service that it gets later may have TLS.
    """
    for encoding in ("ascii", "latin-1", "unicode_escape", "utf-8"):
        codecs.lookup(encoding)
    of_tls = ("netd.transport.stream.tls_handshake", "netd.transport.stream.tls_connecting") if run_as.chroot else ()
    for module in ("_strptime", "linecache", "traceback", "zoneinfo", *of_tls):
        importlib.import_module(module)
