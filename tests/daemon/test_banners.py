"""Banners of a running netd: before programs, from files that a reload reads again."""

import socket
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.sockets import read_all

pytestmark = pytest.mark.slow  # a daemon


def answer(port: int, data: bytes = b"ping 1\n") -> bytes:
    """All that a service sends in answer to ``data``."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client)


def test_banners_are_sent_by_verdict_and_a_reload_reads_their_files(open_path: Path) -> None:
    motd = open_path / "motd"
    motd.write_bytes(b"first \xff\n")
    config = f"""
services:
  pingpong: {{listen: ["tcp://127.0.0.1:0"], banner: {{always: hello, accepted: {{file: {motd}}}, refused: go}}}}
  closed: {{type: echo, listen: ["tcp://127.0.0.1:0"], banner: {{file: {motd}}}, access: {{deny: [any]}}}}
  cat: {{type: exec, listen: ["tcp://127.0.0.1:0"], banner: {{accepted: a program}}, options: {{command: [/bin/cat]}}}}
  plain: {{type: echo, listen: ["tcp://127.0.0.1:0"]}}
"""
    with daemon(config, open_path) as netd:
        pingpong = netd.port("pingpong")
        assert answer(pingpong) == b"hello\r\nfirst \xff\npong 1\n"
        assert answer(netd.port("closed"), b"") == b"first \xff\n"
        assert answer(netd.port("cat"), b"miaow") == b"a program\r\nmiaow"
        assert answer(netd.port("plain"), b"as it is") == b"as it is"

        with socket.create_connection(("127.0.0.1", pingpong), 20) as old:
            assert old.recv(100).startswith(b"hello")
            motd.write_bytes(b"second\n")
            assert netd.netd("diff").stdout.count("    banner: changed files\n") == 2
            assert netd.ask("reload")["ok"]
            assert answer(pingpong) == b"hello\r\nsecond\npong 1\n"
            old.sendall(b"ping 2\n")
            assert old.recv(100) == b"pong 2\n", "a connection that was open stays as it is"

        motd.unlink()
        refused = netd.ask("reload")
        assert refused["exit_code"] == 78
        assert "banner" in refused["problems"][0]
        assert answer(pingpong) == b"hello\r\nsecond\npong 1\n"

        attached = netd.netd("talk", "--service", "pingpong", "--every", "1s", "--send", "ping 3", "--count", "1")
        assert "hello" in attached.stdout
