"""A line to a service of a running netd on this host, through its control socket: for the operator."""

import asyncio
import json
from collections.abc import Sequence

from netd.client.control import Answer, dial
from netd.errors import HungUpError

_LONGEST = 262_144  # octets of what comes in one piece


class ControlLink:
    """What the service says comes as a JSON object a line, what it is told goes as it is."""

    streams = False  # what comes is whole words, and the end of what is said is nobody's business

    def __init__(self, paths: Sequence[str], service: str) -> None:
        """Ask the netd on one of these paths. `NotRunningError` when there is none; `answer` says whether it agrees."""
        connection, self.where = dial(paths, ["talk", f"service={service}"])
        self.url = f"'{service}'"
        self._socket = connection
        self._buffer = b""
        self.answer: Answer = json.loads(self._first())
        connection.setblocking(False)

    def _first(self) -> bytes:
        while (line := self._next()) is None:
            if not (data := self._socket.recv(4096)):
                return b"{}"
            self._buffer += data
        return line

    def _next(self) -> bytes | None:
        """The next line that has come whole."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return line

    async def send(self, data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError:
            return False  # receive() finds the end
        return True

    async def receive(self) -> bytes | None:
        while True:
            while (line := self._next()) is not None:
                told = json.loads(line) if line.strip() else {}
                if told.get("end"):
                    return None
                if text := told.get("text"):
                    return str(text).encode()
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _LONGEST)
            except OSError as error:
                raise HungUpError([f"{self.url}: {error.strerror}"]) from None
            if not data or len(self._buffer) > _LONGEST:
                return None
            self._buffer += data

    async def finish(self) -> None:
        """There is nothing to say: it is over when this is closed."""

    def close(self) -> None:
        self._socket.close()
