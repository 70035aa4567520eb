"""The processes that have a listening socket, as launchers have told: no other one may be started beside such a one."""

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from select import EPOLLIN

from netd.daemon.messages.to_launcher import Program
from netd.daemon.privileges import is_orphan
from netd.daemon.tasks import Result
from netd.transport.loop import Loop


@dataclass(eq=False)
class Holder:
    """A process that is a program with a listener, as a launcher has told."""

    pid: int
    program: Program
    since: float
    """CLOCK_MONOTONIC."""
    ended: Result[None] = field(default_factory=Result)

    def end_orphan(self, loop: Loop, ended: Callable[[], object]) -> None:
        """End it after its launcher has exited. It is a child of this process since then. ``ended`` is called then."""

        def on_end(mask: int) -> None:
            loop.unwatch(pidfd)
            os.close(pidfd)
            ended()
            self.ended.set(None)

        if not is_orphan(self.pid, os.getpid()):
            ended()
            return self.ended.set(None)
        pidfd = os.pidfd_open(self.pid)
        loop.watch(pidfd, EPOLLIN, on_end)
        self._signal(self.program.stop_signal)
        self._signal(signal.SIGCONT)
        loop.later(self.program.stop_after, lambda: self._signal(signal.SIGKILL))

    def _signal(self, number: int) -> None:
        """Signal its process group, if it has not ended."""
        if is_orphan(self.pid, os.getpid()):
            with contextlib.suppress(OSError):
                os.killpg(self.pid, number)
