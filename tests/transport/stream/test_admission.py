"""Admission over real sockets: which connections are refused, and how."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from netd.admission.banner import Banners
from netd.admission.bans import BanRules
from netd.admission.daemon import DaemonBounds
from netd.contract import Conversation
from netd.peer import Peer
from netd.services.echo import Echo
from netd.transport.stream.preamble import Preambles
from tests.support.server import Server
from tests.support.sockets import has_ipv6, read_all, read_exactly
from tests.support.waiting import until
from tests.transport.peers import client
from tests.transport.sample_services import DENY
from tests.transport.stream.peers import connect


def ask(address: Any, data: bytes) -> bytes:
    """All that the server sends, also if it refuses the connection before or after ``data`` is sent."""
    said = b""
    with contextlib.suppress(OSError), connect(address) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        while piece := connection.recv(100):
            said += piece
    return said


def reasons(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (event["reason"], event.get("peer", event["source"])) for event in log if event["event"] == "connection_refused"
    ]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
def test_refused_connection_is_closed(server: Server, log: list[dict[str, Any]], tmp_path: Any, url: str) -> None:
    address, events = server.add(Echo(), url.format(tmp=tmp_path), policy=DENY)
    with connect(address) as connection:
        assert connection.recv(1) == b""
    assert events.counters.refused == {"access": 1}
    assert events.counters.active == 0
    who = "127.0.0.1" if "tcp" in url else f"pid={os.getpid()},uid={os.getuid()},gid={os.getgid()}"
    assert reasons(log) == [("access", who)]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
@pytest.mark.parametrize(("refuse", "said"), [("close", b"\0go\xff"), ({"line": "421 no"}, b"\0go\xff421 no\r\n")])
def test_refused_connection_gets_its_banner(
    server: Server, tmp_path: Any, url: str, refuse: object, said: bytes
) -> None:
    policy = {**DENY, "refuse": refuse}
    preambles = Preambles(banners=Banners(b"welcome", b"\0go\xff"))
    address, events = server.add(Echo(), url.format(tmp=tmp_path), policy=policy, preambles=preambles)
    for number in range(20):
        with connect(address) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(b"hello" * (number % 2))  # unread input must not destroy the banner
            assert read_all(connection) == said
    assert (events.counters.refused, events.counters.accepted) == ({"access": 20}, 0)


def test_refused_connection_is_reset(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0", policy={**DENY, "refuse": "reset"})
    with pytest.raises(ConnectionResetError), connect(address) as connection:
        connection.recv(1)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:0", "unix://{tmp}/s"])
def test_refused_connection_gets_a_line(server: Server, tmp_path: Any, url: str) -> None:
    policy = {**DENY, "refuse": {"line": "421 nicht für Sie"}}
    address, events = server.add(Echo(), url.format(tmp=tmp_path), policy=policy)
    for number in range(20):
        with connect(address) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(b"hello" * (number % 2))  # unread input must not destroy the line
            assert read_exactly(connection, 20).decode() == "421 nicht für Sie\r\n"
    assert events.counters.refused == {"access": 20}


def test_unread_input_of_a_refused_connection_causes_no_reset(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0", policy={**DENY, "refuse": {"line": "no"}})
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        go.wait(20)

    server.loop.call(hold)
    assert held.wait(20)
    with connect(address) as connection:
        connection.sendall(b"hello")
        go.set()
        server.settle()
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        assert read_all(connection) == b"no\r\n"


@pytest.mark.parametrize(("policy", "number"), [({}, 16), (DENY, 2)])
def test_batch_of_accepted_connections_is_bounded_and_refused_ones_count_as_several(
    server: Server, policy: dict[str, object], number: int
) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", policy=policy)
    held, go, turn = threading.Event(), threading.Event(), threading.Event()
    taken: list[int] = []

    def take_a_turn() -> None:
        held.set()
        go.wait(20)
        server.servers[0].ready(0)  # type: ignore[union-attr]
        taken.append(events.counters.accepted + events.counters.refused.total())
        turn.set()

    server.loop.call(take_a_turn)
    assert held.wait(20)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(address))
        go.set()
        assert turn.wait(20)
        assert taken == [number]
        until(lambda: events.counters.accepted + events.counters.refused.total() == 40)


def test_source_at_its_limit_is_refused_and_another_is_not(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", per_source=2, exempt=[])
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(connect(address))
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert ask(address, b"x") == b""
        with socket.create_connection(address, 20, ("127.0.0.2", 0)) as other:
            other.sendall(b"y")
            assert other.recv(1) == b"y"
        assert events.counters.refused == {"per_source": 1}
    until(lambda: events.counters.active == 0)
    assert ask(address, b"again") == b"again"


def test_service_that_raises_at_once_releases_the_tickets(server: Server) -> None:
    class Broken:
        def stream(self, peer: Peer) -> Conversation:
            raise ZeroDivisionError("oops")

    address, events = server.add(Broken(), "tcp://127.0.0.1:0", per_source=1, connections=1, exempt=[])
    for number in range(5):
        assert ask(address, b"x") == b""
        until(lambda wanted=number + 1: events.counters.failed == wanted)  # type: ignore[misc]
    assert events.counters.refused == {}
    assert sum(server.shared.daemon_limits.active) == events.counters.active == 0


@pytest.mark.parametrize(
    ("access", "served"),
    [
        ({"allow": [f"uid:{os.getuid()}"]}, True),
        ({"allow": [f"gid:{os.getgid()}"]}, True),
        ({"allow": ["uid:4242"]}, False),
        ({"deny": [f"gid:{os.getgid()}"]}, False),
        ({"allow": ["10.0.0.0/8"]}, False),
        ({"allow": ["local"]}, True),
    ],
)
def test_unix_peers_are_admitted_by_their_credentials(
    server: Server, tmp_path: Any, access: dict[str, object], served: bool
) -> None:
    stream, _ = server.add(Echo(), f"unix://{tmp_path}/s", policy={"access": access})
    assert ask(stream, b"x") == (b"x" if served else b"")
    if "gid:" in str(access):
        return  # the kernel reports one group of the sender of a datagram, and a config may not name any
    datagram, events = server.add(Echo(), f"unixgram://{tmp_path}/d", policy={"access": access})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(f"{tmp_path}/me")
        client.settimeout(20)
        client.connect(datagram)
        client.send(b"x")
        if served:
            assert client.recv(1) == b"x"
        else:
            until(lambda: events.counters.dropped == {"access": 1})


def test_supplementary_groups_of_a_unix_peer_count_too(server: Server, tmp_path: Any) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root takes on groups")
    address, _ = server.add(Echo(), f"unix://{tmp_path}/s", policy={"access": {"allow": ["gid:4242"]}})
    ask_as = """if True:
        import os, socket, sys
        os.setgroups([4241, 4242][:int(sys.argv[2])])
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(sys.argv[1])
        connection.sendall(b"x")
        connection.shutdown(socket.SHUT_WR)
        sys.stdout.buffer.write(connection.recv(9))
    """
    said = [
        subprocess.run([sys.executable, "-c", ask_as, address, number], capture_output=True, check=False).stdout
        for number in ("2", "1")
    ]
    assert said == [b"x", b""]


def test_ipv4_address_and_its_mapped_form_are_one_source(server: Server) -> None:
    if not has_ipv6():
        pytest.skip("no IPv6 on this host")
    address, events = server.add(Echo(), "tcp://*:0", policy={"access": {"deny": ["127.0.0.0/8"]}})
    assert ask(("127.0.0.1", address[1]), b"x") == b""
    assert ask(("::1", address[1]), b"x") == b"x"
    assert events.counters.refused == {"access": 1}


def test_access_times_are_those_of_the_wall_clock(server: Server) -> None:
    # The server's clock stands at 2023-11-14 22:13:20 UTC, a Tuesday.
    times = [(["Tue 22:00-23:00 UTC"], b"x"), (["Tue 21:00-22:00 UTC", "Wed 00:00-24:00 UTC"], b"")]
    for hours, said in times:
        address, _ = server.add(Echo(), "tcp://127.0.0.1:0", policy={"access": {"times": hours}})
        assert ask(address, b"x") == said


def test_busy_host_refuses_connections_and_drops_datagrams(server: Server) -> None:
    loads = [9.0]
    server.shared.load = lambda now: loads[0]
    policy: dict[str, object] = {"load": {"below": 8.0}}
    address, events = server.add(Echo(), "tcp://127.0.0.1:0", policy=policy)
    udp, over_udp = server.add(Echo(), "udp://127.0.0.1:0", policy=policy)
    assert ask(address, b"x") == b""
    with client(udp) as sock:
        sock.send(b"x")
        until(lambda: over_udp.counters.dropped == {"load": 1})
    loads[0] = 7.0
    assert ask(address, b"x") == b"x"
    assert events.counters.refused == {"load": 1}


def test_banned_source_is_refused(server: Server) -> None:
    address, events = server.add(Echo(), "tcp://127.0.0.1:0")
    server.shared.apply(DaemonBounds(), BanRules(exempt=()))
    server.shared.ban(bytes([127, 0, 0, 1]), server.loop.now + 1000)
    assert ask(address, b"x") == b""
    assert events.counters.refused == {"banned": 1}
    server.shared.ban(bytes([127, 0, 0, 1]), None)
    assert ask(address, b"x") == b"x"


def test_reserve_descriptor_is_opened_again_after_the_pause(server: Server) -> None:
    address, _ = server.add(Echo(), "tcp://127.0.0.1:0")
    [listener] = server.servers
    done = threading.Event()

    def exhausted() -> None:
        listener._close_reserve()  # type: ignore[union-attr]
        listener._pause_accept(OSError(errno.ENOMEM, "no memory"))  # type: ignore[union-attr]
        listener._close_reserve()  # type: ignore[union-attr]
        done.set()

    server.loop.call(exhausted)
    assert done.wait(20)
    assert ask(address, b"x") == b"x"
    assert listener._reserve is not None  # type: ignore[union-attr]
