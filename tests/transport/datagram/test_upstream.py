"""The sockets to the targets of datagrams."""

import errno
import resource
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from netd.contract import Context
from netd.telemetry.forward_events import ForwardEvents
from netd.transport.datagram.upstream import Upstreams
from netd.transport.loop import Loop
from tests.support.sockets import free_port, has_ipv6
from tests.transport.datagram.forwards import forward, target, unix_target

PORT = free_port(socket.SOCK_DGRAM)  # nothing is sent there
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


@pytest.fixture
def loop() -> Any:
    made = Loop()
    yield made
    made.close()


def upstreams(loop: Loop, *urls: str, **options: Any) -> Upstreams:
    return Upstreams(forward(*urls, **options), ForwardEvents("test"), loop)


def number_of(made: Upstreams, source: str = "192.0.2.7") -> int:
    connected = made.connect(source)
    assert connected
    connected[0].close()
    return connected[1]


def test_sessions_go_to_the_targets_in_turn(loop: Loop) -> None:
    made = upstreams(loop, f"udp://127.0.0.1:{PORT}", f"tcp://127.0.0.1:{PORT}", f"udp://127.0.0.2:{PORT}")
    assert Counter(number_of(made) for _ in range(10)) == {0: 5, 2: 5}


def test_target_that_refuses_rests_while_another_one_can_be_reached(loop: Loop) -> None:
    made = upstreams(loop, f"udp://127.0.0.1:{PORT}", f"udp://127.0.0.2:{PORT}")
    assert made.refused(0, REFUSED)
    assert [number_of(made) for _ in range(3)] == [1, 1, 1]
    assert not made.refused(1, REFUSED), "no other one takes its sessions"
    assert {number_of(made) for _ in range(3)} <= {0, 1}
    loop.now += 1.5
    assert number_of(made) == 0, "its rest is over first"
    made.proved(0)


def test_session_of_a_unix_target_that_is_gone_ends(loop: Loop, tmp_path: Path) -> None:
    with unix_target(str(tmp_path / "target")) as (url, behind):
        made = upstreams(loop, url)
        connected = made.connect("")
        assert connected
        with connected[0] as sock:
            assert sock.getsockname()[:1] == b"\0", "the target can answer"
            sock.send(b"x")
            assert behind.recv(10) == b"x"
        assert made.is_unix(0)
        assert made.refused(0, REFUSED)


def test_only_lack_of_resources_is_an_error(loop: Loop, tmp_path: Path) -> None:
    made = upstreams(loop, f"unixgram://{tmp_path}/none")
    assert made.connect("") is None
    made = upstreams(loop, f"udp://127.0.0.1:{PORT}")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # None at all: below any other limit a collection of garbage may close a descriptor at any time.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            made.connect("")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_addresses_of_a_name_are_tried_in_turn(loop: Loop) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this host")
    asked: list[Any] = []
    with target("::1") as (_, behind):
        port = behind.getsockname()[1]
        context = Context(resolve=lambda name, then: asked.append((name, then)))
        made = upstreams(loop, f"udp://one.example:{port}", f"udp://one.example:{port + 1}", context=context)
        made.resolve()
        made.resolve()
        assert made.connect("") is None
        [(name, then)] = asked
        assert name == "one.example"
        then(("127.0.0.1", "::1"), "")
        bound = upstreams(loop, f"udp://one.example:{port}", context=context, bind="::1")
        bound.resolve()
        asked[-1][1](("127.0.0.1", "::1"), "")
        connected = bound.connect("")
        assert connected
        with connected[0] as sock:
            assert sock.getpeername()[0] == "::1"
