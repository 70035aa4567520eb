"""Bans, explanations, warnings and the kernel's drops, in a daemon of real processes."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from netd.admission.access import NO_GROUPS
from netd.config.loader import load
from netd.daemon.messages.from_supervisor import SetBans
from netd.daemon.messages.from_worker import Offender
from netd.daemon.supervisor.bans import BanManager
from netd.daemon.supervisor.config_diff import from_nothing
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.errors import OpenError
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.activation import InheritedSocket
from netd.transport.listen import finish
from netd.transport.loop import Loop
from tests.daemon.clients import answers, echoes
from tests.support import Daemon, daemon, started, until

# Loopback is spared from bans and limits unless told otherwise.
BANNING = """
daemon: {workers: 2}
bans: {exempt: [], threshold: 5/m}
services:
  open: {type: echo, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  shut: {type: echo, listen: [tcp://127.0.0.1:0], access: {deny: [127.0.0.0/8]}}
"""


def test_a_source_that_keeps_being_refused_is_banned_everywhere_and_others_are_not(tmp_path: Path) -> None:
    with daemon(BANNING, tmp_path) as running:
        assert echoes(running.port("open"), "127.0.0.2")
        for _ in range(20):
            echoes(running.port("shut"), "127.0.0.2")
        banned = running.event("source_banned")
        assert (banned["source"], banned["seconds"], banned["by"]) == ("127.0.0.2", 60.0, "shut: access")
        until(lambda: not echoes(running.port("open"), "127.0.0.2"))  # each worker is told after the event
        assert echoes(running.port("open"), "127.0.0.3")
        assert answers(running.port("open", "udp"), "127.0.0.3")
        [ban] = running.ask("ban", "list")["bans"]
        assert (ban["source"], ban["times"], ban["why"]) == ("127.0.0.2", 1, "shut: access")
        assert running.ask("status")["bans"] == 1

        # It outlives a reload, and workers.
        assert running.ask("reload")["ok"]
        assert not echoes(running.port("open"), "127.0.0.2")
        for worker in running.ask("status")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        running.all_of(*["worker_lost", "worker_started"] * 2)
        assert not echoes(running.port("open"), "127.0.0.2")

        assert running.ask("ban", "remove", "127.0.0.2")["ok"]
        assert echoes(running.port("open"), "127.0.0.2")
        assert running.ask("status")["bans"] == 0
        status = {service["service"]: service for service in running.ask("status")["services"]}
        assert status["open"]["counters"]["refused"]["banned"] >= 3
        assert status["shut"]["counters"]["refused"]["access"] >= 6


def test_datagrams_in_somebodys_name_do_not_get_that_one_banned(tmp_path: Path) -> None:
    config = BANNING.replace("udp://127.0.0.1:0]", 'udp://127.0.0.1:0], limits: {exempt: [], rate: "udp 1/h"}')
    with daemon(config, tmp_path) as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.2", 0))
            for _ in range(1000):
                one.sendto(b"x", ("127.0.0.1", running.port("open", "udp")))
        until(lambda: running.ask("status")["services"][0]["counters"].get("dropped", {}).get("rate", 0) > 100)
        assert running.ask("ban", "list")["bans"] == []
        assert echoes(running.port("open"), "127.0.0.2")


def test_bans_by_hand(tmp_path: Path) -> None:
    with daemon("services: {echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n", tmp_path) as running:
        done = running.netd("ban", "list")
        assert (done.returncode, done.stdout) == (0, "no bans\n")
        done = running.netd("ban", "add", "127.0.0.9")
        assert (done.returncode, done.stderr) == (64, "netd: 127.0.0.9: listed in bans.exempt\n")
        done = running.netd("ban", "add", "2001:db8::7", "--for", "10m")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        done = running.netd("ban", "list")
        assert done.stdout.splitlines()[0].split() == ["SOURCE", "LEFT", "TIMES", "WHY"]
        assert done.stdout.splitlines()[1].startswith("2001:db8::/64")
        for arguments, code, error in (
            (
                ("add", "10.0.0.0/8"),
                64,
                "expected an address or an IPv6 /64, got '10.0.0.0/8'; access.deny takes networks",
            ),
            (("add", "192.0.2.7", "--for", "soon"), 64, "192.0.2.7: expected a duration such as 30s"),
            (("remove", "192.0.2.7"), 1, "192.0.2.7 is not banned"),
            (("remove", "x y"), 64, "expected a word without blanks, got 'x y'"),
        ):
            done = running.netd("ban", *arguments)
            assert done.returncode == code
            assert done.stderr.startswith(f"netd: {error}")
        assert running.netd("ban", "remove", "2001:db8::/64").returncode == 0
        assert running.event("source_unbanned")["source"] == "2001:db8::/64"


def test_a_ban_by_hand_is_in_force_at_once_also_for_datagrams(tmp_path: Path) -> None:
    with daemon(BANNING.replace("workers: 2", "workers: 1"), tmp_path) as running:
        tcp, udp = running.port("open"), running.port("open", "udp")
        assert echoes(tcp, "127.0.0.5")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind(("127.0.0.5", 0))
            one.settimeout(20)
            one.sendto(b"x", ("127.0.0.1", udp))
            assert one.recv(1) == b"x"
            # The worker remembers that this sender may, and has to forget it.
            assert running.ask("ban", "add", "127.0.0.5", "1h")["ok"]
            one.sendto(b"x", ("127.0.0.1", udp))
            until(lambda: running.ask("status")["services"][0]["counters"].get("dropped"))
        assert not echoes(tcp, "127.0.0.5")
        assert running.ask("status")["services"][0]["counters"]["dropped"] == {"banned": 1}
        assert running.netd("ban", "remove", "127.0.0.5").returncode == 0
        assert answers(udp, "127.0.0.5")


EXPLAINED = """
daemon: {connections: 7}
bans: {exempt: [local, "2001:db8:1::7"]}
services:
  echo:
    listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://@{tmp}"]
    access: {allow: [10.0.0.0/8, local, "uid:root"], deny: [10.6.6.0/24]}
  off: {type: echo, enabled: false, listen: [tcp://127.0.0.1:0]}
"""


def test_an_explanation_of_each_kind(tmp_path: Path) -> None:
    with daemon(EXPLAINED.replace("{tmp}", str(tmp_path)), tmp_path) as running:
        assert running.ask("ban", "add", "10.1.1.1", "1h")["ok"]
        assert running.ask("ban", "add", "2001:db8:1::8", "1h")["ok"]
        own = running.port("echo", "udp")
        for peer, where, code, decided, why in (
            ("10.1.2.3:5353", "echo/udp", 0, None, "nothing speaks against it"),
            ("10.1.2.3", "echo/tcp", 0, None, "nothing speaks against it"),
            ("[::ffff:10.1.2.3]:5353", "echo", 0, None, "nothing speaks against it"),
            ("[::1]:5353", "echo/udp", 0, None, "nothing speaks against it"),
            ("10.1.2.3:53", "echo/udp", 1, "reply_guard", "source port below 1024"),
            (f"10.1.2.3:{own}", "echo/udp", 1, "reply_guard", "a UDP port of this netd"),
            ("224.0.0.1:5353", "echo/udp", 1, "reply_guard", "multicast"),
            ("10.6.6.6:5353", "echo/udp", 1, "access", "access.deny: 10.6.6.0/24"),
            ("2001:db8:1::8", "echo/tcp", 1, "bans", "(netd ban add,"),
            ("2001:db8:1::7", "echo/tcp", 1, "access", "not listed in access.allow"),
            ("2001:db8::7", "echo/tcp", 1, "access", "not listed in access.allow"),
            ("10.1.1.1:5353", "echo/tcp", 1, "bans", "(netd ban add,"),
            ("uid:0", "echo/unix", 0, None, "nothing speaks against it"),
            ("uid:54321", "echo/unix", 0, None, "nothing speaks against it"),
            ("gid:54321", "echo/unix", 0, None, "nothing speaks against it"),
            ("10.1.2.3", "off/tcp", 1, "enabled", "the service is switched off"),
        ):
            answer = running.ask("explain", f"from={peer}", f"to={where}")
            assert (answer["decided_by"], answer["served"]) == (decided, code == 0), answer
            assert why in answer["why"], answer
            assert answer["checks"][-1]["passes"] is (code == 0)
        done = running.netd("explain", "--from", "10.6.6.6:5353", "--to", "echo/udp")
        assert done.returncode == 1
        assert done.stdout.startswith("10.6.6.6:5353 at echo/udp is not served: access, access.deny: 10.6.6.0/24\n")
        assert "reply_guard  yes     answers are sent" in done.stdout
        done = running.netd("explain", "--from", "127.0.0.1", "--to", "echo/tcp", "--json")
        assert done.returncode == 0
        assert '"why": "0 of 7 in use"' in done.stdout
        assert "local: exempt from rate and per_source" in done.stdout


@pytest.mark.parametrize(
    ("peer", "where", "error"),
    [
        ("10.1.2.3", "ecko/udp", "there is no service 'ecko'; did you mean 'echo'?"),
        ("10.1.2.3", "echo/unixgram", "'echo' serves tcp, udp, unix, not 'unixgram'"),
        ("10.1.2", "echo/udp", "expected an address such as 192.0.2.7 or 2001:db8::7, got '10.1.2'"),
        ("10.1.2.3:70000", "echo/udp", "expected a port from 0 to 65535, got 70000"),
        ("10.1.2.3", "echo/unix", "over a UNIX socket a peer is uid:NAME or gid:NAME"),
        ("uid:no-such-user", "echo/unix", "there is no user 'no-such-user'"),
        ("uid:99999999999", "echo/unix", "there is no user '99999999999'"),
        ("uid:²", "echo/unix", "there is no user '²'"),
        ("fe80::1%eth0:80", "echo/tcp", "expected an address such as"),
        ("nonsense", "off/tcp", "expected an address such as"),
        ("10.1.2.3", "off/udp", "'off' serves tcp, not 'udp'"),
        ("uid:0", "echo/tcp", "expected an address such as"),
    ],
)
def test_what_cannot_be_explained(tmp_path: Path, peer: str, where: str, error: str) -> None:
    with daemon(EXPLAINED.replace("{tmp}", str(tmp_path)), tmp_path) as running:
        done = running.netd("explain", "--from", peer, "--to", where)
        assert done.returncode == 64
        assert error in done.stderr


def test_connections_of_all_services_together_are_bounded_across_workers(tmp_path: Path) -> None:
    config = (
        "daemon: {connections: 3, workers: 2}\n"
        "services:\n  a: {type: echo, listen: [tcp://127.0.0.1:0]}\n  b: {type: echo, listen: [tcp://127.0.0.1:0]}\n"
    )
    with daemon(config, tmp_path) as running, contextlib.ExitStack() as stack:
        for name in ("a", "b", "a"):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", running.port(name)), 20))
            one.sendall(b"x")
            assert one.recv(1) == b"x"
        assert not echoes(running.port("b"))
        # It counts who is there now, so a reload can widen it, and a worker's end frees its share.
        (tmp_path / "netd.yaml").write_text(config.replace("connections: 3", "connections: 4"))
        assert running.ask("reload")["restart_needed"] == []
        assert echoes(running.port("b"))
        for worker in running.ask("status")["workers"]:
            os.kill(worker["pid"], signal.SIGKILL)
        running.all_of(*["worker_lost", "worker_started"] * 2)
        for _ in range(3):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", running.port("a")), 20))
            one.sendall(b"x")
            assert one.recv(1) == b"x"


def test_new_rules_hold_for_new_connections_and_a_new_port_is_guarded_at_once(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(20)
        port = probe.getsockname()[1]
        echo = ("127.0.0.1", running.port("echo", "udp"))
        probe.sendto(b"x", echo)
        assert probe.recv(1) == b"x"
        with socket.create_connection(("127.0.0.1", running.port("echo")), 20) as old:
            old.sendall(b"x")
            assert old.recv(1) == b"x"
            # The port of the probe, on another address, becomes one of our own.
            more = f"  more: {{type: echo, listen: ['udp://127.0.0.2:{port}']}}\n"
            (tmp_path / "netd.yaml").write_text(config.replace("[tcp", "[tcp") + more)
            assert running.ask("reload")["changes"] == {"more": "added"}
            probe.sendto(b"x", echo)
            until(lambda: running.ask("status")["services"][0]["counters"].get("dropped") == {"source_port": 1})
            denied = config.replace("]}", "], access: {deny: [127.0.0.1]}}")
            (tmp_path / "netd.yaml").write_text(denied)
            done = running.netd("diff")
            assert "    access.deny: [] -> [127.0.0.1]\n" in done.stdout
            assert running.ask("reload")["changes"] == {"echo": "changed", "more": "removed"}
            old.sendall(b"y")
            assert old.recv(1) == b"y"
        assert not echoes(running.port("echo"))
        assert echoes(running.port("echo"), "127.0.0.2")


def test_what_the_kernel_drops_is_counted(tmp_path: Path) -> None:
    listen = "['tcp://127.0.0.1:0?backlog=1', 'udp://127.0.0.1:0?rcvbuf=4096']"
    with daemon(f"daemon: {{heartbeat: 1h}}\nservices:\n  echo: {{listen: {listen}}}\n", tmp_path) as running:
        os.kill(running.worker, signal.SIGSTOP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.ExitStack() as stack:
            one.connect(("127.0.0.1", running.port("echo", "udp")))
            for _ in range(200):
                one.send(b"x" * 1000)
            for _ in range(8):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", running.port("echo")))
            counters = running.ask("status")["services"][0]["counters"]
            assert counters["dropped"]["kernel"] > 150
            assert counters["refused"]["backlog"] >= 1
            first = counters["dropped"]["kernel"]
            os.kill(running.worker, signal.SIGCONT)
            until(lambda: running.ask("status")["services"][0]["counters"].get("datagrams_in", 0) > 0)
            counters = running.ask("status")["services"][0]["counters"]
            assert counters["dropped"]["kernel"] == first
            assert counters["datagrams_in"] + first == 200
        assert running.event("datagrams_dropped")["reason"] == "kernel"


def test_a_guard_that_is_off_is_warned_of_at_the_start_and_after_a_reload(tmp_path: Path) -> None:
    config = (
        "services:\n  echo: {reply_guard: false, listen: [udp://127.0.0.1:0]}\n"
        "  tcp: {type: echo, reply_guard: false, listen: [tcp://127.0.0.1:0]}\n"
    )
    (tmp_path / "netd.yaml").write_text(config)
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        warning = running.event("reply_guard_disabled")
        assert (warning["level"], warning["service"]) == ("warning", "echo")
        running.event("netd_ready")
        assert running.ask("reload")["ok"]
        assert running.event("reply_guard_disabled")["service"] == "echo"
        assert running.stop() == 0
        assert {line["service"] for line in running.lines if line["event"] == "reply_guard_disabled"} == {"echo"}


def test_limits_that_need_more_descriptors_than_there_are_are_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits, needed in (("connections: 5000", 5000), ("connections: 'off'", None)):
        file.write_text(
            "daemon: {connections: off}\n"
            f"services:\n  echo: {{listen: [tcp://127.0.0.1:0], limits: {{{limits}}}}}\n"
            "  more: {type: echo, listen: [tcp://127.0.0.1:0], limits: {connections: 10}}\n"
        )
        for limit in ("1000", str(hard)):
            command = ["sh", "-c", f"ulimit -n {limit}; exec {sys.executable} -m netd run -c {file}"]
            with started(*command, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr
                lines = []
                for line in process.stderr:
                    lines.append(line)
                    if "netd_ready" in line:
                        break
                process.terminate()
                process.stderr.read()
                process.wait(20)
            told = [line for line in map(json.loads, lines) if line["event"] == "descriptors_limited"]
            if limit == "1000" or needed is None:
                assert [line["limit"] for line in told] == [int(limit)]
                assert needed is None or told[0]["needed"] != needed + 10
            else:
                assert told == []


@pytest.mark.slow
def test_rules_that_many_services_share_are_made_ready_once(tmp_path: Path) -> None:
    prefixes = ", ".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(10_000))
    services = "".join(f"  e{n}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n" for n in range(40))
    config = f"services:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n{services}"
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        worker = running.worker
        (tmp_path / "netd.yaml").write_text(f"defaults: {{access: {{deny: [{prefixes}]}}}}\n{config}")
        answer = running.ask("reload")
        assert len(answer["changes"]) == 41
        assert [one["pid"] for one in running.ask("status")["workers"]] == [worker]
        assert not running.ask("explain", "from=10.39.15.7", "to=e39/tcp")["served"]
        assert echoes(running.port("echo"))


def test_diff_and_reload_tell_of_settings_too(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    with daemon(config, tmp_path) as running:
        changed = "daemon: {connections: 3}\nbans: {duration: 5s, exempt: [local, 10.0.0.0/8]}\nlog: {level: warning}\n"
        (tmp_path / "netd.yaml").write_text(
            changed + config.replace("]}", "], refuse: {line: weg}, reply_guard: false}")
        )
        wanted = [
            "daemon.connections: 16384 -> 3",
            "log.level: info -> warning",
            "bans.duration: 60s -> 5s",
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


def test_a_worker_that_talks_nonsense_bans_nobody_and_costs_little(
    tmp_path: Path, log: list[dict[str, object]]
) -> None:
    (tmp_path / "netd.yaml").write_text("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    state = State(load(tmp_path / "netd.yaml"))
    loop = Loop()
    told: list[SetBans] = []

    def tell(message: SetBans) -> Result[object]:
        told.append(message)
        result: Result[object] = Result()
        result.set(None)
        return result

    manager = BanManager(state, DaemonEvents(), loop, tell)
    for number in range(5000):
        manager.record_offender(Offender(f"c0{number:06x}", "echo", "rate"))
    loop.call(loop.stop)
    loop.run()
    assert len(told) == 1
    assert len(state.bans.active(time.monotonic())) == 1000
    nonsense = [
        Offender("c0ffffff", "other", "rate"),
        Offender("7f000001", "echo", "rate"),  # exempt
    ]
    for offender in nonsense:
        manager.record_offender(offender)
    loop._running = True
    loop.call(loop.stop)
    loop.run()
    loop.close()
    assert len(told) == 1
    assert len(state.bans.active(time.monotonic())) == 1000
    assert len(log) == 1000


def test_gid_rules_cannot_hold_on_a_datagram_socket_of_the_service_manager_either(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as handed:
        handed.bind(str(tmp_path / "s"))
        listeners = Listeners([InheritedSocket("x", handed)], lambda *skipped: None, lambda *failed: None)
        for access, problem in (
            ("", None),
            (", access: {deny: ['gid:27']}", f"services.echo: unixgram://{tmp_path}/s: {NO_GROUPS}"),
            (", access: {deny: ['uid:27']}", None),
        ):
            file.write_text(f"services:\n  echo: {{listen: ['systemd://x']{access}}}\n")
            if problem:
                with pytest.raises(OpenError) as raised:
                    finish(listeners.prepare(finish(from_nothing(load(file)))))
                assert raised.value.problems == (problem,)
            else:
                listeners.commit(finish(listeners.prepare(finish(from_nothing(load(file))))))
        listeners.close()
