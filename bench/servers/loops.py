"""asyncio and uvloop, with protocols, not streams, which are slower. ``loops.py LOOP PROTOCOL PORT``.

LOOP is asyncio or uvloop; PROTOCOL is tcp, udp, pingpong or time.
"""

import asyncio
import importlib
import sys
from datetime import UTC, datetime

_LONGEST = 4096  # octets of a line


class Flow(asyncio.Protocol):
    """Stops reading while the peer does not read, so that memory is bounded."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's classes

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Echo(Flow):
    """Echoes data."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Datagrams(asyncio.DatagramProtocol):
    """Echoes each datagram."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's classes

    def datagram_received(self, data: bytes, address: tuple[str | object, int]) -> None:
        self.transport.sendto(data, address)


class Lines(Flow):
    """Answers line by line."""

    _rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            self.transport.abort()
        elif lines:
            self.transport.write(b"".join([self.answer(line.removesuffix(b"\r")) for line in lines]))

    def answer(self, line: bytes) -> bytes:
        raise NotImplementedError


class PingPong(Lines):
    """The answers of netd's pingpong."""

    def answer(self, line: bytes) -> bytes:
        return b"pong" + line[4:] + b"\n" if line[:5].lower() == b"ping " else b"pong\n"


class Time(Lines):
    """The answers of netd's time to empty lines; formats and timestamps are not needed here."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.write(self._now() + b"\r\n")

    def answer(self, line: bytes) -> bytes:
        return self._now() + b"\n" if not line.strip() else b"error\n"

    def _now(self) -> bytes:
        return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S").encode()


_STREAMS = {"tcp": Echo, "pingpong": PingPong, "time": Time}


async def serve(protocol: str, port: int) -> None:
    """Serve until this process is killed."""
    loop = asyncio.get_running_loop()
    if protocol == "udp":
        await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", port))
    else:
        await loop.create_server(_STREAMS[protocol], "127.0.0.1", port, backlog=1024)
    await loop.create_future()


if __name__ == "__main__":
    factory = importlib.import_module(sys.argv[1]).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(sys.argv[2], int(sys.argv[3])))
