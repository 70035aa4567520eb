"""Datagrams that two services send each other without end: they are found and dropped. Over real and raw sockets."""

from pathlib import Path
from typing import Any

import pytest

from netd.admission.reply_guard import Loops
from netd.services.echo import Echo
from tests.support.daemon import daemon
from tests.support.forged import spoof
from tests.support.namespaces import in_namespace
from tests.support.server import Server
from tests.support.services import service
from tests.support.waiting import until
from tests.transport.datagram.sources import bound
from tests.transport.peers import ask
from tests.transport.sample_services import BOTH, PlainEcho


@BOTH
@pytest.mark.parametrize("kind", [Echo, PlainEcho])
def test_loop_is_counted_and_named_once_and_a_probe_is_not(
    server: Server, log: list[dict[str, Any]], kind: type[Echo], batched: bool
) -> None:
    address, events = server.add(kind(), "udp://127.0.0.1:0", batched=batched, rate="100000/s", exempt=["127.0.0.1"])
    with bound(0, "127.0.0.2") as looper, bound(0) as prober:
        data = b"x"
        for _ in range(1000):
            looper.sendto(data, address)
            data = looper.recv(10)
            prober.sendto(b"probe", address)
            assert prober.recv(10) == b"probe"
        name = f"127.0.0.2:{looper.getsockname()[1]}"
    # On a machine that pauses for long, the loop may have been detected anew.
    assert events.counters.loops >= 1
    assert [event["peer"] for event in log if event["event"] == "loop_detected"] == [name]


@BOTH
def test_two_echo_services_of_a_daemon_do_not_loop(batched: bool) -> None:
    def run() -> None:
        with Server() as server:
            one, one_events = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
            other, other_events = server.add(Echo(), "udp://127.0.0.1:0", batched=batched)
            server.shared.ports = {one[1], other[1]}
            spoof(one, other)
            spoof(other, one)
            spoof(other, other)
            until(lambda: one_events.counters.dropped.total() + other_events.counters.dropped.total() == 3)
            assert ask(one, b"y") == b"y"
            server.settle()
            assert one_events.counters.datagrams_out == 1
            assert other_events.counters.datagrams_out == 0

    in_namespace(run)


def test_two_daemons_on_high_ports_stop_at_the_rate() -> None:
    def run() -> None:
        with Server() as one, Server() as other:
            here, here_events = one.add(Echo(), "udp://10.9.9.1:40007")
            there, there_events = other.add(Echo(), "udp://10.9.9.2:40007")
            one.shared.ports, other.shared.ports = {1}, {2}  # none of these
            spoof(there, here)
            until(lambda: here_events.counters.dropped["rate"] + there_events.counters.dropped["rate"] == 1)
            assert here_events.counters.datagrams_out + there_events.counters.datagrams_out < 1000

    in_namespace(run, "address add 10.9.9.1/24 dev lo", "address add 10.9.9.2/24 dev lo")


@pytest.mark.slow  # waits for a loop to end
@pytest.mark.parametrize(
    ("name", "port", "number"), [("echo", 0, 2), ("upper", 0, 1), ("chargen", 7019, 1), ("reply", 7007, 1)]
)
def test_loop_between_two_daemons_on_loopback_is_ended(name: str, port: int, number: int) -> None:
    def run() -> None:
        with Server() as one, Server() as other:
            here, here_events = one.add(service(name), f"udp://127.0.0.1:{port}", batched=name != "upper")
            there, there_events = other.add(service(name), f"udp://127.0.0.1:{port and port + 1}")
            one.shared.ports, other.shared.ports = {here[1]}, {there[1]}
            for _ in range(number):
                spoof(there, here)
            until(lambda: here_events.counters.dropped["loop"] + there_events.counters.dropped["loop"] == number, 50)
            for server in (one, other, one):
                server.settle()
            both = here_events.counters, there_events.counters
            assert sum(counters.loops for counters in both) == number
            assert sum(counters.datagrams_in - counters.datagrams_out for counters in both) == number

    in_namespace(run)


@pytest.mark.slow  # thousands of questions
def test_client_that_repeats_a_question_as_fast_as_it_can_is_answered(server: Server) -> None:
    address, events = server.add(Echo(), "udp://127.0.0.1:0")
    dropped = 0
    # A service would have such a socket: not connected.
    with bound(0) as sock:
        sock.settimeout(1)
        for _ in range(Loops.ENDLESS + 1000):
            sock.sendto(b"x", address)
            try:
                assert sock.recv(10) == b"x"
            except TimeoutError:
                dropped += 1
    assert dropped <= 1  # where this machine pauses for long, a run ends
    assert events.counters.dropped == ({"loop": 1} if dropped else {})


@pytest.mark.slow
def test_loop_between_two_real_daemons_is_ended(tmp_path: Path) -> None:
    def run() -> None:
        config = "services:\n  echo: {listen: ['udp://127.0.0.1:0']}\n"
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
        with daemon(config, tmp_path / "one") as one, daemon(config, tmp_path / "other") as other:
            ports = [found.port("echo", "udp") for found in (one, other)]
            spoof(("127.0.0.1", ports[0]), ("127.0.0.1", ports[1]))

            def counted(name: str) -> int:
                return sum(found.ask("status")["services"][0]["counters"][name] for found in (one, other))

            until(lambda: counted("loops_detected"), 50)
            before = counted("datagrams_received")
            assert ask(("127.0.0.1", ports[0]), b"x") == b"x"
            assert counted("datagrams_received") == before + 1
            assert counted("loops_detected") == 1

    in_namespace(run)
