"""tcpmux of a running netd: programs, threads, forwards and rooms behind one port, and reloads."""

import contextlib
import socket
from pathlib import Path

import pytest

from tests.daemon.configs import write
from tests.support.certificates import Authority, Issued
from tests.support.daemon import daemon
from tests.support.sockets import read_all, read_exactly
from tests.support.tls import client_context
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon

UPPER = """
import socketserver

class Upper(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())
"""


def ask(port: int, data: bytes) -> bytes:
    """All that comes for this and the end of file."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def test_services_of_all_kinds_are_reached_by_name_and_changed_by_a_reload(open_path: Path) -> None:
    (open_path / "upper.py").write_text(UPPER)
    script = 'read line; echo "$line from $REMOTE_HOST"'
    config = f"""
daemon: {{workers: 2}}
services:
  mux: {{type: tcpmux, listen: ["tcp://127.0.0.1:0"]}}
  pingpong: {{tcpmux: true, banner: hello}}
  cat: {{type: exec, tcpmux: {{plain: true}}, options: {{command: [/bin/cat]}}}}
  peer: {{type: exec, tcpmux: Peer, options: {{command: [/bin/sh, -c, '{script}']}}}}
  upper: {{type: python, tcpmux: true, options: {{class: "{open_path}/upper.py:Upper"}}}}
  target: {{type: echo, listen: ["unix://{open_path}/target"], tcpmux: true}}
  chat: {{tcpmux: true}}
  closed: {{type: echo, tcpmux: true, access: {{deny: [any]}}}}
"""
    with daemon(config, open_path) as netd:
        port = netd.port("mux")
        assert ask(port, b"HELP\r\n").split() == [b"cat", b"chat", b"closed", b"peer", b"pingpong", b"target", b"upper"]
        assert ask(port, b"pingpong\r\nping 1\n") == b"+\r\nhello\r\npong 1\n"
        assert ask(port, b"cat\r\nmiaow") == b"miaow"
        assert ask(port, b"peer\r\nit is\n") == b"+\r\nit is from 127.0.0.1\n"
        assert ask(port, b"upper\r\nhello\n") == b"+\r\nHELLO\n"
        assert ask(port, b"closed\r\nhello\n") == b"-not available\r\n"
        with contextlib.ExitStack() as clients:
            members = [
                clients.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(4)
            ]  # accepted by one worker, or they would be in two rooms
            for number, member in enumerate(members):
                member.sendall(b"chat\r\nm%d : hi\n" % number)
                assert read_exactly(member, 3) == b"+\r\n"
            status = {one["service"]: one for one in netd.ask("status")["services"]}
            assert status["chat"]["connections"] == 4
            assert status["mux"]["connections"] == 0
            assert status["closed"]["counters"]["connections_refused"] == {"access": 1}
        explained = netd.ask("explain", "from=192.0.2.7", "to=closed")
        assert (explained["to"], explained["decided_by"]) == ("closed/tcp", "access")
        with socket.create_connection(("127.0.0.1", port), 20) as old:
            old.sendall(b"target\r\nx")
            assert read_exactly(old, 4) == b"+\r\nx"
            changed = config.replace("banner: hello", "banner: bye").replace(
                "tcpmux: true}\n  chat", "tcpmux: other}\n  chat"
            )
            write(open_path, changed)
            assert "    tcpmux: true -> other\n" in netd.netd("diff").stdout
            assert netd.ask("reload")["ok"]
            assert ask(port, b"pingpong\r\nping 1\n") == b"+\r\nbye\r\npong 1\n"
            assert ask(port, b"target\r\nx") == b"-no such service\r\n"
            assert ask(port, b"other\r\nx") == b"+\r\nx"
            old.sendall(b"y")
            assert read_exactly(old, 1) == b"y", "a connection that was open stays as it is"
            assert netd.ask("disable", "upper")["ok"]
            assert ask(port, b"upper\r\nx") == b"-no such service\r\n"
            assert netd.ask("enable", "upper")["ok"]
            assert ask(port, b"upper\r\nx\n") == b"+\r\nX\n"

            write(open_path, changed.replace("mux: {type: tcpmux,", "mux: {type: tcpmux, enabled: false,"))
            assert netd.ask("reload")["ok"]
            with pytest.raises(ConnectionRefusedError):
                ask(port, b"other\r\nx")
            failed = netd.ask("explain", "from=192.0.2.7", "to=closed")
            assert failed["error"] == "'closed' has no listener, and no service of the type tcpmux is on"
            old.sendall(b"z")
            assert read_exactly(old, 1) == b"z", "it is that of its service"
        until(lambda: not any(one["connections"] for one in netd.ask("status")["services"]))


def test_certificate_rules_of_the_named_service_hold_for_the_client_of_tcpmux(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("server")
    named = authority.issue("named", ("web.ops.example",), client=True)
    other = authority.issue("other", ("web.other.example",), client=True)
    config = f"""
services:
  mux:
    type: tcpmux
    listen: [tls://127.0.0.1:0, tcp://127.0.0.1:0]
    tls: {{certificate: {files.certificate}, key: {files.key}, client_ca: {authority.certificate}, client: optional}}
  ops: {{type: echo, tcpmux: true, access: {{allow: [127.0.0.0/8, "san:dns:*.ops.example"]}}}}
  elsewhere: {{type: echo, tcpmux: true, access: {{allow: [192.0.2.0/24, "san:dns:*.ops.example"]}}}}
  all: {{type: echo, tcpmux: true}}
"""
    with daemon(config, tmp_path) as netd:
        port = netd.port("mux", "tls")

        def answer(service: bytes, certificate: Issued | None) -> bytes:
            with (
                socket.create_connection(("127.0.0.1", port), 20) as bare,
                client_context(authority, certificate=certificate).wrap_socket(
                    bare, server_hostname="localhost"
                ) as tls,
            ):
                tls.sendall(service + b"\r\nx")
                said = b""
                while not said.endswith((b"x", b"-not available\r\n")):
                    said += tls.recv(100) or pytest.fail(f"the end of file after {said!r}")
                return said

        assert answer(b"ops", named) == b"+\r\nx"
        assert netd.ask("explain", "from=127.0.0.1", "to=ops")["checks"][-1]["name"] == "certificate"
        for certificate in (other, None):
            assert answer(b"ops", certificate) == b"-not available\r\n"
            assert answer(b"all", certificate) == b"+\r\nx"
        refused = netd.event("connection_refused")
        assert (refused["service"], refused["reason"], refused["source"]) == ("ops", "certificate", "127.0.0.1")
        assert answer(b"elsewhere", named) == b"-not available\r\n"
        assert netd.event("connection_refused")["reason"] == "access", "both rules have to allow it"
        assert ask(netd.port("mux", "tcp"), b"ops\r\nx") == b"-not available\r\n", "without TLS there is no certificate"
        counted = {one["service"]: one["counters"]["connections_refused"] for one in netd.ask("status")["services"]}
        assert counted == {"mux": {}, "ops": {"certificate": 3}, "elsewhere": {"access": 1}, "all": {}}
