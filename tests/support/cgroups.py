"""A memory cgroup below that of this process (cgroups(7))."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import until

ROOT = Path("/sys/fs/cgroup")


class MemoryCgroup:
    """A group of processes with a limit for their memory."""

    def __init__(self, directory: Path, usage: str, limit: str) -> None:
        self.directory = directory
        self._usage, self._limit = directory / usage, directory / limit

    @property
    def limits_memory(self) -> bool:
        """Whether the group has the memory controller."""
        return self._limit.exists()

    def add(self, pid: int) -> None:
        """Move a process into the group."""
        (self.directory / "cgroup.procs").write_text(str(pid))

    def limit_to_usage(self, more: int) -> None:
        """Allow the processes so many octets more than they use now."""
        self._limit.write_text(str(int(self._usage.read_text()) + more))

    def remove(self) -> None:
        """Remove the group, after its processes have ended."""
        until(self._removed)

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            self.directory.rmdir()
        return not self.directory.exists()


@contextlib.contextmanager
def memory_cgroup() -> Iterator[MemoryCgroup]:
    """A new group. Without the right to make one, or without a memory controller, the test is skipped."""
    paths = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    name = f"netd-test-{os.getpid()}"
    if "memory" in paths:
        made = MemoryCgroup(
            ROOT / "memory" / paths["memory"].lstrip("/") / name, "memory.usage_in_bytes", "memory.limit_in_bytes"
        )
    else:
        made = MemoryCgroup(ROOT / paths[""].lstrip("/") / name, "memory.current", "memory.max")
    try:
        made.directory.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        if not made.limits_memory:
            pytest.skip("the cgroup has no memory controller")
        yield made
    finally:
        made.remove()
