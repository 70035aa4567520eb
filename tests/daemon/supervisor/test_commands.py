"""The commands of the control socket: their answers, and the output of `netd`."""

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest

from netd.accounts import user_name
from netd.daemon.messages.from_worker import MOST_PEERS, PeerList, PeerRow
from netd.daemon.supervisor.commands import merged_peers
from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.support.daemon import daemon
from tests.support.sockets import read_exactly

CONFIG = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n  off: {type: upper, enabled: false, listen: [tcp://*:0]}\n"


def row(peer: str, connections: int, bytes_in: int = 0, bytes_out: int = 0) -> PeerRow:
    return PeerRow(peer, connections, bytes_in, bytes_out)


def test_peers_of_all_workers_are_summed_and_bounded() -> None:
    many = [row(f"192.0.2.{number}", 2) for number in range(MOST_PEERS)]
    first = PeerList(1000, [row("::1", 3, 10, 1), *many])
    second = PeerList(20, [row("::2", 7, 5, 5), row("::1", 5, 20, 2), row("::3", 1)])
    merged = merged_peers([first, second])
    assert merged["total"] == 1020
    assert merged["peers"][:2] == [
        {"peer": "::1", "connections": 8, "received_bytes": 30, "sent_bytes": 3},
        {"peer": "::2", "connections": 7, "received_bytes": 5, "sent_bytes": 5},
    ]
    assert len(merged["peers"]) == MOST_PEERS
    assert merged_peers([]) == {"total": 0, "peers": []}


@pytest.mark.slow
def test_diff_and_reload_list_changed_settings(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running:
        changed = "daemon: {connections: 3}\nbans: {duration: 5s, exempt: [local, 10.0.0.0/8]}\nlog: {level: warning}\n"
        (tmp_path / "netd.yaml").write_text(
            changed + config.replace("]}", "], refuse: {line: weg}, reply_guard: false}")
        )
        wanted = [
            "daemon.connections: 16384 -> 3",
            "log.level: info -> warning",
            "bans.duration: 1m -> 5s",
            "bans.exempt: [local] -> [local, 10.0.0.0/8]",
        ]
        done = running.netd("diff")
        assert done.stdout.splitlines() == [
            "echo: changed",
            '    refuse: close -> {"line": "weg"}',
            "    reply_guard: true -> false",
            *wanted,
        ]
        assert running.ask("reload")["settings"] == wanted
        assert running.ask("diff")["settings"] == []
        assert not running.ask("explain", "from=10.1.1.1", "to=echo")["checks"][-1]["why"].startswith("banned")


@pytest.mark.slow
def test_diff_lists_the_changes_of_a_reload_and_applies_none(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n  upper: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, talking(running.port("echo")) as live:
        assert running.netd("diff").stdout == "nothing would change\n"
        write(
            tmp_path,
            "daemon: {chroot: /}\nservices:\n  echo: {enabled: false, listen: [tcp://127.0.0.1:0]}\n"
            f"  upper: {{listen: ['unix://{tmp_path}/u'], limits: {{idle: 1m}}}}\n"
            "  time: {listen: [tcp://127.0.0.1:0]}\n",
        )
        assert running.netd("diff").stdout.splitlines() == [
            "echo: disabled; its live connection has limits.drain to finish",
            "time: added",
            "upper: changed",
            "    limits.idle: 5m -> 1m",
            "    -tcp://127.0.0.1:0",
            f"    +unix://{tmp_path}/u",
            "daemon.chroot: changed; needs a restart",
        ]
        assert json.loads(running.netd("diff", "--json").stdout)["changes"][0]["connections"] == 1
        echoed(live, b"still\n")
        assert running.ask("status")["generation"] == 1


@pytest.mark.slow
def test_commands_list_and_close_connections(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            lines = running.netd("status").stdout.splitlines()
            assert lines[0].startswith("netd 0.1.0, pid ")
            assert lines[1] == f"config {tmp_path}/netd.yaml, generation 1"
            assert lines[3].split() == (
                ["SERVICE", "ENDPOINT", "OPEN", "REQUESTS", "REFUSED", "DROPPED", "FAILED", "STATE"]
            )
            assert lines[4].split() == ["echo", running.url("echo"), "1", "1", "0", "0", "0", "on"]
            assert lines[6].startswith("off (by the config): ")
            [row] = json.loads(running.netd("connections", "--service", "echo", "--json").stdout)["connections"]
            assert (row["received_bytes"], row["service"]) == (1, "echo")
            assert running.netd("connections", "--peer", "192.0.2.0/24").stdout == "no connections\n"
            assert running.netd("kick", row["id"]).stdout == "1 connection closed\n"
            assert connection.recv(1) == b""
            assert running.netd("kick", row["id"]).returncode == 1
            assert running.netd("kick", "--service", "ecoh").stderr == (
                "netd: there is no service 'ecoh'; did you mean 'echo'?\n"
            )
        running.all_of("connection_closed", "connections_kicked", "connections_kicked")  # of two processes
        assert [line["outcome"] for line in running.lines if line["event"] == "connection_closed"] == ["kicked"]
        kicked = [(line["number"], line["by"]) for line in running.lines if line["event"] == "connections_kicked"]
        by = f"netd kick, {user_name(os.geteuid())}"
        assert kicked == [(1, by), (0, by)]


@pytest.mark.slow
def test_peers_are_listed_by_their_number_of_connections(tmp_path: Path) -> None:
    path = f"{tmp_path}/x.sock"
    config = f"""
daemon: {{workers: 2}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, "unix://{path}"]}}
  upper: {{listen: [tcp://127.0.0.1:0]}}
"""
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as held:
        sources = [*[f"127.0.1.{number}" for number in range(1, 120)], *["127.0.0.2"] * 30, *["127.0.0.3"] * 20]
        for service, source in [*(("echo", source) for source in sources), ("upper", "127.0.0.3")]:
            connection = socket.create_connection(("127.0.0.1", running.port(service)), 10, (source, 0))
            held.enter_context(connection).sendall(b"x\n")
            assert read_exactly(connection, 2)
        for number in range(3):
            connection = held.enter_context(socket.socket(socket.AF_UNIX))
            if number:
                connection.bind(f"{tmp_path}/\x1b{number}")
            connection.connect(path)
            connection.sendall(b"xyz\n")
            assert read_exactly(connection, 4) == b"xyz\n"
        answer = running.ask("peers")
        assert (answer["total"], len(answer["peers"])) == (173, 100)
        assert answer["peers"][:2] == [
            {"peer": "127.0.0.2", "connections": 30, "received_bytes": 60, "sent_bytes": 60},
            {"peer": "127.0.0.3", "connections": 21, "received_bytes": 42, "sent_bytes": 42},
        ]
        unix = {f"uid={os.geteuid()}", f"{tmp_path}/\\x1b1", f"{tmp_path}/\\x1b2"}
        assert unix < {peer["peer"] for peer in answer["peers"]}, "of equal ones those that moved more come first"
        [peer] = running.ask("peers", "service=upper")["peers"]
        assert (peer["peer"], peer["connections"]) == ("127.0.0.3", 1)
        assert running.ask("peers", "service=uper")["error"] == ("there is no service 'uper'; did you mean 'upper'?")


@pytest.mark.slow
def test_peer_is_selected_by_address_in_any_form_by_network_and_by_its_text_in_a_list(tmp_path: Path) -> None:
    path = f"{tmp_path}/x.sock"
    config = f'services: {{echo: {{listen: [tcp://127.0.0.1:0, "unix://{path}"]}}}}'
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as held:
        connection = socket.create_connection(("127.0.0.1", running.port("echo")), 10, ("127.0.0.2", 0))
        connections = [held.enter_context(connection), held.enter_context(socket.socket(socket.AF_UNIX))]
        connections[1].connect(path)
        for connection in connections:
            connection.sendall(b"x")
            assert read_exactly(connection, 1) == b"x"
        port = connections[0].getsockname()[1]
        forms = (
            *("127.0.0.2", "127.0.0.0/24", "127.0.0.2/24", f"127.0.0.2:{port}"),
            *("::ffff:127.0.0.2", "::FFFF:7f00:2", "::ffff:127.0.0.0/120", "[::ffff:127.0.0.2]"),
            f"[::ffff:127.0.0.2]:{port}",
        )
        for form in forms:
            [row] = json.loads(running.netd("connections", "--peer", form, "--json").stdout)["connections"]
            assert row["peer"] == f"127.0.0.2:{port}", form
        for form in ("::/0", "127.0.0.2:1", "::ffff:127.0.0.3", "[::ffff:127.0.0.2]:1"):
            assert running.netd("connections", "--peer", form).stdout == "no connections\n", form
        for peer in running.ask("peers")["peers"]:
            answer = json.loads(running.netd("connections", "--peer", peer["peer"], "--json").stdout)
            assert answer["total"] == 1, peer
        for form in ("::ffff:127.0.0.0/120", f"uid={os.geteuid()}"):
            assert running.netd("kick", "--peer", form).stdout == "1 connection closed\n", form
        assert [connection.recv(1) for connection in connections] == [b"", b""]


@pytest.mark.slow
def test_service_is_enabled_and_disabled_until_the_next_reload(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:

        def why() -> dict[str, str]:
            return {service["service"]: service["why"] for service in running.ask("status")["services"]}

        port = running.port("echo")
        for words in (("disable", "echo"), ("enable", "off")):
            answer = running.ask(*words)
            assert (answer["changed"], answer["until_reload"]) == (True, True)
            assert running.ask(words[0], words[1])["changed"] is False
        assert running.event("service_enabled")["service"] == "off"
        assert why() == {
            "echo": "by netd disable, until the next reload",
            "off": "by netd enable, until the next reload",
        }
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for words in (("enable", "echo"), ("disable", "off")):
            answer = running.ask(*words)
            assert (answer["changed"], answer["until_reload"]) == (True, False)
        assert running.ask("disable", "echo")["until_reload"] is True
        assert running.netd("reload").returncode == 0
        assert why() == {"echo": "", "off": "by the config"}
        assert running.netd("enable", "ecoh").stderr == "netd: there is no service 'ecoh'; did you mean 'echo'?\n"


@pytest.mark.slow
def test_log_level_changes_at_once_and_until_the_next_reload(tmp_path: Path) -> None:
    with daemon(CONFIG, tmp_path) as running:
        assert running.netd("log-level", "debug").returncode == 0
        running.event("log_level_changed")
        socket.create_connection(("127.0.0.1", running.port("echo"))).close()
        while (closed := running.event("connection_closed"))["service"] == "control":
            pass
        assert (closed["level"], closed["service"]) == ("debug", "echo")
        change = "log.level: debug -> info"
        assert running.netd("diff").stdout == f"{change}\n"
        assert running.netd("reload").stdout == f"{change}\ngeneration 2 of the config is in force\n"
        assert running.event("reload_applied")["settings"] == [change]
        assert running.netd("log-level").stdout == "info\n"
        assert running.netd("diff").stdout == "nothing would change\n"
