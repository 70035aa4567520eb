"""Runs against faulty networks and targets: each fault is reported by its name."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from netd.client.probe.figures import summarise
from netd.client.probe.outcomes import Outcome
from tests.client.probe.measuring import SECOND, measure, probing_of, tcp_server, url_of
from tests.client.probe.relay import Relay
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import free_port, read_exactly

pytestmark = pytest.mark.slow  # runs of seconds


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_faults_of_the_network_are_reported_exactly(server: Server, seed: int) -> None:
    """All faults at once. An answer that the relay loses, or damages without a good copy, is lost."""
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    count = 300
    with Relay(port, seed, lose=0.1, double=0.1, damage=0.1, delay=(0.001, 0.03)) as relay:
        probe, summary = measure(relay.url, count=count, timeout=3 * SECOND)
    assert relay.lost > 0
    assert relay.overtaken > 0
    assert relay.repeated > 0
    assert summary.sent == count
    assert summary.received == len(set(relay.passed))
    assert summary.lost == count - len(set(relay.passed)) == summary.losses["timed_out"]
    assert summary.duplicated == relay.repeated
    assert summary.reordered == relay.overtaken
    assert summary.corrupted == relay.damaged
    assert not summary.good
    results = dict(probe.tally.results())
    assert {number for number, result in results.items() if result >= 0} == set(relay.passed)
    for number, delay in relay.delays.items():
        assert results[number] >= delay * SECOND


@pytest.mark.parametrize(
    ("how", "what"),
    [({"lose": 0.2}, "lost"), ({"double": 0.2}, "duplicated"), ({"delay": (0.0, 0.05)}, "reordered"),
     ({"damage": 0.2}, "corrupted")],
)  # fmt: skip
def test_single_fault_is_reported_by_its_name(server: Server, how: dict[str, float], what: str) -> None:
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    with Relay(port, 7, **how) as relay:  # type: ignore[arg-type]
        _, summary = measure(relay.url, count=100, timeout=2 * SECOND)
    done = {"lost": relay.lost, "duplicated": relay.doubled, "reordered": relay.overtaken, "corrupted": relay.damaged}
    for name in done:
        expected = done[name] + (relay.damaged if name == "lost" else 0)
        assert getattr(summary, name) == expected, name
    assert done[what] > 0


def test_late_answer_is_lost_and_counted(server: Server) -> None:
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    with Relay(port, 1, delay=(0.4, 0.4)) as relay:
        _, summary = measure(relay.url, count=200, interval=0.005, timeout=SECOND // 5)
        lost_by_a_pause = summary.losses["unsent"]  # of this machine, longer than the time-out
        assert summary.losses["timed_out"] + lost_by_a_pause == summary.sent == 200
        assert summary.late > 0
        assert summary.received == 0


def test_restarted_unix_service_is_connected_again(tmp_path: Path) -> None:
    path = str(tmp_path / "s")

    def serve() -> None:
        for life in range(2):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
                asked.bind(path)
                ready.set()
                asked.settimeout(10)
                for _ in range(5 if life == 0 else 10):
                    asked.sendto(*asked.recvfrom(100))
            os.unlink(path)

    ready = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(10)
    _, summary = measure(f"unixgram://{path}", count=200, interval=0.01, timeout=SECOND)
    thread.join()
    assert summary.received == 15


def test_damage_in_a_stream_is_found_in_its_answer() -> None:
    def serve(connection: socket.socket) -> None:
        for number in range(20):
            answer = bytearray(read_exactly(connection, 64))
            if number in (3, 11):
                answer[number * 5] ^= 1
            connection.sendall(answer)
        connection.recv(1)

    with tcp_server(serve) as url:
        probe, summary = measure(url)
    assert (summary.received, summary.corrupted, summary.losses["wrong"]) == (18, 2, 2)
    wrong = [number for number, result in probe.tally.results() if result == Outcome.WRONG]
    assert wrong == [3, 11]


def test_answers_of_another_service_are_wrong_and_take_no_memory(server: Server) -> None:
    (_, port), _ = server.add(service("chargen"), "tcp://127.0.0.1:0")
    for kind in ("echo", "pingpong", "time"):
        _, summary = measure(f"tcp://127.0.0.1:{port}", kind, count=5, timeout=SECOND)
        assert summary.received == 0
        assert summary.corrupted > 0
        assert not summary.good


@pytest.mark.parametrize("kind", ["pingpong", "time"])
def test_endless_line_takes_no_memory(kind: str) -> None:
    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(bytes(65536))

    with tcp_server(serve) as url:
        _, summary = measure(url, kind, count=5, timeout=SECOND)
    assert summary.received == 0
    assert summary.corrupted > 0


@pytest.mark.parametrize("kind", ["daytime", "rfc868"])
def test_answer_without_a_time_is_wrong(server: Server, kind: str) -> None:
    for scheme in ("tcp", "udp"):
        (_, port), _ = server.add(service("reply", text="nothing", when="connect" if scheme == "tcp" else "message"),
                                  f"{scheme}://127.0.0.1:0")  # fmt: skip
        _, summary = measure(f"{scheme}://127.0.0.1:{port}", kind, count=3)
        assert (summary.received, summary.corrupted, summary.losses["wrong"]) == (0, 3, 3)


def test_closed_connection_is_opened_again() -> None:
    def serve(connection: socket.socket) -> None:
        for _ in range(5):
            connection.sendall(read_exactly(connection, 64))
        read_exactly(connection, 64)  # and close without an answer

    with tcp_server(serve) as url:
        _, summary = measure(url, count=23, interval=0.02)
    assert summary.losses["closed"] >= 3
    assert summary.received + summary.losses["closed"] == 23
    assert summary.received >= 15
    assert summary.connections >= 4


@pytest.mark.parametrize("kind", ["echo", "daytime", "connect"])
def test_closed_port_is_refused(kind: str) -> None:
    with socket.socket() as taken:  # bound, so that no other process gets the port, and not listening
        taken.bind(("127.0.0.1", 0))
        _, summary = measure(f"tcp://127.0.0.1:{taken.getsockname()[1]}", kind)
    assert summary.losses["refused"] == summary.sent == summary.lost == 20
    assert summary.reasons == {"refused": "Connection refused"}
    assert summary.loss == 1.0


@pytest.mark.parametrize("kind", ["echo", "daytime"])
def test_closed_udp_port_is_refused(kind: str) -> None:
    _, summary = measure(f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", kind)
    assert summary.losses["refused"] == summary.sent == 20


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_missing_unix_socket_is_unreachable(tmp_path: Path, scheme: str) -> None:
    _, summary = measure(f"{scheme}://{tmp_path}/nothing", timeout=100 * SECOND)  # the run must not wait for this
    assert summary.losses["unreachable"] == summary.sent == 20
    assert summary.reasons == {"unreachable": "No such file or directory"}


def test_unanswered_questions_time_out(server: Server) -> None:
    for scheme in ("tcp", "udp"):
        address, _ = server.add(service("discard"), f"{scheme}://127.0.0.1:0")
        for kind in ("echo", "daytime"):
            _, summary = measure(url_of(scheme, address), kind, timeout=SECOND)
            assert summary.losses["timed_out"] == summary.sent == 20


def connecting(port: int) -> set[str]:
    """The local ports of connections to a port in state SYN_SENT, which is 02 (proc_net_tcp(5))."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    return {row[1] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "02"}


@pytest.mark.parametrize("kind", ["echo", "connect"])
def test_connection_to_a_full_backlog_times_out(kind: str) -> None:
    with socket.socket() as full, contextlib.ExitStack() as stack:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):  # the kernel queues one more than the backlog, and then drops SYNs
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        # A question that this process sends later than the time-out is unsent, so the time-out is far above its delays.
        run = probing_of(f"tcp://127.0.0.1:{port}", kind=kind, count=9, interval=0.3, timeout=SECOND)
        others, ports = connecting(port), set[str]()
        run.run(lambda probes: ports.update(connecting(port) - others))
    summary = summarise(run.probes[0])
    assert summary.losses["timed_out"] + summary.losses["unsent"] == summary.sent == 9
    assert summary.losses["timed_out"] > summary.losses["unsent"], "a pause of this machine may delay a question"
    assert len(ports) > 2, "a single attempt, with SYNs that the kernel repeats ever more slowly"


def test_name_without_addresses_is_unresolved() -> None:
    _, summary = measure("udp://a..b:7")  # an empty label is refused without a query
    assert (summary.sent, summary.losses["unresolved"], summary.address) == (1, 1, "")
    assert "label" in summary.reasons["unresolved"]
