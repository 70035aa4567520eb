"""The destination of log lines: a file, a pipe, a terminal or a logger's socket. Writing to it never blocks netd."""

import contextlib
import os
import select
import socket
import stat
import threading
import time
import weakref
from collections.abc import Callable

from netd import paths

_RETRY = 1.0  # seconds between two attempts to connect to a logger again
_AT_ONCE = select.PIPE_BUF  # octets that a pipe takes as a whole or not at all (pipe(7))


class Sink:
    """Writes lines to a descriptor without blocking, each with one call, so that lines of threads do not mix.

    If a pipe is full, a terminal stopped, a disk full or a logger gone, lines are lost and counted, and the next line
    that can be written is preceded by their number. The descriptor itself stays blocking, since other programs may
    share it.
    """

    def __init__(
        self,
        descriptor: int,
        lost: Callable[[int], bytes] | None = None,
        connect: Callable[[], int] | None = None,
    ) -> None:
        """``lost`` renders the line that reports the number of lost ones; without it, JSON.

        ``connect`` opens another connection to a logger that does not receive any more, since it was restarted. Raises
        OSError where there is none.
        """
        self.reopen: Callable[[], int] | None = None
        """Opens the log file again, after a rotation, for `replace`. Raises `OpenError`. None: it is no file."""
        self._render_lost = lost or _lost_line
        self._connect = connect
        self._next_connect = 0.0
        self._socket: socket.socket | None = None
        self._descriptor = descriptor
        self._is_own = False  # whether this object has opened the descriptor
        self._begin()
        _ALL.add(self)
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISSOCK(kind):
            self._socket = socket.socket(fileno=os.dup(descriptor))
        elif stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            try:
                # Opened again, it has a file description, and so O_NONBLOCK, of its own (open(2)).
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._descriptor = os.open(f"/proc/self/fd/{descriptor}", flags)
                self._is_own = True
            except OSError:
                pass  # no /proc, or a terminal of another user

    def _begin(self) -> None:
        """Begin without lines to write: also in a forked process, since those of the parent are written there."""
        self.at_turn_end: Callable[[Callable[[], object]], object] | None = None
        """Has the loop of this process call a function before it waits. None: there is no loop, and nothing is held."""
        self._held: list[bytes] = []
        self._held_octets = 0
        self._lock = threading.RLock()  # a new one, since a thread that the child does not have may have the old one
        self._writing = False
        self._rest = b""  # of a line that was written in part
        self._reported = 0  # the number of lost lines that `_rest` reports; 0 if it is of another line
        self._lost = 0
        self.lost = 0
        """The number of lines lost since this process began to write here."""

    def leave_standard_streams(self) -> None:
        """Write through another descriptor from now on where it is standard output or standard error."""
        if not self._socket and not self._is_own and self._descriptor <= 2:
            self._descriptor = os.dup(self._descriptor)
            self._is_own = True

    def msg(self, line: str | bytes) -> None:
        """Write one line, or octets as they are."""
        data = line if isinstance(line, bytes) else line.encode("utf-8", "backslashreplace") + b"\n"
        with self._lock:
            self.write_held()
            self._put(data, 1)

    def hold(self, line: bytes) -> None:
        """Write one line before the loop waits, with the others of its turn, and before any later one of `msg`.

        A write(2) for each would take a third of the time of a line.
        """
        if self.at_turn_end is None or self._socket:
            return self.msg(line)
        with self._lock:
            self._held_octets += len(line)
            if self._held_octets > _AT_ONCE:
                self.write_held()
                self._held_octets = len(line)
            if not self._held:
                self.at_turn_end(self.write_held)
            self._held.append(line)

    def write_held(self) -> None:
        """Write the lines that are held."""
        with self._lock:
            if self._held:
                held, self._held, self._held_octets = self._held, [], 0
                self._put(b"".join(held), len(held))

    def _put(self, data: bytes, lines: int) -> None:
        """Write so many lines, or count them as lost."""
        if self._writing:  # by this thread: a finalizer that garbage collection runs here logs too
            self._lost += lines
            self.lost += lines
            return
        self._writing = True
        try:
            if ((self._rest or self._lost) and not self._catch_up()) or not self._write(data):
                self._lost += lines
                self.lost += lines
        finally:
            self._writing = False

    def finish(self, seconds: float = 1.0) -> None:
        """At the end, wait up to ``seconds`` until the rest of a line and the number of lost ones are written."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        until = time.monotonic() + seconds
        with self._lock:
            self.write_held()
            written = self._catch_up()
            while not written and (left := until - time.monotonic()) > 0 and poll.poll(left * 1000):
                before = self._rest, self._lost
                written = self._catch_up()
                if before == (self._rest, self._lost):
                    return  # writable, and still nothing was written: the reader has closed, or the disk is full

    def _catch_up(self) -> bool:
        """Write the rest of the last line, and the number of lost ones. Return whether all of that was written."""
        return self._write_rest() and (not self._lost or (self._report_lost() and self._write_rest()))

    def _write_rest(self) -> bool:
        rest, self._rest = self._rest, b""
        if rest and not self._write(rest):
            self._rest = rest
        if self._rest:
            return False
        self._reported = 0
        return True

    def _report_lost(self) -> bool:
        lost, self._lost, self._reported = self._lost, 0, self._lost
        if not self._write(self._render_lost(lost)):
            self._lost, self._reported = lost, 0
            return False
        return True

    def _write(self, data: bytes) -> bool:
        """Write without blocking. Return False if nothing was written; the rest of data written in part is kept."""
        try:
            sent = self._send(data)
        except BlockingIOError:
            return False
        except OSError:
            if not self._reconnect():
                return False
            try:
                sent = self._send(data)
            except OSError:
                return False
        self._rest = data[sent:]
        return True

    def _send(self, data: bytes) -> int:
        if self._socket:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._descriptor, data)

    def _reconnect(self) -> bool:
        """Connect to the logger again, at most once a second. Return whether it is connected."""
        now = time.monotonic()
        if self._connect is None or now < self._next_connect:
            return False
        self._next_connect = now + _RETRY
        try:
            descriptor = self._connect()
        except OSError:
            return False
        os.dup2(descriptor, self.descriptor, inheritable=False)
        os.close(descriptor)
        return True

    def replace(self, descriptor: int) -> None:
        """Write to another file or logger from now on; ``descriptor`` is closed.

        The new file does not begin with the rest of a line: a line that was written in part is lost.
        """
        with self._lock:
            self.write_held()
            os.dup2(descriptor, self.descriptor, inheritable=False)
            if self._rest:
                lines = self._rest.count(b"\n")
                self._lost += self._reported or lines
                self.lost += 0 if self._reported else lines
                self._rest, self._reported = b"", 0
        os.close(descriptor)

    @property
    def descriptor(self) -> int:
        """The descriptor that lines are written to."""
        return self._socket.fileno() if self._socket else self._descriptor

    def close(self) -> None:
        """Close the descriptors that this object opened. The one it was given stays open."""
        self.write_held()
        if self._socket:
            self._socket.close()
        elif self._is_own:
            os.close(self._descriptor)

    debug = info = warning = error = critical = msg


_ALL: weakref.WeakSet[Sink] = weakref.WeakSet()


def _begin_all() -> None:
    for sink in list(_ALL):
        sink._begin()


os.register_at_fork(after_in_child=_begin_all)


def _lost_line(number: int) -> bytes:
    """Lines of the log before this one could not be written, since a pipe or a disk was full, or a logger gone."""
    return b'{"event":"log_lines_lost","number":%d}\n' % number


def open_file(path: str) -> int:
    """Open a log file to append, or create it with mode 0640. OSError: it cannot be opened.

    A symbolic link of root or of the user that runs netd is followed, as to /dev/stdout in a container; others are not.
    If the disk was full when the file was written last, its last line has no end, and gets one.
    """
    descriptor = paths.open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640, follow=True)
    with contextlib.suppress(OSError):  # a file that netd may not read, or a full disk
        if not _ends_with_line_end(descriptor):
            os.write(descriptor, b"\n")
    return descriptor


def _ends_with_line_end(descriptor: int) -> bool:
    """Whether the last line of a file has an end. Also true for an empty file, and for what is no file."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return True
    with open(paths.proc_path(descriptor), "rb", buffering=0) as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
