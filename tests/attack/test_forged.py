"""Forged datagrams: from sources that are none, and one between two netds of two hosts, which is a loop that ends."""

import contextlib
import time
from pathlib import Path
from typing import Any

from tests.attack.conftest import Row
from tests.attack.processes import failures
from tests.daemon.clients import answers
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.forged import spoof
from tests.support.namespaces import in_namespace
from tests.support.programs import need_root
from tests.support.veth import Far, joined
from tests.support.waiting import until

PAIRS = (
    *(("echo", "echo"), ("echo", "upper"), ("upper", "upper"), ("echo", "chargen"), ("upper", "reply")),
    *(("time", "daytime"), ("qotd", "whoami")),
)
PORTS = (20_000, 21_000)  # the first of each host; a source port that is also its own would be refused
# Broadcast, multicast, and reserved addresses (RFC 6890), and ports below 1024.
SOURCES = (
    *(("127.0.0.1", port) for port in (0, 1, 53, 1023)),
    *((host, 5000) for host in ("255.255.255.255", "224.0.0.1", "239.1.2.3", "240.0.0.1", "10.9.9.255")),
)


def _counters(running: Daemon) -> dict[str, Any]:
    return dict(running.ask("status")["services"][0]["counters"])


def test_sources_that_are_none(tmp_path: Path, row: Row) -> None:
    need_root()

    def run() -> None:
        with daemon("services: {echo: {listen: [udp://127.0.0.1:0]}}\n", tmp_path) as running:
            port = running.port("echo", "udp")
            sources = [*SOURCES, ("127.0.0.1", port)]
            for source in sources:
                for _ in range(12):
                    with contextlib.suppress(OSError):  # the kernel refuses some of them
                        spoof(source, ("127.0.0.1", port))
            assert answers(port), "all that came before was handled"
            counters = _counters(running)
            row(
                f"{len(sources)} sources, 12 datagrams each",
                f"{counters['datagrams_answered'] - 1} answered; dropped {counters['datagrams_dropped']}",
            )
            assert counters["datagrams_answered"] == 1
            assert counters["datagrams_dropped"]["source_port"] >= 4 * 12
            assert failures(running) == []

    in_namespace(run, "address add 10.9.9.1/24 brd + dev lo")


def test_forged_datagram_between_two_daemons_of_two_hosts(tmp_path: Path, row: Row) -> None:
    need_root()
    hosts = ("10.0.0.1", "10.0.0.9")

    def config(side: int) -> str:
        return "services:\n" + "".join(
            f"  s{place}: {{type: {pair[side]}, listen: ['udp://{hosts[side]}:{PORTS[side] + place}']}}\n"
            for place, pair in enumerate(PAIRS)
        )

    def run(far: Far) -> None:
        with contextlib.ExitStack() as stack:
            both = []
            for side in (0, 1):
                place = tmp_path / str(side)
                place.mkdir()
                write(place, config(side))

                def start(file: str = str(place / "netd.yaml")) -> Daemon:
                    return Daemon("-c", file)

                running = stack.enter_context(start() if side == 0 else far(start))
                running.event("netd_started")
                both.append(running)
            seen = []
            for number, pair in enumerate(PAIRS):
                before = _answered(both)
                spoof((hosts[1], PORTS[1] + number), (hosts[0], PORTS[0] + number))
                until(lambda old=before: _answered(both) > old)  # type: ignore[misc]
                until(lambda: _at_rest(both), 60)
                seen.append(_answered(both) - before)
                assert seen[-1] <= 1000, (pair, "the rate ends it")
            names = ", ".join("-".join(pair) for pair in PAIRS)
            row(f"1 datagram each between {names}", f"{', '.join(map(str, seen))} answers until the loop ended")
            for running in both:
                assert failures(running) == []
                assert running.stop() == 0

    joined(run)


def _answered(both: list[Daemon]) -> int:
    return sum(
        int(service["counters"].get("datagrams_answered", 0))
        for running in both
        for service in running.ask("status")["services"]
    )


def _at_rest(both: list[Daemon]) -> bool:
    """Whether nothing is answered for longer than the rate takes to allow the next datagram."""
    before = _answered(both)
    time.sleep(0.3)  # no wait for a condition: the test is that nothing happens
    return _answered(both) == before
