"""`netd talk` in a pipe, and a peer that misbehaves."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from tests.support.programs import started


def url_of(server: socket.socket) -> str:
    scheme = "tcp" if server.type == socket.SOCK_STREAM else "udp"
    return f"{scheme}://127.0.0.1:{server.getsockname()[1]}"


def talk(*arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "netd", "talk", *arguments], input=typed, capture_output=True, check=False, timeout=50
    )


@contextlib.contextmanager
def talking(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "netd", "talk", *arguments]
    pipe = subprocess.PIPE
    with started(*command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


@contextlib.contextmanager
def serving(
    listener: socket.socket, serve: Callable[[socket.socket], object], *, then_stay: bool = False
) -> Iterator[None]:
    """Serve one connection in a thread, and close it after that, or at the end of the test with ``then_stay``."""
    done = threading.Event()

    def run() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            serve(connection)
            if then_stay:
                done.wait(20)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(20)
    assert not thread.is_alive()


def type_and_read(process: subprocess.Popen[bytes], typed: bytes, wanted: bytes) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.write(typed)
    process.stdin.flush()
    assert process.stdout.read(len(wanted)) == wanted
