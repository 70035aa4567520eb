"""Connections without a listener: each is over once, and the last one releases what they had."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.services.echo import Echo
from netd.services.service_type import ServiceType
from netd.services.upper import Upper
from netd.telemetry.service_events import ServiceEvents
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections
from tests.support import admission_for, pipes

HOUSE = DaemonAdmission()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


def connections(service: Any, loop: Loop, **policy: object) -> Connections:
    events = ServiceEvents("test")
    return Connections(
        ServiceType.of(type(service)),
        service,
        admission_for("test", policy, events.table, HOUSE, time.time),
        events,
        loop,
        "",
    )


def turn(loop: Loop) -> None:
    """Let the loop handle what is there."""
    loop._running = True
    loop.call(loop.stop)
    loop.run()


def served(kept: Connections) -> socket.socket:
    """The other end of a connection that is served."""
    client, request = socket.socketpair()
    client.settimeout(10)
    request.setblocking(False)
    ticket = kept.admit(request, "")
    assert ticket is not None
    kept.serve(request, "", ticket)
    return client


@pytest.mark.parametrize("kind", [Echo, Upper])
def test_a_connection_that_tells_of_its_end_again_gives_nothing_back(kind: type[Any], loop: Loop) -> None:
    kept = connections(kind(), loop)
    with served(kept), served(kept):
        first, _ = kept
        counters = kept.events.table
        assert (counters.read().active, sum(HOUSE.daemon_limits.active)) == (2, 2)
        for _ in range(3):
            first.close("kicked")
            kept.closed(first, "stopped")
        assert (counters.read().active, sum(HOUSE.daemon_limits.active)) == (1, 1)
        assert counters.read().closed == {"kicked": 1}
        kept.close()
    assert (counters.read().active, sum(HOUSE.daemon_limits.active), len(kept)) == (0, 0, 0)


def test_the_end_of_the_last_connection_releases_what_they_had(loop: Loop) -> None:
    before = pipes()
    kept = connections(Echo(), loop)
    released: list[str] = []
    with served(kept) as one, served(kept) as other:
        kept.release_when_empty(lambda: released.append("now"))
        one.close()
        turn(loop)
        assert (len(kept), released) == (1, [])
        other.sendall(b"still here")
        turn(loop)
        assert other.recv(100) == b"still here"
        other.close()
        turn(loop)
    assert (len(kept), released) == (0, ["now"])
    assert pipes() == before


def test_connections_of_which_none_is_open_release_at_once(loop: Loop) -> None:
    released: list[str] = []
    connections(Echo(), loop).release_when_empty(lambda: released.append("now"))
    assert released == ["now"]


def test_a_refused_connection_is_closed_and_has_no_ticket(loop: Loop) -> None:
    kept = connections(Upper(), loop, access={"deny": ["local"]})
    client, request = socket.socketpair()
    with client:
        assert kept.admit(request, "") is None
        assert client.recv(1) == b""
    assert (kept.events.counters.refused, len(kept)) == ({"access": 1}, 0)
    kept.close()
