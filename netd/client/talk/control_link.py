"""A link to a service of a running netd on this host, through its control socket."""

import asyncio
import json
from collections.abc import Sequence

from netd.client.control import Answer, dial
from netd.errors import HungUpError

_MESSAGE_LIMIT = 262_144  # octets of a message from netd


class ControlLink:
    """Sends input unchanged. Receives the output of the service as JSON objects, one per line."""

    streams = False  # output arrives as whole messages, and the end of input is not passed on

    def __init__(self, paths: Sequence[str], service: str) -> None:
        """Attach to a service of the netd on one of these paths; `answer` is netd's answer to that.

        Raises `NotRunningError` where no netd listens.
        """
        connection, self.address = dial(paths, ["talk", f"service={service}"])
        self.url = f"'{service}'"
        self._socket = connection
        self._buffer = b""
        self.answer: Answer = json.loads(self._receive_answer())
        connection.setblocking(False)

    def _receive_answer(self) -> bytes:
        while (line := self._next_line()) is None:
            if not (data := self._socket.recv(4096)):
                return b"{}"
            self._buffer += data
        return line

    def _next_line(self) -> bytes | None:
        """The next complete line; None if there is none yet."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return line

    async def send(self, data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError:
            return False  # receive() reports the end
        return True

    async def receive(self) -> bytes | None:
        while True:
            while (line := self._next_line()) is not None:
                message = json.loads(line) if line.strip() else {}
                if message.get("end"):
                    return None
                if text := message.get("text"):
                    return str(text).encode()
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _MESSAGE_LIMIT)
            except OSError as error:
                raise HungUpError([f"{self.url}: {error.strerror}"]) from None
            if not data or len(self._buffer) > _MESSAGE_LIMIT:
                return None
            self._buffer += data

    async def finish(self) -> None:
        """Do nothing: the control protocol has no end of input, only a close."""

    def close(self) -> None:
        self._socket.close()
