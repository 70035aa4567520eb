"""A pump sends what is pending, in order, as there is room."""

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.transport.stream.pump import Pump


class Sink:
    """A socket with room for so many octets at each call; 0: none."""

    def __init__(self, room: list[int]) -> None:
        self.room = room
        self.sent = b""

    def send(self, data: bytes | memoryview) -> int:
        room = self.room.pop(0) if self.room else len(data)
        if not room:
            raise BlockingIOError
        assert data, "nothing is no reason for a system call"
        self.sent += data[:room]
        return len(data[:room])


@given(st.binary(min_size=1, max_size=60), st.lists(st.integers(0, 9)))
def test_pump_sends_all_in_order(data: bytes, room: list[int]) -> None:
    pump, sink = Pump(), Sink(list(room))
    either: Any = sink
    pump.pending = memoryview(data)
    sent = 0
    while pump.pending:
        try:
            sent += pump.flush(either)
        except BlockingIOError:
            pass
        assert sink.sent + bytes(pump.pending) == data
    assert sent == len(data)


def test_pump_raises_what_breaks_its_socket_and_keeps_what_is_pending() -> None:
    pump = Pump()
    pump.pending = b"rest"
    one, other = socket.socketpair()
    with one, other:
        other.close()
        with pytest.raises(BrokenPipeError):
            pump.flush(one)
    assert pump.pending == b"rest"
