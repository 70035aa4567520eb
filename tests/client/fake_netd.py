"""A control socket with prepared answers."""

import contextlib
import json
import socket
import threading
from pathlib import Path
from typing import Any


class FakeNetd:
    """Listens on a path, and answers one request after the other."""

    def __init__(self, path: str | Path, *answers: dict[str, Any] | bytes) -> None:
        """An answer is a JSON object, or octets that are sent unchanged. The connection is closed after it."""
        self.path = str(path)
        self.requests: list[str] = []
        """The lines received."""
        self._answers = answers
        self._listener = socket.socket(socket.AF_UNIX)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as lines:
                self.requests.append(lines.readline().decode().rstrip("\n"))
                with contextlib.suppress(ConnectionError):  # the client may close before the end of a long answer
                    connection.sendall(answer if isinstance(answer, bytes) else json.dumps(answer).encode() + b"\n")

    def __enter__(self) -> "FakeNetd":
        self._listener.bind(self.path)
        self._listener.listen()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # accept() returns
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._listener.close()
        Path(self.path).unlink()
