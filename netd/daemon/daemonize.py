"""The classic daemon: in the background, without a terminal, one at a time.

python-daemon does what stands in daemon(7) under "SysV daemons". What it does not do is here: the caller waits until
netd is ready, and hears what keeps it from being so; and a lock that ends with its process, not with its file.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import NoReturn

import daemon  # type: ignore[import-untyped]

from netd import default_paths, paths
from netd.config.model import Config
from netd.errors import EXIT_OK, EXIT_SOFTWARE, OpenError, OperatorError
from netd.transport.listen import Listener

Ready = Callable[[list[Listener]], None]

_UMASK = 0o027  # what netd makes is for its user, and for its group to read


def detach(config: Config, serve: Callable[[Ready], int]) -> list[str]:
    """Have ``serve`` run in a daemon, and wait until it is ready. Returns what the caller should know of it.

    What keeps it from being ready is raised here, in the caller's process, as if there were no other one.
    """
    if "NOTIFY_SOCKET" in os.environ or "LISTEN_FDS" in os.environ:
        raise OperatorError(["--daemon is not for a service manager, which sees to that itself: leave it out"])
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _be_daemon(config, serve, writer)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise OpenError(["the daemon died while it started; see its log"])
    told = json.loads(text)
    if told["code"] != EXIT_OK:
        error = OperatorError(told["problems"])
        error.exit_code = told["code"]
        raise error
    return list(told["notes"])


def _be_daemon(config: Config, serve: Callable[[Ready], int], writer: int) -> NoReturn:
    code = EXIT_SOFTWARE
    told = False

    def tell(code: int, problems: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> None:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError):  # a caller that has gone need not know
                os.write(writer, json.dumps({"code": code, "problems": problems, "notes": notes}).encode())
            os.close(writer)

    try:
        notes = () if config.log.file else ("log.file is not set, so nothing is logged",)
        with daemon.DaemonContext(
            detach_process=True,
            umask=_UMASK,
            working_directory="/",
            prevent_core=not config.daemon.core,
            files_preserve=[writer],
            signal_map={},
        ):
            code = serve(lambda listeners: tell(EXIT_OK, notes=notes))
    except OperatorError as error:
        code = error.exit_code
        tell(code, tuple(error.problems))
    except Exception as error:
        tell(EXIT_SOFTWARE, (f"a bug in netd: {error!r}",))
    finally:
        os._exit(code)


def default_pid_file() -> str | None:
    """The pid file of a daemon whose config names none, in a directory that is made; None: there is no place for it."""
    path = default_paths.pid_file()
    if path is not None:
        with contextlib.suppress(OSError, ValueError):  # what is wrong shows when the file is opened
            paths.check_directory(path)
    return path


@contextlib.contextmanager
def pid_file(path: str | None) -> Iterator[None]:
    """Hold a file with this process's id. Without a path, nothing.

    What keeps a second one out is a lock (flock(2)), which the kernel drops when the process ends, however it does: a
    file that a crash left behind is no obstacle. `OpenError` when another process holds it, or it cannot be written.
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
        # Removed while the lock is held: who waits for it sees that the file is another one by then.
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
            raise OpenError([f"daemon.pid_file: {path} is something else, and stays as it is"])
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
            raise OpenError([f"netd is running already, as process {pid or '?'} ({path})"]) from None
        os.close(descriptor)
