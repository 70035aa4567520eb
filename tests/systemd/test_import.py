"""Socket units, served by systemd and by netd after `netd import systemd`: the same requests get the same answers."""

import json
import re

import pytest

from tests.systemd.conftest import ROOT, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180, func_only=True)]

SHOW = """#!/bin/sh
id -un; id -gn; id -Gn; pwd; umask; nice; ulimit -n; ulimit -c
echo "$REMOTE_ADDR|$GREETING|$0|$*"
read line; echo "got $line"
echo this is an error >&2
"""
ACCEPT = """#!/usr/bin/python3
import os, socket
names = os.environ["LISTEN_FDNAMES"], os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] == str(os.getpid())
listener = socket.socket(fileno=3)
client, peer = listener.accept()
client.sendall(f"{names} {os.getuid()} ".encode() + client.recv(1000))
"""
ANSWER = """#!/usr/bin/python3
import os, socket
listener = socket.socket(fileno=3)
listener.settimeout(1)
try:
    while True:
        data, peer = listener.recvfrom(1000)
        listener.sendto(b"%d got %s" % (os.getuid(), data), peer)
except TimeoutError:
    pass
"""
PROGRAMS = {"show": SHOW, "accept": ACCEPT, "answer": ANSWER}

INSTANCE = "[Service]\nStandardInput=socket\n"
UNITS = {
    "lab-cat.socket": "[Socket]\nListenStream=127.0.0.1:4001\nAccept=yes\n",
    "lab-cat@.service": f"{INSTANCE}ExecStart=/bin/cat -u\nUser=daemon\n",
    "lab-show.socket": "[Socket]\nListenStream=127.0.0.1:4002\nListenStream=[::1]:4002\nAccept=yes\n",
    "lab-show@.service": f"{INSTANCE}ExecStart=-/usr/local/bin/show a 'b c' ${{GREETING}} $GREETING\nUser=nobody\n"
    'Group=mail\nSupplementaryGroups=games\nEnvironment="GREETING=hello there"\nWorkingDirectory=/usr\nUMask=0027\n'
    "LimitNOFILE=321\nLimitCORE=0\nStandardError=journal\n",
    "lab-both.socket": "[Socket]\nListenStream=127.0.0.1:4003\nAccept=yes\n",
    "lab-both@.service": f"{INSTANCE}ExecStart=/usr/local/bin/show\nUser=daemon\n",
    "lab-accept.socket": "[Socket]\nListenStream=127.0.0.1:4004\nFileDescriptorName=lab-accept\n",
    "lab-accept.service": "[Service]\nExecStart=/usr/local/bin/accept\nUser=daemon\n",
    "lab-answer.socket": "[Socket]\nListenDatagram=127.0.0.1:4005\n",
    "lab-answer.service": "[Service]\nExecStart=/usr/local/bin/answer\nUser=nobody\n",
    "lab-few.socket": "[Socket]\nListenStream=127.0.0.1:4006\nAccept=yes\nMaxConnections=1\n",
    "lab-few@.service": f"{INSTANCE}ExecStart=/bin/cat\nUser=daemon\n",
    "lab-near.socket": "[Socket]\nListenStream=127.0.0.1:4007\nAccept=yes\n"
    "IPAddressDeny=any\nIPAddressAllow=127.0.0.1 127.0.0.8/31\n",
    "lab-near@.service": f"{INSTANCE}ExecStart=/bin/cat\nUser=daemon\n",
    "lab-path.socket": "[Socket]\nListenStream=/run/lab-path\nSocketMode=0640\nSocketUser=nobody\nAccept=yes\n",
    "lab-path@.service": f"{INSTANCE}ExecStart=/bin/cat\nUser=nobody\n",
}
DROP_INS = {
    "lab-.socket.d/10-backlog.conf": "[Socket]\nBacklog=7\n",
    "lab-cat.socket.d/10-backlog.conf": "[Socket]\nBacklog=8\n",
    "socket.d/20-all.conf": "[Socket]\nKeepAlive=yes\n",
    "lab-@.service.d/mask.conf": "[Service]\nUMask=0077\n",
    "lab-.service.d/nice.conf": "[Service]\nNice=3\n",
}
SOCKETS = [name for name in UNITS if name.endswith(".socket")]

ASK = """
import os, socket, stat

def ask(place, data=b"hello\\n", kind=socket.SOCK_STREAM, source=None, seconds=20):
    family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with socket.socket(family, kind) as client:
        client.settimeout(seconds)
        if source:
            client.bind((source, 0))
        client.connect(place)
        client.sendall(data)
        if kind == socket.SOCK_DGRAM:
            return client.recv(1000).decode()
        client.shutdown(socket.SHUT_WR)
        found = b""
        while more := client.recv(65536):
            found += more
        return found.decode()

def refused(*place, **options):
    # systemd drops the packets of a source that it does not allow, and netd closes its connections.
    try:
        return ask(*place, seconds=1, **options) == ""
    except OSError:
        return True

def second(place):
    with socket.create_connection(place, 20) as first:
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        return refused(place)

found = {
    "second": second(("127.0.0.1", 4006)),
    "near": ask(("127.0.0.1", 4007), source="127.0.0.9"),
    "not near": refused(("127.0.0.1", 4007), source="127.0.0.7"),
    "cat": ask(("127.0.0.1", 4001), b"x" * 100_000),
    "show": ask(("127.0.0.1", 4002)),
    "show from elsewhere": ask(("127.0.0.1", 4002), source="127.0.0.7"),
    "show over IPv6": ask(("::1", 4002)),
    "both": ask(("127.0.0.1", 4003)),
    "accept": [ask(("127.0.0.1", 4004)) for _ in range(2)],
    "answer": [ask(("127.0.0.1", 4005), kind=socket.SOCK_DGRAM) for _ in range(2)],
    "path": ask("/run/lab-path"),
    "mode": [oct(os.stat("/run/lab-path").st_mode), os.stat("/run/lab-path").st_uid],
}
import json
print(json.dumps(found))
"""


def test_imported_units_answer_as_under_systemd(lab: Lab) -> None:
    for name, text in PROGRAMS.items():
        lab.write(f"/usr/local/bin/{name}", text)
        (lab.root / "usr/local/bin" / name).chmod(0o755)
    for name, text in (*UNITS.items(), *DROP_INS.items()):
        lab.write(f"/etc/systemd/system/{name}", text)
    try:
        lab.run("systemctl", "daemon-reload")
        lab.run("systemctl", "start", *SOCKETS)
        expected = json.loads(lab.python(ASK))
        lab.run("systemctl", "stop", *SOCKETS, "lab-answer.service")  # which has its socket for a second longer
        lab.run("rm", "-f", "/run/lab-path")
        lab.config("services: {}\n")
        account = lab.netd("import", "systemd", *SOCKETS, "-o", "/etc/netd/netd.yaml", "--force")
        lab.drop_in((ROOT / "systemd/netd.service.d/programs.conf").read_text())
        lab.run("systemctl", "start", "netd")
        assert json.loads(lab.python(ASK)) == expected, account
    finally:
        lab.run("systemctl", "stop", "netd", *SOCKETS, code=None)
        for name in (*UNITS, *DROP_INS):
            lab.run("rm", "-rf", f"/etc/systemd/system/{name.partition('/')[0]}")
        lab.run("systemctl", "daemon-reload")
    # The answers themselves, so that two which serve nothing are not alike.
    assert expected["cat"] == "x" * 100_000
    assert "127.0.0.7|hello there" in expected["show from elsewhere"]
    assert expected["second"]
    assert expected["not near"]


@pytest.mark.parametrize("name", ["lab-cat.socket", "lab-accept.socket", "lab-cat@.service"])
def test_drop_ins_are_those_that_systemd_reads(lab: Lab, name: str) -> None:
    from netd.importers.systemd.files import UnitFiles

    for unit, text in (*UNITS.items(), *DROP_INS.items()):
        lab.write(f"/etc/systemd/system/{unit}", text)
        if "/" in unit:  # in another directory too, where the same name is hidden
            lab.write(f"/run/systemd/system/lab-.socket.d/{unit.rpartition('/')[2]}", "[Socket]\nBacklog=9\n")
    lab.write("/run/systemd/system/lab-cat.socket.d/15-run.conf", "[Socket]\nBacklog=10\n")
    try:
        lab.run("systemctl", "daemon-reload")
        shown = lab.show("DropInPaths", name.replace("@", "@1")).split()
        directories = tuple(f"{lab.root}{one}" for one in ("/etc/systemd/system", "/run/systemd/system"))
        unit_read = UnitFiles(directories).unit(name, directories)
        assert unit_read
        read = [re.sub(f"^{lab.root}", "", one.place.file) for one in unit_read.directives]
        assert list(dict.fromkeys(read))[1:] == shown
        assert len(shown) > 1
    finally:
        for directory in ("etc", "run"):
            for unit in (*UNITS, *DROP_INS):
                lab.run("rm", "-rf", f"/{directory}/systemd/system/{unit.partition('/')[0]}")
        lab.run("systemctl", "daemon-reload")
