"""Processes on the cores they are told: starting them, what they cost, and that none is left at the end."""

import contextlib
import ctypes
import os
import re
import resource
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.errors import FailedError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_TICKS = os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Whatever was started in here, and whatever that started, is gone at the end, however it ends."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # children of servers that ended become ours
    previous = signal.signal(signal.SIGTERM, lambda *_: exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        kill_all(lambda: descendants(os.getpid()))


def allow_descriptors(number: int) -> int:
    """Let this process and those it starts open so many descriptors, or as many as may be; how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(number, hard)))
        return number
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))
    return min(number, hard)


def descendants(root: int) -> list[int]:
    """All processes that a process has started, and they, and so on."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found: list[int] = []
    waiting = [root]
    while waiting:
        of_one = children.get(waiting.pop(), [])
        found += of_one
        waiting += of_one
    return found


def kill_all(find: Callable[[], list[int]]) -> None:
    """Kill and reap what there is, until there is nothing that lives."""
    while pids := [pid for pid in find() if _stat(pid)[:1] not in ([], ["Z"])]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        time.sleep(0.001)  # somebody else's child takes a moment to end


def start(
    command: Sequence[str],
    cores: Sequence[int],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
    stdin: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """A process that is pinned to these cores, and killed should this one die."""

    def prepare() -> None:
        os.sched_setaffinity(0, cores)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # there are no threads here
    )


def read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The next line it prints; `FailedError` when none comes in time."""
    assert process.stdout
    line = b""
    limit = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        if not select.select([process.stdout], [], [], max(0, limit - time.monotonic()))[0]:
            raise FailedError(f"nothing within {seconds:.0f} s")
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            raise FailedError("ended early")
        line += piece
    return line


def _stat(pid: int) -> list[str]:
    """What stands in /proc/PID/stat behind the name, from the state on; nothing where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Server:
    """A server with all its processes, in a directory of its own."""

    def __init__(self, command: Sequence[str], cores: Sequence[int], directory: Path) -> None:
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = start(
                command,
                cores,
                stdout=log.fileno(),
                stderr=log.fileno(),
                environment={"NETD_CONTROL": str(directory / "control.sock")},
                directory=directory,
            )

    @property
    def pids(self) -> list[int]:
        return [self._process.pid, *descendants(self._process.pid)]

    def check(self) -> None:
        """Raise `FailedError` with the last thing it said, if it has ended."""
        if (code := self._process.poll()) is not None:
            said = self._log.read_bytes()[-500:].decode(errors="replace").strip().split("\n")
            raise FailedError(f"ended with {code}: {said[-1][:120] or 'without a word'}")

    def processor_seconds(self) -> float:
        """What all its processes have used, with those that have ended and been waited for."""
        total = 0.0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3), precise where stat has ticks
            if fields := _stat(pid):
                total += (int(fields[13]) + int(fields[14])) / _TICKS  # cutime, cstime
        return total

    def memory(self) -> int:
        """The proportional set size of all its processes, in octets."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                if found := re.search(r"(?m)^Pss:\s+(\d+) kB", text):
                    total += int(found[1]) * 1024
        return total

    def settle(self) -> None:
        """Wait until it has nothing more to do, so that it is not in the way of the next one."""
        before = self.processor_seconds()
        for _ in range(200):
            time.sleep(0.03)
            after = self.processor_seconds()
            if after - before < 0.001:
                return
            before = after

    def stop(self) -> None:
        """Kill it and what it has started."""
        pids = self.pids
        self._process.kill()
        self._process.wait()
        kill_all(lambda: [pid for pid in pids if pid != self._process.pid])
