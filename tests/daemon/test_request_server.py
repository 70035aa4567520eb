"""The messages of the supervisor, as a worker and a launcher receive them."""

import contextlib
import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

from netd.daemon.channel import Channel, pair
from netd.daemon.messages import from_supervisor
from netd.daemon.messages.coding import Fields, encode
from netd.daemon.messages.from_supervisor import Drain, Heartbeat, SetLogFile
from netd.daemon.messages.from_worker import Alive, Done, Response
from netd.daemon.request_server import RequestServer
from tests.support.descriptors import copies


class Child:
    """A process of netd: what it was told to do, and both ends of its channel."""

    def __init__(self) -> None:
        one, other = pair()
        self.supervisor = Channel(one, takes_descriptors=False)
        self.channel = Channel(other, takes_descriptors=True)
        self.done: list[object] = []
        self.rejected: list[str] = []
        self.losses = 0
        self.response: Response | None = Done()
        self.server = RequestServer(
            self.channel, from_supervisor.decode, self._carry_out, self.rejected.append, self._on_lost
        )

    def _carry_out(self, request: int | None, command: object, descriptors: list[int]) -> Response | None:
        self.done.append((request, command))
        for descriptor in descriptors:
            os.close(descriptor)
        return self.response

    def _on_lost(self) -> None:
        self.losses += 1

    def send(self, message: Fields, request: int | None, *descriptors: int) -> None:
        """Send this as the supervisor."""
        self.supervisor.send_encoded(encode(message), descriptors, request=request)

    def responses(self) -> list[Any]:
        """What the supervisor has received since."""
        found = []
        while received := self.supervisor.receive():
            found.append(received[0])
        return found


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    with contextlib.closing(made.supervisor), contextlib.closing(made.channel):
        yield made


def test_request_gets_its_response_and_an_order_none(child: Child) -> None:
    child.response = Alive(3)
    child.send(Heartbeat(), 7)
    child.send(Drain(leave=False), None)
    child.server.receive()
    assert child.done == [(7, Heartbeat()), (None, Drain(leave=False))]
    assert child.responses() == [{"kind": "Alive", "request": 7, "lines_lost": 3, "hanging": []}]


def test_response_may_be_sent_later(child: Child) -> None:
    child.response = None
    child.send(Heartbeat(), 7)
    child.server.receive()
    assert child.responses() == []
    child.server.respond(7, Done())
    assert child.responses() == [{"kind": "Done", "request": 7}]


def test_invalid_message_is_told_and_fails_its_request_and_its_descriptors_are_closed(child: Child) -> None:
    memory = os.memfd_create("x")
    child.send(Heartbeat(), 7, memory)
    child.supervisor.send({"kind": "Nonsense", "request": "seven"})
    child.send(Heartbeat(), 8)
    child.server.receive()
    assert child.done == [(8, Heartbeat())]
    assert child.rejected == ["Heartbeat: 0 descriptors expected, got 1", "unknown message kind 'Nonsense'"]
    assert child.responses() == [
        {"kind": "Failed", "request": 7, "error": "a bug in netd: Heartbeat: 0 descriptors expected, got 1"},
        {"kind": "Done", "request": 8},
    ]
    assert copies(memory) == 1
    os.close(memory)


def test_request_that_has_lost_its_descriptors_fails_alone(child: Child) -> None:
    files = [os.memfd_create("x") for _ in range(20)]
    child.send(SetLogFile(), 7, *files)
    child.send(Heartbeat(), 8)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files) + 3, limits[1]))
    try:
        child.server.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for file in files:
            os.close(file)
    assert child.done == [(8, Heartbeat())]
    assert child.responses()[0] == {
        "kind": "Failed",
        "request": 7,
        "error": "no file descriptors left (RLIMIT_NOFILE)",
    }


def test_closed_channel_is_told_at_a_message_and_at_a_response(child: Child) -> None:
    child.supervisor.close()
    child.server.receive()
    assert child.losses == 1
    child.server.respond(7, Done())
    assert child.losses == 2
