"""A service with a constructor that waits, fails or exits, and commands in the background."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.services import install_service

ECHO = (
    "daemon: {{heartbeat: {heartbeat}, workers: {workers}}}\n"
    "services:\n  echo: {{listen: [tcp://127.0.0.1:0], limits: {{line: {line}}}}}\n"
)


# A disabled service, so that its code is imported before a worker is forked.
OFF = "  slow: {enabled: false, listen: [tcp://127.0.0.1:0]}\n"


ON = "  slow: {{listen: [tcp://127.0.0.1:0], options: {{act: '{}'}}}}\n"


# Only in a worker, which the flag no_new_privs shows, does the constructor do what the option ``act`` says.
SLOW = """
import os, pathlib, signal, socket
from netd.values import Model

class Service:
    "Its constructor waits, fails or exits in a worker."
    class Options(Model):
        act: str = ""
        number: float = 0.0
    def __init__(self, options, context):
        if "NoNewPrivs:\\t1" in pathlib.Path("/proc/self/status").read_text():
            if options.act == "wait":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
                signal.sigwait({signal.SIGWINCH})
            if options.act == "raise":
                raise ValueError("not here")
            if options.act == "shut":
                for number in map(int, os.listdir("/proc/self/fd")):
                    try:
                        channel = socket.socket(fileno=os.dup(number))
                        if channel.type == socket.SOCK_SEQPACKET:
                            channel.shutdown(socket.SHUT_RD)
                    except OSError:
                        pass
                signal.pause()
            if options.act in ("die", f"die {os.getpid()}"):
                os.kill(os.getpid(), signal.SIGKILL)
    def stream(self, peer):
        yield b"here"
"""


class InBackground:
    """A call in its own thread."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._result = self._function()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(60)
        assert self.done
        return self._result


@contextlib.contextmanager
def with_service(tmp_path: Path, config: str, preparing: float | None = None) -> Iterator[Daemon]:
    """A netd with the service type ``slow``. ``preparing`` replaces `PREPARE_TIMEOUT`, in seconds."""
    path = install_service(tmp_path, "slow", SLOW)
    if preparing is not None:
        (tmp_path / "sitecustomize.py").write_text(
            f"import netd.daemon.supervisor.requests\nnetd.daemon.supervisor.requests.PREPARE_TIMEOUT = {preparing}\n"
        )
    (tmp_path / "netd.yaml").write_text(config + OFF)
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_started")
        yield running
        assert running.stop() == 0


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def wake(pid: int) -> None:
    """Wake a process that waits for SIGWINCH; others ignore it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGWINCH)


def logged(running: Daemon, name: str) -> list[dict[str, Any]]:
    return [line for line in running.lines if line["event"] == name]
