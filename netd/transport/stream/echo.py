"""Echo: a stream is sent back as it is; in bulk, splice(2) moves its pages through a pipe, without a copy here."""

from typing import Protocol

from netd.transport.stream.connection import IN, Connection, Owner, outcome_of
from netd.transport.stream.splice_pipe import SplicePipe
from netd.transport.stream.stream_socket import CHUNK, BareSocket
from netd.transport.tap import Taps


class EchoOwner(Owner, Protocol):
    """The owner of such a connection."""

    pipe: SplicePipe | None
    """None: nothing is spliced."""
    taps: Taps


class EchoConnection(Connection):
    """A connection that sends back its input, without the service."""

    __slots__ = ()
    _owner: EchoOwner
    _untraced: BareSocket  # splice(2) needs it

    def _receive(self, mask: int) -> None:
        # Most requests end here, so it sends by itself: a call of `_send` would be 2 % of one.
        connection = self.socket
        try:
            data = connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            return self.close(outcome_of(error))
        if not data:
            self._eof = True
            return self._finish("done")  # nothing is pending while this waits for input; over TLS, an end is to be sent
        try:
            sent = connection.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self.close(outcome_of(error))
        owner = self._owner
        self.active = owner.loop.now
        received = len(data)
        self.requests += 1
        self.bytes_in = all_in = self.bytes_in + received
        self.bytes_out = all_out = self.bytes_out + sent
        if all_in + all_out > owner.most_bytes:
            self.close("bytes")
        elif sent != received:
            self._keep(memoryview(data)[sent:])
        elif received == CHUNK and owner.pipe and owner.pipe.open():
            self._wait(IN, self._receive_bulk)
        elif mask != IN or received == CHUNK:
            self._rearm = True
            self._await_input()

    def _receive_bulk(self, mask: int) -> None:
        """As `_receive`, for a stream that comes in bulk, by splice(2)."""
        pipe = self._owner.pipe
        assert pipe, "`_receive` has opened it"
        try:
            received = pipe.receive(self._untraced, self._untraced)
            rest = pipe.send(self._untraced, received)
        except BlockingIOError:
            # No input, or none that splice(2) takes: it stops before urgent data.
            return self._await_input()
        except OSError as error:
            return self.close(outcome_of(error))
        if not received:
            # The end of file, or urgent data before it: only recv can tell.
            self._await_input()
            return self._receive(mask)
        for tap in self._owner.taps:  # the number alone: the data was never in this process
            tap.record(self.peer, "in", received)
            tap.record(self.peer, "out", received - len(rest))
        self.active = self._owner.loop.now
        if not self._count(received, received - len(rest)):
            self.close("bytes")
        elif rest:
            self._keep(rest)
        elif received < CHUNK:
            self._await_input()


class WrappedEchoConnection(EchoConnection):
    """The same over a `WrappedSocket`, such as TLS, which may hold input from the beginning."""

    __slots__ = ()

    def start(self) -> None:
        super().start()
        self._await_input()
