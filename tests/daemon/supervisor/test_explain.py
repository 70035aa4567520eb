"""`netd explain`, in daemons of real processes."""

import socket
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.waiting import until

EXPLAINED = """
daemon: {connections: 7}
bans: {exempt: [local, "2001:db8:1::7"]}
services:
  echo:
    listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://@{tmp}"]
    access: {allow: [10.0.0.0/8, local, "uid:root"], deny: [10.6.6.0/24]}
  behind:
    type: echo
    listen: [tcp://127.0.0.1:0, "unix://@{tmp}-behind"]
    access: {deny: [10.6.6.0/24]}
    proxy_protocol: {from: [10.0.0.1]}
  direct:
    type: echo
    listen: ["unix://@{tmp}-direct"]
    access: {deny: ["uid:0"]}
    proxy_protocol: {from: [10.0.0.1], others: direct}
  off: {type: echo, enabled: false, listen: [tcp://127.0.0.1:0]}
"""


@pytest.mark.slow
def test_explanation_names_the_check_that_decides(tmp_path: Path) -> None:
    with daemon(EXPLAINED.replace("{tmp}", str(tmp_path)), tmp_path) as running:
        assert running.ask("ban", "add", "10.1.1.1", "1h")["ok"]
        assert running.ask("ban", "add", "2001:db8:1::8", "1h")["ok"]
        own = running.port("echo", "udp")
        for peer, where, code, decided, why in (
            ("10.1.2.3:5353", "echo/udp", 0, None, "all checks pass"),
            ("10.1.2.3", "echo/tcp", 0, None, "all checks pass"),
            ("[::ffff:10.1.2.3]:5353", "echo", 0, None, "all checks pass"),
            ("[::1]:5353", "echo/udp", 0, None, "all checks pass"),
            ("10.1.2.3:53", "echo/udp", 1, "reply_guard", "source port below 1024"),
            (f"10.1.2.3:{own}", "echo/udp", 1, "reply_guard", "a UDP port of this netd"),
            ("224.0.0.1:5353", "echo/udp", 1, "reply_guard", "multicast"),
            ("10.6.6.6:5353", "echo/udp", 1, "access", "access.deny: 10.6.6.0/24"),
            ("2001:db8:1::8", "echo/tcp", 1, "bans", "(netd ban add,"),
            ("2001:db8:1::7", "echo/tcp", 1, "access", "not listed in access.allow"),
            ("2001:db8::7", "echo/tcp", 1, "access", "not listed in access.allow"),
            ("10.1.1.1:5353", "echo/tcp", 1, "bans", "(netd ban add,"),
            ("uid:0", "echo/unix", 0, None, "all checks pass"),
            ("uid:54321", "echo/unix", 0, None, "all checks pass"),
            ("gid:54321", "echo/unix", 0, None, "all checks pass"),
            ("10.6.6.6", "behind/tcp", 1, "access", "access.deny: 10.6.6.0/24"),
            ("10.1.2.3", "behind/tcp", 0, None, "all checks pass"),
            ("uid:0", "behind/unix", 1, "proxy_protocol", "not in proxy_protocol.from"),
            ("uid:0", "direct/unix", 1, "access", "access.deny: uid:0"),
            ("uid:1234", "direct/unix", 0, None, "all checks pass"),
            ("10.1.2.3", "off/tcp", 1, "enabled", "the service is disabled"),
        ):
            answer = running.ask("explain", f"from={peer}", f"to={where}")
            assert (answer["decided_by"], answer["served"]) == (decided, code == 0), answer
            assert why in answer["why"], answer
            assert answer["checks"][-1]["passes"] is (code == 0)
        done = running.netd("explain", "--from", "10.6.6.6:5353", "--to", "echo/udp")
        assert done.returncode == 1
        assert done.stdout.startswith("10.6.6.6:5353 at echo/udp is not served: access.deny: 10.6.6.0/24\n")
        assert "reply_guard  yes     answers are sent" in done.stdout
        done = running.netd("explain", "--from", "10.1.2.3", "--to", "behind/tcp")
        assert "proxy_protocol      yes     as the peer that a proxy names;" in done.stdout
        done = running.netd("explain", "--from", "10.0.0.1", "--to", "behind/tcp")
        assert "proxy_protocol      yes     a proxy:" in done.stdout
        done = running.netd("explain", "--from", "127.0.0.1", "--to", "echo/tcp", "--json")
        assert done.returncode == 0
        assert '"why": "0 of 7 in use"' in done.stdout
        assert "local: exempt from rate and per_source" in done.stdout


THREADS = """
from socketserver import BaseRequestHandler

class Stream(BaseRequestHandler):
    def handle(self):
        self.request.recv(1)

class Datagram(BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data, self.client_address)
"""
USERS = """
daemon: {threads: 9}
services:
  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  metrics: {listen: [tcp://127.0.0.1:0]}
  stream: {type: python, listen: [tcp://127.0.0.1:0], limits: {threads: 1}, options: {class: "FILE:Stream"}}
  datagram: {type: python, listen: [udp://127.0.0.1:0], limits: {threads: 2}, options: {class: "FILE:Datagram"}}
"""


@pytest.mark.slow
def test_explanation_has_the_threads_of_services_that_take_them(open_path: Path, tmp_path: Path) -> None:
    file = open_path / "x.py"
    file.write_text(THREADS)
    with daemon(USERS.replace("FILE", str(file)), tmp_path) as running:

        def threads(where: str) -> list[str]:
            checks = running.ask("explain", "from=10.1.2.3", f"to={where}")["checks"]
            return [check["why"] for check in checks if check["name"].endswith(".threads")]

        assert threads("echo/tcp") == threads("echo/udp") == []
        assert [len(threads(where)) for where in ("metrics/tcp", "datagram/udp")] == [2, 2]
        assert threads("stream/tcp") == ["0 of 1 in use", "0 of 9 in use"]
        with socket.create_connection(("127.0.0.1", running.port("stream"))):
            until(lambda: threads("stream/tcp") == ["1 of 1 in use"])
            answer = running.ask("explain", "from=10.1.2.3", "to=stream/tcp")
            assert (answer["served"], answer["decided_by"]) == (False, "limits.threads")


LISTENER = """
services:
  x:
    type: exec
    listen: [udp://127.0.0.1:0]
    access: {deny: [10.6.6.0/24]}
    options: {command: [/bin/cat], mode: listener}
"""


@pytest.mark.slow
def test_explanation_says_what_holds_for_a_program_that_listens(tmp_path: Path) -> None:
    with daemon(LISTENER, tmp_path) as running:
        answer = running.ask("explain", "from=127.0.0.1:53", "to=x/udp")
        assert answer["served"], "the reply guard would refuse the port"
        assert [check["name"] for check in answer["checks"]] == ["options.mode", "bans", "access"]
        assert answer["checks"][0]["why"].endswith("only bans and access hold, and not the reply guard")
        answer = running.ask("explain", "from=10.6.6.6", "to=x/udp")
        assert (answer["served"], answer["decided_by"]) == (False, "access")


@pytest.mark.slow
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
def test_explain_rejects_unknown_services_transports_and_invalid_peers(
    tmp_path: Path, peer: str, where: str, error: str
) -> None:
    with daemon(EXPLAINED.replace("{tmp}", str(tmp_path)), tmp_path) as running:
        done = running.netd("explain", "--from", peer, "--to", where)
        assert done.returncode == 64
        assert error in done.stderr
