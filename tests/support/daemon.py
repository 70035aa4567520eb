"""A daemon as a real process, with its log."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from netd.client.control import Answer, ask


class Daemon:
    """`netd run` as a process of its own, with its log read continuously."""

    def __init__(self, *arguments: str, command: Sequence[str] = (), **environment: str) -> None:
        """``command`` runs it, as ``setpriv`` with options; it replaces itself by the program that follows."""
        self.lines: list[dict[str, Any]] = []
        self.output = ""
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.directory = tempfile.TemporaryDirectory(prefix="netd-")
        self.control = environment.setdefault("NETD_CONTROL", f"{self.directory.name}/control.sock")
        self.process = subprocess.Popen(
            [*command, sys.executable, "-m", "netd", "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            try:
                self._queue.put(json.loads(line))
            except ValueError:
                self._queue.put({"event": "not_json", "line": line})
        self._queue.put(None)

    def next_event(self, seconds: float = 20) -> dict[str, Any]:
        """The next line of the log."""
        try:
            line = self._queue.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"nothing in {seconds} s: {self.lines[-5:]}") from None
        if line is None:
            raise AssertionError(f"netd ended: {self.lines[-5:]}")
        self.lines.append(line)
        return line

    def event(self, name: str, seconds: float = 20) -> dict[str, Any]:
        """The next event of this name."""
        while (line := self.next_event(seconds))["event"] != name:
            pass
        return line

    def all_of(self, *names: str) -> None:
        """Wait for so many events of each name, in any order."""
        missing = Counter(names)
        while +missing:
            missing[self.next_event()["event"]] -= 1

    @property
    def worker(self) -> int:
        """The process id of the worker that started last."""
        return int([line["pid"] for line in self.lines if line["event"] == "worker_started"][-1])

    def netd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that uses its control socket."""
        return subprocess.run(
            [sys.executable, "-m", "netd", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "NETD_CONTROL": self.control},
        )

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that uses its control socket, and that is not waited for."""
        return subprocess.Popen(
            [sys.executable, "-m", "netd", *arguments],
            stdout=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "NETD_CONTROL": self.control},
        )

    def ask(self, *words: str) -> Answer:
        """The answer of its control socket."""
        return ask([self.control], words)

    def url(self, service: str, scheme: str = "tcp") -> str:
        """The URL of a service, from the log of the start."""
        for line in self.lines:
            if (
                line["event"] == "listening"
                and line["service"] == service
                and line["endpoint"].startswith(scheme + ":")
            ):
                return str(line["endpoint"])
        raise AssertionError(f"{service} does not listen on {scheme}")

    def port(self, service: str, scheme: str = "tcp") -> int:
        return int(self.url(service, scheme).rpartition(":")[2])

    def refusals(self, service: str) -> int:
        """How many connections of a service were refused."""
        return sum(int(one["refused"]) for one in self.ask("status")["services"] if one["service"] == service)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(20)
        while not self._queue.empty():
            if line := self._queue.get():
                self.lines.append(line)
        return code

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *exception: object) -> None:
        """Kill it if it still runs, and close its pipes."""
        self.process.kill()
        self.process.wait()
        self._reader.join(20)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        self.directory.cleanup()


@contextlib.contextmanager
def daemon(config: str, directory: Path, command: Sequence[str] = ()) -> Iterator[Daemon]:
    """A daemon with this config, ready; stopped at the end, with exit code 0. ``command`` runs it, as in `Daemon`."""
    file = directory / "netd.yaml"
    file.write_text(config)
    with Daemon("-c", str(file), command=command) as running:
        running.event("netd_started")
        yield running
        assert running.stop() == 0, running.lines[-5:]
        assert running.process.stdout
        running.output = running.process.stdout.read()
