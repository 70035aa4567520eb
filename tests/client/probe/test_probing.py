"""The schedule of a run, and its figures, over real sockets in this process."""

import gc
import os
import random
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from netd.client.probe import probing
from netd.client.probe.figures import summarise
from netd.client.probe.probing import Plan, Probing
from netd.client.probe.questions import SERVICES, find_question
from netd.client.probe.targets import Target, parse_target
from tests.client.probe.measuring import SECOND, TIMEOUT, all_right, measure, probing_of, tcp_server, url_of
from tests.support.server import Server
from tests.support.services import service
from tests.support.sockets import ABSTRACT, has_ipv6, read_exactly

pytestmark = pytest.mark.slow  # runs of seconds


OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {"rfc868": ("time", {"encoding": "rfc868"}), "connect": ("echo", {})}


# Datagram services have no connections.
EVERYTHING = [(scheme, kind) for scheme in ("tcp", "unix") for kind in SERVICES]
EVERYTHING += [(scheme, kind) for scheme in ("udp", "unixgram") for kind in SERVICES if kind != "connect"]


@pytest.mark.parametrize(("scheme", "kind"), EVERYTHING)
def test_services_are_measured_over_every_transport(server: Server, tmp_path: Path, scheme: str, kind: str) -> None:
    name, options = OPTIONS.get(kind, (kind, {}))
    place = f"{scheme}://127.0.0.1:0" if scheme in ("tcp", "udp") else f"{scheme}://{tmp_path}/s"
    address, _ = server.add(service(name, **options), place)
    # More datagrams at once than a queue of a UNIX socket holds (net.unix.max_dgram_qlen) would be lost.
    count = 10 if scheme == "unixgram" else 20
    _, summary = measure(url_of(scheme, address), kind, count=count)
    all_right(summary, count)
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
    assert summarise(run.probes[0]).address == f"127.0.0.1:{port}", "and not the first address of the name"
    all_right(measure(f"{scheme}://localhost:{port}", kind)[1])


@pytest.mark.parametrize("size", [20, 1472, 60000])
@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix"])
def test_questions_of_all_sizes_are_answered(server: Server, tmp_path: Path, scheme: str, size: int) -> None:
    place = f"unix://{tmp_path}/s" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    address, _ = server.add(service("echo"), place, datagram=65535)
    count = 2 if size == 60000 else 20  # as many datagrams as a receive buffer holds while this process does not run
    all_right(measure(url_of(scheme, address), size=size, count=count)[1], count)


def test_run_waits_for_a_second_answer_to_the_last_question() -> None:
    """The run waits as long as the slowest first answer took."""

    def serve() -> None:
        for _ in range(3):
            question, client = asked.recvfrom(100)
            time.sleep(0.3)  # the delay under test
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
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def progress(probes: object) -> None:
        if run.probes[0].tally.received > 20:
            os.kill(os.getpid(), number)

    try:
        run.run(progress)
    finally:
        left = [signal.signal(each, handler) for each, handler in before.items()]
    assert run.interrupted
    answered, waiting = (summarise(probe) for probe in run.probes)
    assert answered.received > 20
    assert answered.lost == 0
    assert (waiting.sent, waiting.lost) == (0, 0)  # no question had timed out
    assert left == [signal.SIG_DFL] * 2, "a second signal ends the process"


def test_plan_has_the_number_of_questions() -> None:
    assert Plan(SECOND, SECOND, 10).number == 10
    assert Plan(SECOND, SECOND, None).number is None
    assert Plan(SECOND, SECOND, None, 5 * SECOND).number == 5
    assert Plan(SECOND, SECOND, None, 5 * SECOND + 1).number == 6
    assert Plan(SECOND, SECOND, 3, 5 * SECOND).number == 3
