"""Descriptors of this process and of others."""

import contextlib
import os


def copies(descriptor: int) -> int:
    """The number of descriptors of this process for the same file, also while other ones are opened and closed."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # closed in between, as that of listdir is
            count += os.path.sameopenfile(descriptor, int(name))
    return count


def open_files(pid: int) -> dict[str, str]:
    """What the descriptors of a process refer to, such as ``socket:[7]``, by their paths; none closed meanwhile."""
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        with contextlib.suppress(FileNotFoundError):
            found[path] = os.readlink(path)
    return found


def pipes() -> list[str]:
    """The ends of pipes that this process has open."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(name) for name in names if os.path.islink(name)]  # that of listdir is closed
    return sorted(target for target in targets if target.startswith("pipe:"))
