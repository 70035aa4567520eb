"""The pid file of a daemon. Its lock lets one process run at a time."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator

from netd import default_paths, paths
from netd.errors import OpenError, PidFileTakenError


def default_pid_file() -> str | None:
    """The path for a config without ``daemon.pid_file``. Creates its directory. None if there is no such path."""
    path = default_paths.pid_file()
    if path is not None:
        with contextlib.suppress(OSError, ValueError):  # the error is reported when the file is opened
            paths.check_directory(path)
    return path


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Keep a locked file with the id of this process until the end of the block. Without a path, do nothing.

    The kernel releases the lock (flock(2)) when the process ends, so a file that is left after a crash does not prevent
    the next start. Raises `OpenError` when another process holds the lock, or the file cannot be written.
    """
    if path is None:
        yield
        return
    descriptor = _lock(path)
    try:
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise OpenError([f"daemon.pid_file: cannot write {path}: {error.strerror}"]) from None
        yield
    finally:
        # Removed before the lock is released: a process that has opened the file and gets the lock next checks that the
        # file is still at its path.
        with contextlib.suppress(OSError):
            paths.remove(path, descriptor)
        os.close(descriptor)


def _lock(path: str) -> int:
    while True:
        try:
            descriptor = paths.open_file(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OpenError([f"daemon.pid_file: cannot open {path}: {error.strerror}"]) from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode) or os.pread(descriptor, 21, 0).strip(b"0123456789\n"):
            os.close(descriptor)
            raise OpenError([f"daemon.pid_file: {path} is not a pid file, and was not changed"])
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if paths.is_at(path, descriptor):
                return descriptor
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK:
                os.close(descriptor)
                raise OpenError([f"daemon.pid_file: cannot lock {path}: {error.strerror}"]) from None
            pid = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise PidFileTakenError([f"netd is running already, as process {pid or '?'} ({path})"]) from None
        os.close(descriptor)
