"""Sensors: what a running netd does with their visitors, and with reports of a faulty worker."""

import socket
import time
from pathlib import Path

import pytest

from netd.addresses import parse_address
from netd.admission.bans import MOST
from netd.config.loader import load
from netd.daemon.messages.from_supervisor import SetBans
from netd.daemon.messages.from_worker import MOST_VISITORS, Visitor, Visitors
from netd.daemon.supervisor.bans import BanManager
from netd.daemon.supervisor.sensors import Sensors
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from tests.daemon.clients import answers, echoes
from tests.support.certificates import Authority
from tests.support.daemon import daemon
from tests.support.sockets import read_all
from tests.support.waiting import until

CONFIG = """
services:
  trap: {type: sensor, listen: [tcp://127.0.0.1:0], options: {ban: 5m}}
  watch: {type: sensor, listen: [tcp://127.0.0.1:0], options: {ban: off}}
  gone: {type: sensor, listen: [tcp://127.0.0.1:0], enabled: false}
  web: {type: echo, listen: [tcp://127.0.0.1:0], proxy_protocol: {from: [192.0.2.7, "2001:db8:1::/48"]}}
"""


def visit(port: int, source: str, said: bytes = b"") -> bytes:
    """All that a connection from this address gets."""
    with socket.create_connection(("127.0.0.1", port), 20, (source, 0)) as client:
        client.sendall(said)
        return read_all(client)


@pytest.mark.slow
def test_visitor_is_banned_by_all_services(tmp_path: Path) -> None:
    files = Authority(tmp_path).issue("server")
    config = f"""
daemon: {{workers: 2}}
bans: {{exempt: [127.0.0.4]}}
defaults: {{limits: {{exempt: []}}}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  trap: {{type: sensor, listen: [tcp://127.0.0.1:0], banner: "login:", limits: {{exempt: [127.0.0.5]}}}}
  watch: {{type: sensor, listen: [tcp://127.0.0.1:0], options: {{ban: off}}}}
  secure: {{type: sensor, listen: [tls://127.0.0.1:0], tls: {{certificate: {files.certificate}, key: {files.key}}}}}
  behind: {{type: sensor, listen: [tcp://127.0.0.1:0], proxy_protocol: {{from: [127.0.0.6]}}}}
"""
    with daemon(config, tmp_path) as netd:
        echo, trap = netd.port("echo"), netd.port("trap")
        for exempt in ("127.0.0.4", "127.0.0.5", "127.0.0.6"):
            assert visit(trap, exempt) == b"login:\r\n"
        exempted = [netd.event("visitor_spared") for _ in range(2)]
        assert [(one["service"], one["source"], one["by"], one["level"]) for one in exempted] == [
            ("trap", "127.0.0.4", "bans.exempt: 127.0.0.4", "warning"),
            ("trap", "127.0.0.5", "limits.exempt: 127.0.0.5", "warning"),
        ]
        for peer, where, why in (
            ("127.0.0.4", "trap", "bans.exempt: 127.0.0.4: exempt, not banned"),
            ("127.0.0.5", "trap", "limits.exempt: 127.0.0.5: exempt, not banned"),
            ("127.0.0.5", "behind", "a connection bans it for 3600 s"),
            ("127.0.0.6", "trap", "off, or it is in a proxy_protocol.from"),
            ("127.0.0.5", "watch", "off, or it is in a proxy_protocol.from"),
        ):
            last = netd.ask("explain", f"from={peer}", f"to={where}/tcp")["checks"][-1]
            assert (last["name"], last["passes"], last["why"]) == ("options.ban", True, why)
        assert visit(netd.port("watch"), "127.0.0.7") == b""
        assert visit(netd.port("behind"), "127.0.0.6", b"PROXY TCP4 127.0.0.8 127.0.0.1 7 7\r\n") == b""
        banned = netd.event("source_banned")
        assert (banned["source"], banned["seconds"], banned["by"]) == ("127.0.0.8", 3600.0, "behind: sensor")

        assert visit(trap, "127.0.0.2") == b"login:\r\n"
        assert netd.event("source_banned")["source"] == "127.0.0.2"
        until(lambda: not echoes(echo, "127.0.0.2"))
        with socket.create_connection(("127.0.0.1", netd.port("secure", "tls")), 20, ("127.0.0.3", 0)):
            assert netd.event("source_banned")["source"] == "127.0.0.3", "no handshake was begun"

        for served in ("127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7"):
            assert echoes(echo, served)
            assert answers(netd.port("echo", "udp"), served)
        assert {(one["source"], one["why"], one["times"]) for one in netd.ask("ban", "list")["bans"]} == {
            ("127.0.0.2", "trap: sensor", 0),
            ("127.0.0.3", "secure: sensor", 0),
            ("127.0.0.8", "behind: sensor", 0),
        }
        assert netd.netd("ban", "remove", "127.0.0.2").returncode == 0
        assert echoes(echo, "127.0.0.2")
        for _ in range(2):
            assert visit(trap, "127.0.0.4") == b"login:\r\n"
        assert netd.stop() == 0
        told = [line["number"] for line in netd.lines if line.get("source") == "127.0.0.4"]
        assert sum(told) == 3, "those of the last minute too"


def visitor(address: str, service: str = "trap") -> Visitor:
    return Visitor(parse_address(address).hex(), service)


@pytest.mark.parametrize(
    ("visited", "seconds"),
    [
        (visitor("198.51.100.1"), 300.0),
        (visitor("198.51.100.1", "watch"), None),
        (visitor("198.51.100.1", "gone"), None),
        (visitor("198.51.100.1", "web"), None),
        (visitor("198.51.100.1", "other"), None),
        (visitor("192.0.2.7"), None),
        (visitor("2001:db8:1::5"), None),
        (visitor("2001:db8:2::5"), 300.0),
    ],
)
def test_config_says_how_long_a_visitor_is_banned(tmp_path: Path, visited: Visitor, seconds: float | None) -> None:
    (tmp_path / "netd.yaml").write_text(CONFIG)
    assert Sensors(load(tmp_path / "netd.yaml")).seconds(visited) == seconds


def test_flood_of_visitors_bans_a_bounded_number_at_a_time(
    tmp_path: Path, log: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netd.daemon.supervisor.bans._PAUSE", 3600.0)  # it ends by a call
    (tmp_path / "netd.yaml").write_text(CONFIG)
    state, loop = State(load(tmp_path / "netd.yaml")), Loop()
    sent: list[SetBans] = []

    def send(message: SetBans) -> Result[object]:
        sent.append(message)
        result: Result[object] = Result()
        result.set(None)
        return result

    manager = BanManager(state, DaemonEvents(), loop, send)

    def run() -> None:
        loop._running = True
        loop.call(lambda: loop.call(loop.stop))
        loop.run()

    state.bans.add(parse_address("10.0.0.1"), 9000.0, "netd ban add", time.monotonic())
    for number in range(50):
        manager.record(Visitors([visitor(f"10.0.{number}.{last}") for last in range(100)]))
    run()
    assert [len(one.bans) for one in sent] == [99], "one of a hundred was banned already"
    assert state.bans.until(parse_address("10.0.0.1"), time.monotonic() + 8000), "for longer"
    run()
    assert len(sent) == 1, "the next hundred waits"
    waiting = (MOST - MOST_VISITORS) // MOST_VISITORS
    for _ in range(waiting):
        manager._process_visitors()
    assert [len(one.bans) for one in sent] == [99, *[MOST_VISITORS] * waiting]
    manager._process_visitors()
    assert len(sent[-1].bans) == MOST % MOST_VISITORS, "no more wait than can be banned"
    manager._process_visitors()
    assert len(log) == MOST - 1
    manager.record(Visitors([visitor("10.2.0.1")]))
    run()
    assert list(sent[-1].bans) == [parse_address("10.2.0.1").hex()], "at once, after a pause without visitors"
    loop.close()
