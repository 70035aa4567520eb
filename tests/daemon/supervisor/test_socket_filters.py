"""Address rules and bans at the listeners that programs have, with real programs, daemons and kernels."""

import contextlib
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.errors import EXIT_CONFIG, EXIT_OSERR
from netd.transport.socket_filter import may_attach_to_tcp
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import need, need_root
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow

UDP = """
import os, socket
udp = socket.socket(fileno=3)
while True:
    data, peer = udp.recvfrom(100)
    udp.sendto(b"%d " % os.getpid() + data, peer)
"""
LOCKING = UDP.replace("while", "udp.setsockopt(socket.SOL_SOCKET, 44, 1)\nwhile")  # SO_LOCK_FILTER
TCP = """
import os, socket
listener = socket.socket(fileno=3)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"%d" % os.getpid())
    connection.close()
"""

Access = dict[str, list[str]]


def config(program: str, access: Access, scheme: str = "udp", port: int | None = None) -> str:
    """The config of a program that has a listener, as root where netd is, since this checkout may be for root alone."""
    # Python finds its library by argv0.
    options = {"command": [sys.executable, "-ISc", program], "argv0": sys.executable, "mode": "listener"}
    if os.geteuid() == 0:
        options["user"] = "root"
    listen = [f"{scheme}://127.0.0.1:{free_port() if port is None else port}"]
    service = {"type": "exec", "listen": listen, "access": access, "options": options}
    return json.dumps({"bans": {"exempt": []}, "services": {"program": service}})


class Clients:
    """UDP clients with the addresses 127.0.0.1 to 127.0.0.4."""

    HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")

    def __init__(self, running: Daemon, stack: contextlib.ExitStack) -> None:
        self._to = ("127.0.0.1", running.port("program", "udp"))
        self._sockets: dict[str, socket.socket] = {}
        self._numbers = itertools.count()
        self.pid = 0
        for host in self.HOSTS:
            self._sockets[host] = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self._sockets[host].bind((host, 0))

    def served(self, witness: str, rounds: int = 1) -> list[str]:
        """The hosts that get an answer to each of so many datagrams. ``witness`` gets one; all others may not.

        The program answers in the order in which datagrams came, so what was sent before the last one of the witness
        was answered before, or never is.
        """
        sent = [f"{next(self._numbers)}".encode() for _ in range(rounds)]
        for data in sent:
            for host in (*(one for one in self.HOSTS if one != witness), witness):
                self._sockets[host].sendto(data, self._to)
        found = []
        for host in (witness, *(one for one in self.HOSTS if one != witness)):
            client = self._sockets[host]
            client.settimeout(20 if host == witness else 0)
            answers: list[bytes] = []
            with contextlib.suppress(BlockingIOError):
                while len(answers) < rounds:
                    pid, _, data = client.recv(100).rpartition(b" ")
                    if data in sent:  # else it is late
                        answers.append(data)
                        self.pid = int(pid or 0)
            assert answers in ([], sent)
            if answers:
                found.append(host)
        return sorted(found)


@contextlib.contextmanager
def clients(running: Daemon) -> Iterator[Clients]:
    with contextlib.ExitStack() as stack:
        yield Clients(running, stack)


def test_each_datagram_is_judged_also_with_rules_that_change_while_the_program_runs(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    rules: Access = {"allow": ["127.0.0.1"], "deny": ["127.0.0.2"]}
    with daemon(config(UDP, rules, port=port), tmp_path) as running, clients(running) as all_of:
        assert all_of.served("127.0.0.1", rounds=50) == ["127.0.0.1"]
        pid = all_of.pid
        for access, expected in (
            ({"deny": ["127.0.0.2"]}, ["127.0.0.1", "127.0.0.3", "127.0.0.4"]),
            ({}, [*Clients.HOSTS]),
            ({"allow": ["127.0.0.2/31"]}, ["127.0.0.2", "127.0.0.3"]),
        ):
            write(tmp_path, config(UDP, access, port=port))
            assert running.netd("reload").returncode == 0
            assert all_of.served(expected[-1], rounds=10) == expected
        assert all_of.pid == pid, "rules are no reason to end a program"
        counters = running.ask("status")["services"][0]["counters"]
        assert counters["datagrams_dropped"] == {}, "what a filter discards is no full queue"
        assert running.ask("explain", "from=127.0.0.1:5000", "to=program/udp")["decided_by"] == "access"


def test_ban_holds_soon_and_ends_by_itself_or_by_command(tmp_path: Path) -> None:
    with daemon(config(UDP, {}), tmp_path) as running, clients(running) as all_of:
        others = ["127.0.0.1", "127.0.0.3", "127.0.0.4"]
        assert all_of.served("127.0.0.1") == [*Clients.HOSTS]
        assert running.ask("ban", "add", "127.0.0.2", "1h")["ok"]
        until(lambda: all_of.served("127.0.0.1") == others)
        assert running.ask("explain", "from=127.0.0.2:5000", "to=program/udp")["decided_by"] == "bans"
        assert running.ask("ban", "remove", "127.0.0.2")["ok"]
        until(lambda: all_of.served("127.0.0.1") == [*Clients.HOSTS])
        for host in ("127.0.0.2", "127.0.0.3"):
            assert running.ask("ban", "add", host, "2s")["ok"]
        until(lambda: all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.4"])
        until(lambda: all_of.served("127.0.0.1") == [*Clients.HOSTS])
        assert running.ask("ban", "list")["bans"] == []


def test_ban_is_in_force_at_a_listener_that_a_reload_opens(tmp_path: Path) -> None:
    with daemon("bans: {exempt: []}\nservices: {}\n", tmp_path) as running:
        assert running.ask("ban", "add", "127.0.0.2", "1h")["ok"]
        write(tmp_path, config(UDP, {}))
        assert running.netd("reload").returncode == 0
        running.event("listening")
        with clients(running) as all_of:
            assert all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.3", "127.0.0.4"]


def test_service_of_another_type_has_no_filter(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    echo = f"bans: {{exempt: []}}\nservices: {{program: {{type: echo, listen: ['udp://127.0.0.1:{port}']}}}}\n"
    with daemon(echo, tmp_path) as running, clients(running) as all_of:
        assert all_of.served("127.0.0.1") == [*Clients.HOSTS]
        for _ in range(2):
            write(tmp_path, config(UDP, {"deny": ["127.0.0.2"]}, port=port))
            assert running.netd("reload").returncode == 0
            assert all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.3", "127.0.0.4"]
            assert all_of.pid
            write(tmp_path, echo)
            assert running.netd("reload").returncode == 0
            all_of.pid = 0
            until(lambda: all_of.served("127.0.0.1") == [*Clients.HOSTS] and not all_of.pid)


def test_program_that_locks_the_filter_is_reported_once(tmp_path: Path) -> None:
    with daemon(config(LOCKING, {"deny": ["127.0.0.2"]}), tmp_path) as running, clients(running) as all_of:
        served = all_of.served("127.0.0.1")
        assert served == ["127.0.0.1", "127.0.0.3", "127.0.0.4"]
        assert running.ask("ban", "add", "127.0.0.3", "1h")["ok"]
        failed = running.event("filter_failed")
        assert failed["error"] == os.strerror(errno.EPERM)
        assert failed["endpoint"] == running.url("program", "udp")
        explained = running.ask("explain", "from=127.0.0.3:5000", "to=program/udp")
        assert explained["served"]
        assert "cannot be attached" in str(explained["checks"])
        assert running.ask("ban", "add", "127.0.0.4", "2s")["ok"]
        until(lambda: len(running.ask("ban", "list")["bans"]) == 1)
        assert all_of.served("127.0.0.1") == served
        assert running.netd("disable", "program").returncode == 0
        assert running.netd("enable", "program").returncode == 0
        with clients(running) as again:
            assert again.served("127.0.0.1") == ["127.0.0.1", "127.0.0.4"]
    assert [line["event"] for line in running.lines].count("filter_failed") == 1


# TCP.


def connects(stack: contextlib.ExitStack, port: int, host: str) -> bool:
    """Whether the handshake of a client is answered: over loopback at once, or it is discarded."""
    client = stack.enter_context(socket.socket())
    client.bind((host, 0))
    client.setblocking(False)
    assert client.connect_ex(("127.0.0.1", port)) in (0, errno.EINPROGRESS)
    with socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.1", 0)) as witness:
        assert int(witness.recv(20))
    with contextlib.suppress(OSError):
        client.getpeername()
        return True
    return False


def test_clients_of_a_tcp_listener_are_judged_where_netd_has_the_right(tmp_path: Path) -> None:
    if not may_attach_to_tcp():
        need_root()
        pytest.skip("needs CAP_NET_ADMIN")
    with daemon(config(TCP, {"deny": ["127.0.0.2"]}, "tcp"), tmp_path) as running, contextlib.ExitStack() as stack:
        port = running.port("program")
        assert [connects(stack, port, host) for host in ("127.0.0.2", "127.0.0.3")] == [False, True]
        assert running.ask("ban", "add", "127.0.0.3", "1h")["ok"]
        until(lambda: not connects(stack, port, "127.0.0.3"))
        assert running.refusals("program") == 0
    assert not {"filter_refused", "filter_failed"} & {line["event"] for line in running.lines}


def test_without_the_right_rules_are_refused_over_tcp_and_filter_refused(tmp_path: Path) -> None:
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        need("setpriv")
        prefix = ("setpriv", "--bounding-set=-net_admin")
    asked = "from netd.transport.socket_filter import may_attach_to_tcp; print(may_attach_to_tcp())"
    answer = subprocess.run([*prefix, sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    if answer.stdout == "True\n":
        pytest.skip("this kernel lets any user attach a filter to a TCP socket")
    file = tmp_path / "netd.yaml"
    file.write_text(config(TCP, {"deny": ["127.0.0.2"]}, "tcp"))
    with Daemon("-c", str(file), command=prefix) as refused:
        assert refused.process.wait(20) == EXIT_CONFIG
        assert "CAP_NET_ADMIN" in refused.next_event()["line"]
    file.write_text(config(TCP, {}, "tcp"))
    with Daemon("-c", str(file), command=prefix) as running, contextlib.ExitStack() as stack:
        running.event("netd_started")
        [warning] = [line for line in running.lines if line["event"] == "filter_refused"]
        assert (warning["service"], warning["endpoint"]) == ("program", running.url("program"))
        assert running.ask("ban", "add", "127.0.0.3", "1h")["ok"]
        explained = running.ask("explain", "from=127.0.0.3", "to=program/tcp")
        assert explained["served"]
        assert "cannot be attached" in str(explained["checks"])
        assert connects(stack, running.port("program"), "127.0.0.3")
        assert running.netd("reload").returncode == 0
        assert running.stop() == 0
    assert [line["event"] for line in running.lines].count("filter_refused") == 1


# Memory.

MEMORY = Path("/proc/sys/net/core/optmem_max")  # of a network namespace since Linux 6.8


def test_bans_without_memory_are_left_out_those_first_that_end_first(tmp_path: Path) -> None:
    need_root()

    def check() -> None:
        if not MEMORY.exists():
            pytest.skip("before Linux 6.8 the limit is one of the whole host")
        MEMORY.write_text("6000")
        with daemon(config(UDP, {"deny": ["127.0.0.4"]}), tmp_path) as running, clients(running) as all_of:
            assert running.ask("ban", "add", "127.0.0.2", "1h")["ok"]
            until(lambda: all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.3"])
            for number in range(300):
                assert running.ask("ban", "add", f"10.0.{number // 100}.{2 * (number % 100)}", "2h")["ok"]
            assert running.ask("ban", "add", "127.0.0.3", "3h")["ok"]
            left = running.event("filter_limited")
            assert left["number"] > 0 < left["limit"]
            assert "net.core.optmem_max" in left["advice"]
            until(lambda: all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.2"])
            assert "no room" in str(running.ask("explain", "from=127.0.0.2:5000", "to=program/udp")["checks"])
        events = [line["event"] for line in running.lines]
        assert (events.count("filter_limited"), events.count("filter_failed")) == (1, 0)

    in_namespace(check)


def test_rules_without_memory_are_refused_before_anything_changes(tmp_path: Path) -> None:
    need_root()

    def check() -> None:
        if not MEMORY.exists():
            pytest.skip("before Linux 6.8 the limit is one of the whole host")
        port = free_port(socket.SOCK_DGRAM)
        large = config(UDP, {"deny": [f"10.{n}.0.0/16" for n in range(0, 256, 2)]}, port=port)
        with daemon(config(UDP, {"deny": ["127.0.0.2"]}, port=port), tmp_path) as running, clients(running) as all_of:
            MEMORY.write_text("3000")
            write(tmp_path, large)
            refused = running.netd("reload")
            assert refused.returncode == EXIT_OSERR
            assert "services.program.access: there is no memory" in refused.stderr
            assert all_of.served("127.0.0.1") == ["127.0.0.1", "127.0.0.3", "127.0.0.4"]
        checked = running.netd("check", "--system", "-c", str(tmp_path / "netd.yaml"))
        assert checked.returncode == EXIT_OSERR
        assert "net.core.optmem_max" in checked.stderr

    in_namespace(check)
