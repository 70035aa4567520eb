"""The schedule and the sessions of a run, over real sockets in this process."""

import contextlib
import gc
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.client.probe import probing
from netd.client.probe.figures import Summary, summarise
from netd.client.probe.outcomes import Outcome
from netd.client.probe.probing import Plan, Probe, Probing
from netd.client.probe.questions import SERVICES, find_question
from netd.client.probe.targets import Target, parse_target, resolve
from tests.client.probe.relay import Relay
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import ABSTRACT, has_ipv6, read_exactly

pytestmark = pytest.mark.slow  # real processes, dozens of them

SECOND = 10**9
TIMEOUT = 10 * SECOND


def probing_of(
    *urls: str, kind: str = "echo", count: int = 20, interval: float = 0.002, timeout: int = TIMEOUT, size: int = 64
) -> Probing:
    endpoints = [parse_target(url) for url in urls]
    asked = [
        (target, kind, find_question(kind, size, streams=target.endpoint.streams, random=random.Random(1)))
        for target in resolve(endpoints)
    ]
    return Probing(asked, Plan(round(interval * SECOND), timeout, count))


def measure(url: str, kind: str = "echo", **how: float) -> tuple[Probe, Summary]:
    """Run against one target."""
    run = probing_of(url, kind=kind, **how)  # type: ignore[arg-type]
    run.run()
    assert not run.interrupted
    return run.probes[0], summarise(run.probes[0])


def all_right(summary: Summary, count: int = 20) -> None:
    assert (summary.sent, summary.received, summary.lost, summary.loss) == (count, count, 0, 0.0)
    assert (summary.duplicated, summary.reordered, summary.corrupted, summary.late) == (0, 0, 0, 0)
    assert summary.good
    times = summary.rtt
    assert times.min is not None
    assert times.median is not None
    assert times.p90 is not None
    assert times.p99 is not None
    assert times.max is not None
    assert 0 < times.min <= times.median <= times.p90 <= times.p99 <= times.max


def url_of(scheme: str, address: object) -> str:
    if isinstance(address, str | bytes):
        text = address if isinstance(address, str) else "@" + address[1:].decode()
        return f"{scheme}://{text}"
    host, port = address[:2]  # type: ignore[index]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {"rfc868": ("time", {"encoding": "rfc868"}), "connect": ("echo", {})}


# Datagram services have no connections.
EVERYTHING = [(scheme, kind) for scheme in ("tcp", "unix") for kind in SERVICES]
EVERYTHING += [(scheme, kind) for scheme in ("udp", "unixgram") for kind in SERVICES if kind != "connect"]


@pytest.mark.parametrize(("scheme", "kind"), EVERYTHING)
def test_services_are_measured_over_every_transport(server: Server, tmp_path: Path, scheme: str, kind: str) -> None:
    name, options = OPTIONS.get(kind, (kind, {}))
    place = f"{scheme}://127.0.0.1:0" if scheme in ("tcp", "udp") else f"{scheme}://{tmp_path}/s"
    address, _ = server.add(service(name, **options), place)
    _, summary = measure(url_of(scheme, address), kind)
    all_right(summary)
    connections = {"tcp": 1, "unix": 1}.get(scheme, 0) * (1 if kind in ("echo", "pingpong", "time") else 20)
    assert summary.connections == connections
    assert (summary.connect.median is None) == (connections == 0)
    # The clock of the service in this test has a fixed time in 2023.
    if kind in ("time", "rfc868"):
        assert summary.offset is not None
        assert summary.offset < -(10**7)
    else:
        assert summary.offset is None


def test_addresses_of_all_families_are_measured(server: Server) -> None:
    urls = ["tcp://127.0.0.1:0", f"unix://{ABSTRACT}"]
    urls += ["tcp://[::1]:0", "udp://[::1]:0"] if has_ipv6() else []
    places = [url_of(url.partition(":")[0], server.add(service("echo"), url)[0]) for url in urls]
    run = probing_of(*places)
    run.run()
    for one in run.probes:
        all_right(summarise(one))


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ["echo", "daytime"])
def test_name_is_measured_at_the_address_that_answers(server: Server, scheme: str, kind: str) -> None:
    """As with localhost: its first address is mostly ::1, on which a service may not listen."""
    (_, port), _ = server.add(service(kind), f"{scheme}://127.0.0.1:0")
    endpoint = parse_target(f"{scheme}://localhost:{port}")
    addresses = [(socket.AF_INET, (host, port)) for host in ("127.0.0.2", "127.0.0.3", "127.0.0.1")]
    question = find_question(kind, 64, streams=endpoint.streams, random=random.Random(1))
    run = Probing([(Target(endpoint, tuple(addresses)), kind, question)], Plan(SECOND // 100, TIMEOUT, 20))
    run.run()
    all_right(summarise(run.probes[0]))
    all_right(measure(f"{scheme}://localhost:{port}", kind)[1])


@pytest.mark.parametrize("size", [20, 1472, 60000])
@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix"])
def test_questions_of_all_sizes_are_answered(server: Server, tmp_path: Path, scheme: str, size: int) -> None:
    place = f"unix://{tmp_path}/s" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    address, _ = server.add(service("echo"), place, datagram=65535)
    all_right(measure(url_of(scheme, address), size=size)[1])


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
    with Relay(port, 1, delay=(0.1, 0.1)) as relay:
        _, summary = measure(relay.url, count=200, timeout=SECOND // 20)
        assert summary.losses["timed_out"] == summary.sent == 200
        assert summary.late > 0
        assert summary.received == 0


def test_run_waits_for_a_second_answer_to_the_last_question() -> None:
    """The run waits as long as the slowest first answer took."""

    def serve() -> None:
        for _ in range(3):
            question, client = asked.recvfrom(100)
            time.sleep(0.1)  # the delay under test
            asked.sendto(question, client)
        time.sleep(0.05)
        asked.sendto(question, client)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=serve)
        thread.start()
        _, summary = measure(url_of("udp", asked.getsockname()), count=3)
        thread.join()
    assert (summary.received, summary.duplicated) == (3, 1)


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


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a listener. ``serve`` gets its connections one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()


def test_slow_answer_does_not_delay_later_questions() -> None:
    """This server answers after it has all questions, so a client that waits for each answer gets none."""
    released = []

    def serve(connection: socket.socket) -> None:
        questions = read_exactly(connection, 20 * 64)
        released.append(time.monotonic_ns())
        connection.sendall(questions)
        connection.recv(1)

    with tcp_server(serve) as url:
        probe, summary = measure(url, interval=0.01)
    all_right(summary)
    for number, took in probe.tally.results():
        assert took >= released[0] - probe.due(number) - probe.tally.lag.most


def test_blocked_question_counts_from_when_it_was_due() -> None:
    """The server reads only after the buffers are full, so most questions wait in the probe."""
    size, count = 2**20, 80
    release = threading.Event()
    released = []

    def serve(connection: socket.socket) -> None:
        assert release.wait(10)
        released.append(time.monotonic_ns())
        while data := connection.recv(2**20):
            connection.sendall(data)

    with tcp_server(serve) as url:
        run = probing_of(url, count=count, interval=0.01, size=size)
        [probe] = run.probes

        def progress(probes: object) -> None:
            if probe.tally.asked == count:
                release.set()

        run.run(progress)
    all_right(summarise(probe), count)
    for number, took in probe.tally.results():
        if number >= 60:  # earlier ones may have fitted into the buffers
            assert took >= released[0] - probe.due(number)


def test_question_that_times_out_before_it_is_sent_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not one that was about to be sent when the probe was suspended: its late answer would delay the others."""
    monkeypatch.setattr(probing, "_PROGRESS_INTERVAL", 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        run = probing_of(f"udp://127.0.0.1:{silent.getsockname()[1]}", count=20, interval=0.05, timeout=SECOND // 2)
        [probe] = run.probes
        pauses = iter([1.5])
        run.run(lambda probes: time.sleep(next(pauses, 0)))
        assert summarise(probe).losses["unsent"] == 20
        with pytest.raises(BlockingIOError):
            silent.recv(100, socket.MSG_DONTWAIT)


def test_delay_of_the_probe_is_not_in_the_time_of_answers(server: Server) -> None:
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    run = probing_of(f"udp://127.0.0.1:{port}", count=200, interval=0.01, timeout=SECOND)
    [probe] = run.probes
    pauses = iter([1.5])
    run.run(lambda probes: time.sleep(next(pauses, 0)))
    summary = summarise(probe)
    assert summary.losses["unsent"] > 0
    assert summary.lost == summary.losses["unsent"]
    assert probe.tally.lag.most > SECOND // 2
    # One may have been outstanding when the probe paused. Questions sent late do not count their delay.
    times = sorted(result for _, result in probe.tally.results() if result >= 0)
    assert times[-2] < probe.tally.lag.most // 2


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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    _, summary = measure(f"udp://127.0.0.1:{port}", kind)
    assert summary.losses["refused"] == summary.sent == 20


@pytest.mark.parametrize("scheme", ["unix", "unixgram"])
def test_missing_unix_socket_is_unreachable(tmp_path: Path, scheme: str) -> None:
    _, summary = measure(f"{scheme}://{tmp_path}/nothing", timeout=100 * SECOND)  # the run must not wait for this
    assert summary.losses["unreachable"] == summary.sent == 20
    assert summary.reasons == {"unreachable": "No such file or directory"}


def test_unanswered_questions_time_out(server: Server) -> None:
    for scheme in ("tcp", "udp"):
        address, _ = server.add(service("discard"), f"{scheme}://127.0.0.1:0")
        _, summary = measure(url_of(scheme, address), timeout=SECOND // 5)
        assert summary.losses["timed_out"] == summary.sent == 20
        _, summary = measure(url_of(scheme, address), "daytime", timeout=SECOND // 5)
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
    assert summary.losses["timed_out"] == summary.sent == 9
    assert len(ports) > 2, "a single attempt, with SYNs that the kernel repeats ever more slowly"


def test_name_without_addresses_is_unresolved() -> None:
    _, summary = measure("udp://a..b:7")  # an empty label is refused without a query
    assert (summary.sent, summary.losses["unresolved"], summary.address) == (1, 1, "")
    assert "label" in summary.reasons["unresolved"]


def test_targets_do_not_wait_for_each_other(server: Server, tmp_path: Path) -> None:
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    silent, _ = server.add(service("discard"), "tcp://127.0.0.1:0")
    run = probing_of(f"udp://127.0.0.1:{port}", url_of("tcp", silent), f"unix://{tmp_path}/no", timeout=SECOND)
    run.run()
    answered, waiting, absent = (summarise(probe) for probe in run.probes)
    all_right(answered)
    assert waiting.losses["timed_out"] == 20
    assert absent.losses["unreachable"] == 20


def test_number_of_open_sockets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Further questions wait, and their times count from when they were due."""
    monkeypatch.setattr(probing, "_MAX_SOCKETS", 3)
    count = 40
    release = threading.Event()
    released = []

    def serve(connection: socket.socket) -> None:
        assert release.wait(10)
        released.append(time.monotonic_ns())
        connection.sendall(b"12:00\r\n")

    with tcp_server(serve) as url:
        run = probing_of(url, kind="daytime", count=count, interval=0.02)
        [probe] = run.probes
        gc.collect()  # sockets that other tests have left must not be closed meanwhile
        before = len(os.listdir("/proc/self/fd"))
        most = 0

        def progress(probes: object) -> None:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")) - before)
            if probe.tally.asked == count:
                release.set()

        run.run(progress)
    all_right(summarise(probe), count)
    assert 3 <= most <= 3 + 4  # those of epoll and the signals, and connections that the server has accepted
    for number, took in probe.tally.results():
        if number >= 30:  # earlier ones may have been sent late
            assert took >= released[0] - probe.due(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_run_with_its_figures(server: Server, number: int) -> None:
    (_, port), _ = server.add(service("echo"), "udp://127.0.0.1:0")
    silent, _ = server.add(service("discard"), "udp://127.0.0.1:0")
    run = probing_of(f"udp://127.0.0.1:{port}", url_of("udp", silent), count=10**6)
    before = signal.getsignal(number)

    def progress(probes: object) -> None:
        if run.probes[0].tally.received > 20:
            os.kill(os.getpid(), number)

    run.run(progress)
    assert run.interrupted
    answered, waiting = (summarise(probe) for probe in run.probes)
    assert answered.received > 20
    assert answered.lost == 0
    assert (waiting.sent, waiting.lost) == (0, 0)  # no question had timed out
    assert signal.getsignal(number) in (before, signal.SIG_DFL)


def test_plan_has_the_number_of_questions() -> None:
    assert Plan(SECOND, SECOND, 10).number == 10
    assert Plan(SECOND, SECOND, None).number is None
    assert Plan(SECOND, SECOND, None, 5 * SECOND).number == 5
    assert Plan(SECOND, SECOND, None, 5 * SECOND + 1).number == 6
    assert Plan(SECOND, SECOND, 3, 5 * SECOND).number == 3
