"""Start processes on given cores, measure their processor time and memory, and kill all of them at the end."""

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
def kill_descendants_at_end() -> Iterator[None]:
    """Kill all processes that were started in this context, and their descendants, at its end."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of servers that have exited become children of this process
    previous = signal.signal(signal.SIGTERM, lambda *_: exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
        kill_all(lambda: descendants(os.getpid()))


def allow_descriptors(number: int) -> int:
    """Raise RLIMIT_NOFILE to ``number``, or to the hard limit if that is lower. The limit that is set."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, max(number, hard)))
        return number
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))
    return min(number, hard)


def descendants(root: int) -> list[int]:
    """All children of a process, and their children, and so on."""
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
    """Kill and reap the processes that ``find`` returns, until it returns none that is alive."""
    while pids := [pid for pid in find() if _stat(pid)[:1] not in ([], ["Z"])]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in pids:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        time.sleep(0.001)  # a process that is no child cannot be waited for


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
    """A process pinned to these cores. The kernel kills it when this process exits."""

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
        env={**_environment(), **(environment or {})},
        start_new_session=True,
        preexec_fn=prepare,  # noqa: PLW1509  # there are no threads here
    )


def _environment() -> dict[str, str]:
    """The environment of this process, with the locale that netd gives to programs.

    With one, cat(1) takes a fifth longer to start than without, so all servers have to start it with the same.
    """
    return {**{name: value for name, value in os.environ.items() if not name.startswith("LC_")}, "LANG": "C.UTF-8"}


def read_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The next line of a process's output. Raises `FailedError` when there is none in time."""
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
    """The fields of /proc/PID/stat after the name, from the state on; empty where the process does not exist."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Server:
    """A server with all its processes, and a directory for its files and its log."""

    def __init__(
        self, command: Sequence[str], cores: Sequence[int], directory: Path, *, asked_to_stop: bool = False
    ) -> None:
        self._log = directory / "log"
        self._asked_to_stop = asked_to_stop
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
        """Raise `FailedError` with the last line of its log, if the server has exited."""
        if (code := self._process.poll()) is not None:
            lines = self._log.read_bytes()[-500:].decode(errors="replace").strip().split("\n")
            raise FailedError(f"exited with {code}: {lines[-1][:120] or 'without any output'}")

    def processor_seconds(self) -> float:
        """The processor time of all its processes, including children that were reaped."""
        total = 0.0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                total += time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3); stat only has ticks
            if fields := _stat(pid):
                total += (int(fields[13]) + int(fields[14])) / _TICKS  # cutime, cstime
        return total

    def descriptors(self, pids: Sequence[int]) -> int:
        """The descriptors that these of its processes have open."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)

    def memory(self) -> int:
        """The proportional set size of all its processes, in octets."""
        return self._memory("Pss", self.pids)

    def own_memory(self, pids: Sequence[int]) -> int:
        """That part of these of its processes which is in no file, such as libraries that other programs use too."""
        return self._memory("Pss_Anon", pids)

    def _memory(self, field: str, pids: Sequence[int]) -> int:
        total = 0
        for pid in pids:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                if found := re.search(rf"(?m)^{field}:\s+(\d+) kB", text):
                    total += int(found[1]) * 1024
        return total

    def wait_until_idle(self) -> None:
        """Wait until it uses no more processor time, so that it does not disturb the next server. At most 6 s."""
        before = self.processor_seconds()
        for _ in range(200):
            time.sleep(0.03)
            after = self.processor_seconds()
            if after - before < 0.001:
                return
            before = after

    def stop(self) -> None:
        """Kill the server and its descendants; where it has to be asked to stop, after it did, or after 20 s."""
        if self._asked_to_stop:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        pids = self.pids
        self._process.kill()
        self._process.wait()
        kill_all(lambda: [pid for pid in pids if pid != self._process.pid])
