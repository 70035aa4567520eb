"""Banners, tcpmux and a sensor of Debian's xinetd, and of netd after the import: the same octets, and the same bans."""

import contextlib
import re
import socket
from pathlib import Path

import pytest

from netd.importers.account import Account
from netd.importers.host import Host
from netd.importers.xinetd import convert
from netd.importers.yaml_text import render
from tests.support.daemon import daemon
from tests.support.programs import need, need_root, started
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon, and xinetd

NAMES = ("greet", "mux", "trap")
# Loopback is exempt in netd, and xinetd knows no exemptions.
EXEMPT = "bans: {exempt: []}\ndefaults: {limits: {exempt: []}}\n"


def write(file: Path, folder: Path, ports: dict[str, int]) -> None:
    """The services on these ports."""
    listening = "bind = 127.0.0.1\nsocket_type = stream\nwait = no"
    named = "socket_type = stream\nprotocol = tcp\nwait = no\nuser = daemon\nserver = /usr/bin/id\nflags = NOLIBWRAP"
    banners = f"banner = {folder}/all\nbanner_success = {folder}/yes\nbanner_fail = {folder}/no"
    file.write_text(f"""
service echo
{{
id = greet
type = INTERNAL UNLISTED
port = {ports["greet"]}
only_from = 127.0.0.1 127.0.0.4
{listening}
{banners}
}}
service tcpmux
{{
id = mux
type = INTERNAL UNLISTED
port = {ports["mux"]}
{listening}
}}
service Plain
{{
id = other
type = TCPMUX UNLISTED
{named}
}}
service plus
{{
type = TCPMUXPLUS UNLISTED
{named}
{banners}
}}
service trap
{{
type = INTERNAL UNLISTED
port = {ports["trap"]}
flags = SENSOR
deny_time = 5
only_from = 127.0.0.3
{listening}
}}
""")


def ask(port: int, data: bytes = b"", source: str = "127.0.0.1") -> bytes:
    """All that comes for this, with the line that begins with + or - cut to that."""
    with socket.socket() as client:
        client.settimeout(20)
        client.bind((source, 0))
        said = b""
        with contextlib.suppress(ConnectionError):
            client.connect(("127.0.0.1", port))
            client.sendall(data)
            if not data.endswith(b"\r\n"):
                client.shutdown(socket.SHUT_WR)
            while piece := client.recv(4096):
                said += piece
    return re.sub(rb"^([-+])[^\n]*\n\0?", rb"\1", said)


def test_imported_services_send_the_same_and_ban_the_same(open_path: Path) -> None:
    need_root()
    program = need("xinetd")
    for name, octets in (("all", b"for all\n"), ("yes", b"\xff\r\n"), ("no", b"go away\n")):
        (open_path / name).write_bytes(octets)
    old, new = ({name: free_port(socket.SOCK_STREAM) for name in NAMES} for _ in range(2))
    write(open_path / "xinetd.conf", open_path, old)
    write(open_path / "source.conf", open_path, new)
    log = open_path / "xinetd.log"
    command = (program, "-dontfork", "-f", open_path / "xinetd.conf", "-pidfile", open_path / "pid", "-filelog", log)
    config = EXEMPT + render(convert(str(open_path / "source.conf"), Account(), Host(), "debian"))
    with started(*command), daemon(config, open_path) as netd:
        until(lambda: log.exists() and "Started working" in log.read_text())
        for name, data, source, said in (
            ("greet", b"x", "127.0.0.1", b"for all\n\xff\r\nx"),
            ("greet", b"", "127.0.0.2", b"for all\ngo away\n"),
            ("mux", b"plain\r\n", "127.0.0.1", b"uid=1(daemon) gid=1(daemon) groups=1(daemon)\n"),
            ("mux", b"PLUS\r\n", "127.0.0.1", b"+\xff\r\nuid=1(daemon) gid=1(daemon) groups=1(daemon)\n"),
            ("mux", b"other\r\n", "127.0.0.1", b"-"),
            ("greet", b"x", "127.0.0.4", b"for all\n\xff\r\nx"),
            ("trap", b"", "127.0.0.4", b""),
        ):
            assert [ask(ports[name], data, source) for ports in (old, new)] == [said, said], (name, data)
        assert netd.event("source_banned")["source"] == "127.0.0.4"
        refused = b"for all\ngo away\n"
        assert [ask(ports["greet"], b"", "127.0.0.4") for ports in (old, new)] == [refused, refused]
        [ban] = netd.ask("ban", "list")["bans"]
        assert ban["why"] == "trap: sensor"
        assert 290 < ban["remaining_seconds"] <= 300
