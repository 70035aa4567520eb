"""A link to a service of a running netd on this host, through its control socket."""

import asyncio
from collections.abc import Sequence

from netd.client.control import KeepAlives, answer_of, attach, not_netd
from netd.errors import HungUpError

_MESSAGE_LIMIT = 262_144  # octets of a message from netd


class ControlLink:
    """Sends input unchanged. Receives the output of the service as JSON objects, one per line."""

    streams = False  # output arrives as whole messages, and the end of input is not passed on

    def __init__(self, paths: Sequence[str], service: str) -> None:
        """Attach to a service of the netd on one of these paths; `answer` is netd's answer to that.

        Raises `NotRunningError` where no netd listens.
        """
        self.answer, self._socket, self._buffer = attach(paths, ["talk", f"service={service}"])
        self.address = self.answer.path
        self.url = f"'{service}'"
        self._keep_alives = KeepAlives(self.address)
        self._socket.setblocking(False)

    def _next_line(self) -> bytes | None:
        """The next complete line; None if there is none yet."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        return bytes(line)

    async def send(self, data: bytes) -> bool:
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
        except OSError:
            return False  # receive() reports the end
        return True

    async def receive(self) -> bytes | None:
        while True:
            while (line := self._next_line()) is not None:
                message = answer_of(line or b"{}", self.address).received
                if message.get("end"):
                    return None
                text = message.get("text")
                self._keep_alives.check(meant=bool(text))
                if text:
                    return str(text).encode("utf-8", "backslashreplace")
            try:
                data = await asyncio.get_running_loop().sock_recv(self._socket, _MESSAGE_LIMIT)
            except OSError as error:
                raise HungUpError([f"{self.url}: {error.strerror}"]) from None
            if not data:
                return None
            self._buffer += data
            if len(self._buffer) > 2 * _MESSAGE_LIMIT:
                raise not_netd(self.address, "a message is too long")

    async def finish(self) -> None:
        """Do nothing: the control protocol has no end of input, only a close."""

    async def delivered(self) -> bool:
        return True  # netd reads it; what the service reads is not known

    def close(self) -> None:
        self._socket.close()
