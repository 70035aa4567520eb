"""Debian's openbsd-inetd and netd with what was imported from its file: both give the same answers."""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

from netd.importers.account import Account
from netd.importers.host import Host
from netd.importers.inetd.convert import convert
from netd.importers.yaml_text import render
from tests.support.daemon import daemon
from tests.support.directories import open_directory
from tests.support.namespaces import in_namespace
from tests.support.programs import need, need_root, started
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # daemons

CONFIG = """\
echo      stream tcp    nowait     root          internal
echo      dgram  udp    wait       root          internal
discard   stream tcp    nowait     root          internal
daytime   stream tcp    nowait     root          internal
daytime   dgram  udp4   wait       root          internal
chargen   stream tcp4   nowait     root          internal
time      stream tcp    nowait     root          internal
127.0.0.1:2001 stream tcp nowait  daemon        /bin/sh          sh {place}/id
127.0.0.2,[::1]:2002 stream tcp nowait daemon.mail /bin/sh      sh {place}/script a b
2003      stream tcp6   nowait     root          /bin/busybox     head -n 1
{place}/cat stream unix nowait     daemon        /bin/cat         cat
2004      stream tcp    wait       daemon        /usr/bin/python3 python3 {place}/accept.py
2005      stream tcp    nowait     root          /bin/cat
2007      dgram  udp    wait       daemon        /usr/bin/python3 python3 {place}/receive.py
"""
SCRIPT = """echo "$0 $# $*"; id -un; id -gn; pwd; umask; read line; echo "$line"; echo error >&2"""
RECEIVE = """import socket
listener = socket.socket(fileno=0)
data, peer = listener.recvfrom(1000)
listener.sendto(b"got " + data, peer)
"""
ACCEPT = """import socket
client, peer = socket.socket(fileno=0).accept()
client.sendall(b"got " + client.recv(1000))
"""
ADDRESS = "192.0.2.1"  # inetd answers no datagrams from 127.0.0.0/8
HOSTS = ("127.0.0.1", "127.0.0.2", "::1")
PORTS = (7, 9, 13, 19, 37, 2001, 2002, 2003, 2004, 2005)


def answer(address: tuple[str, int] | str) -> bytes | str:
    """What a stream has to say to a line, up to 740 octets; or how the connection failed."""
    kind = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(kind) as client:
        client.settimeout(20)
        try:
            client.connect(address)
        except ConnectionRefusedError as error:
            return type(error).__name__
        if isinstance(address, str) or address[1] not in (13, 19, 37):  # which do not read, so that it would be a reset
            client.sendall(b"hello\r\n")
            client.shutdown(socket.SHUT_WR)
        found = b""
        while len(found) < 740 and (piece := client.recv(740 - len(found))):
            found += piece
        return found


def datagram_answer(port: int) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.sendto(b"hello, this is as long as the answer\n", (ADDRESS, port))
        return client.recv(1000)


def compared(found: bytes | str, port: int) -> object:
    """What is the same of an answer at different times."""
    if port == 19 and isinstance(found, bytes):  # RFC 864 leaves the first character open
        return {len(line) for line in found.split(b"\r\n")}, found.decode("ascii").replace("\r\n", "").isprintable()
    if port == 37 and isinstance(found, bytes):
        return int.from_bytes(found, "big") >> 20
    return re.sub(rb"\d", b"0", found) if port == 13 and isinstance(found, bytes) else found


def answers(place: Path) -> dict[object, object]:
    """All answers, by address."""
    found: dict[object, object] = {
        (host, port): compared(answer((host, port)), port) for host in HOSTS for port in PORTS
    }
    found |= {("udp", port): compared(datagram_answer(port), port) for port in (7, 13, 2007)}
    found["unix"] = answer(str(place / "cat"))
    return found


def test_programs_and_internal_services_answer_as_those_of_inetd() -> None:
    need_root()
    inetd = need("inetd", "unshare", "busybox", "ip", "/usr/bin/python3")
    with open_directory() as place:
        (place / "script").write_text(SCRIPT)
        (place / "id").write_text("read line; id")
        (place / "receive.py").write_text(RECEIVE)
        (place / "accept.py").write_text(ACCEPT)
        file = place / "inetd.conf"
        file.write_text(CONFIG.replace("{place}", str(place)).replace("/bin/busybox", need("busybox")))

        def compare() -> None:
            # It writes its process id to /run.
            own = 'mount -t tmpfs own /run && exec "$@"'
            with started(
                "unshare", "-m", "sh", "-c", own, "sh", inetd, "-i", file, stderr=subprocess.PIPE, cwd="/"
            ) as old:
                until(lambda: answer(("127.0.0.1", 2001)) != "ConnectionRefusedError" or old.poll() is not None)
                expected = answers(place)
            os.unlink(place / "cat")
            account = Account()
            document = convert([str(file)], account, Host(), "debian")
            told = "\n".join(map(str, account.findings))
            assert [name for name, one in document.services.items() if not one.enabled] == [], told
            with daemon(render(document), place):
                assert answers(place) == expected

        in_namespace(compare, f"address add {ADDRESS} dev lo")
