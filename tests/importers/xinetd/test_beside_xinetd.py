"""A file of Debian's xinetd, served by xinetd and by netd after its import: the same requests get the same answers."""

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netd.importers.account import Account
from netd.importers.host import Host
from netd.importers.xinetd import convert
from netd.importers.yaml_text import render
from tests.daemon.backends import backends
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, need_root, started
from tests.support.sockets import free_port, read_all
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon, and xinetd

# Each has a port of its own; `bind` and `type` come from the test.
SERVICES = {
    "echo": "socket_type = stream\nwait = no",
    "echo-dgram": "socket_type = dgram\nwait = yes",
    "discard": "socket_type = stream\nwait = no",
    "daytime": "socket_type = stream\nwait = no",
    "time": "socket_type = stream\nwait = no",
    "some": "socket_type = stream\nwait = no\nonly_from = 127.0.0.0/30 127.0.0.9\nno_access = 127.0.0.2",
    "both": "socket_type = stream\nwait = no\nonly_from = 127.0.0.1\nno_access = 127.0.0.0",
    "empty": "socket_type = stream\nwait = no\nonly_from =",
    "comment": "socket_type = stream\nwait = no\nonly_from = 127.0.0.1 # office\nper_source = 0 # none",
    "identity": "protocol = tcp\nwait = no\nuser = daemon\nserver = /usr/bin/id",
    "groups": "protocol = tcp\nwait = no\nuser = daemon\ngroups = yes\numask = 027\nserver = /usr/bin/id",
    "variables": "protocol = tcp\nwait = no\nuser = daemon\nenv = A=1 B=x=y\nserver = /usr/bin/printenv\n"
    "server_args = REMOTE_HOST A B",
    "arguments": "protocol = tcp\nwait = no\nuser = daemon\nflags = NAMEINARGS\nserver = /bin/cat\n"
    "server_args = kitty 'a /nowhere b'",
    "first": "protocol = tcp\nwait = no\nuser = daemon\nserver = /usr/bin/id\ndisable = no\ndisable = yes",
    "redirect": "protocol = tcp\nwait = no\nuser = daemon\nredirect = 127.0.0.1 {target}",
}
INTERNAL = ("echo", "echo-dgram", "discard", "daytime", "time", "some", "both", "empty", "comment")


def write(file: Path, ports: dict[str, int], target: str) -> None:
    """The services on these ports, or each on one that the kernel chooses."""
    text = "defaults\n{\ncps = 1000 1\n}\n"
    for name, lines in SERVICES.items():
        kind = "INTERNAL UNLISTED" if name in INTERNAL else "UNLISTED"
        called = name.partition("-")[0] if name in INTERNAL[:5] else "echo" if kind[0] == "I" else name
        own = lines.format(target=target.rpartition(":")[2])
        text += f"service {called}\n{{\nid = {name}\ntype = {kind}\nbind = 127.0.0.1\nport = {ports.get(name, 0)}\n"
        text += f"flags {'+=' if 'flags' in lines else '='} NOLIBWRAP\n{own}\n}}\n"
    file.write_text(text)


@contextmanager
def xinetd(folder: Path, target: str) -> Iterator[dict[str, int]]:
    """xinetd with these services: the port of each."""
    ports = {name: free_port(socket.SOCK_DGRAM if "dgram" in name else socket.SOCK_STREAM) for name in SERVICES}
    file = folder / "xinetd.conf"
    write(file, ports, target)
    log = folder / "xinetd.log"
    command = (need("xinetd"), "-dontfork", "-f", file, "-pidfile", folder / "xinetd.pid", "-filelog", log)
    with started(*command):
        until(lambda: log.exists() and "Started working" in log.read_text())
        yield ports


@contextmanager
def imported(folder: Path, target: str) -> Iterator[Daemon]:
    """netd with these services, on ports that the kernel chooses."""
    file = folder / "source.conf"
    write(file, {}, target)
    with daemon(render(convert(str(file), Account(), Host(), "debian")), folder) as running:
        yield running


def ask(port: int, data: bytes = b"", source: str = "127.0.0.1") -> bytes:
    """All that a client gets which sends this, as many octets as it sent, or nothing if it is refused."""
    with socket.socket() as client:
        client.settimeout(20)
        client.bind((source, 0))
        try:
            client.connect(("127.0.0.1", port))
            client.sendall(data)
            if not data:
                return read_all(client)
            client.settimeout(20)
            received = b""
            while len(received) < len(data) and (more := client.recv(4096)):
                received += more
            return received
        except (ConnectionResetError, BrokenPipeError):
            return b""


def ask_datagram(port: int, data: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.sendto(data, ("127.0.0.1", port))
        return client.recv(4096)


def test_imported_services_answer_as_those_of_xinetd(tmp_path: Path) -> None:
    need_root()
    need("xinetd")
    with (
        backends("target") as [backend],
        xinetd(tmp_path, backend.url) as old,
        imported(tmp_path, backend.url) as running,
    ):
        new = {name: running.port(name, "udp" if "dgram" in name else "tcp") for name in SERVICES}
        for name, data, sources in (
            ("echo", b"hello\n", ["127.0.0.1"]),
            ("some", b"x", [f"127.0.0.{number}" for number in (1, 2, 3, 4, 9, 10)]),
            ("both", b"x", ["127.0.0.1", "127.0.0.2"]),
            ("empty", b"x", ["127.0.0.1"]),
            ("comment", b"x", ["127.0.0.1", "127.0.0.2"]),
            ("identity", b"", ["127.0.0.1"]),
            ("groups", b"", ["127.0.0.1"]),
            ("variables", b"", ["127.0.0.1", "127.0.0.7"]),
            ("arguments", b"", ["127.0.0.1"]),
            ("first", b"", ["127.0.0.1"]),
            ("redirect", b"through\n", ["127.0.0.1"]),
        ):
            for source in sources:
                answer = ask(old[name], data, source)
                assert ask(new[name], data, source) == answer, (name, source)
        # The answers themselves, so that two daemons which serve no peer are not alike.
        assert [ask(old["some"], b"x", f"127.0.0.{number}") for number in (1, 2, 3, 4, 9)] == [
            b"x",
            b"",
            b"x",
            b"",
            b"x",
        ]
        assert ask(old["both"], b"x") == ask(old["empty"], b"x") == b""
        assert ask(old["variables"]) == b"127.0.0.1\n1\nx=y\n"
        assert ask(old["arguments"]).startswith(b"kitty: ")
        assert ask(old["identity"]) == b"uid=1(daemon) gid=1(daemon) groups=1(daemon)\n"
        assert ask_datagram(new["echo-dgram"], b"hello") == ask_datagram(old["echo-dgram"], b"hello") == b"hello"
        dates = [ask(port).upper() for port in (old["daytime"], new["daytime"])]
        assert len({re.sub(rb"\d\d:\d\d:\d\d", b"", one) for one in dates}) == 1
        first, last = (struct.unpack("!I", ask(port))[0] for port in (old["time"], new["time"]))
        assert 0 <= last - first <= 20
