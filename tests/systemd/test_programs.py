"""Programs that netd starts, under the shipped unit and with its drop-ins."""

import json
import re
import shutil
from collections.abc import Iterator
from subprocess import PIPE
from typing import Any

import pytest

from tests.support.programs import started
from tests.support.waiting import until
from tests.systemd.conftest import ROOT, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180, func_only=True)]

# Prints what a program finds: its identity, rights, descriptors, environment and limits, and what it may do.
INSPECT = """#!/usr/bin/python3
import json, mmap, os, resource, socket, sys

def may(do):
    try:
        do()
    except OSError:
        return False
    return True

status = dict(line.split(":", 1) for line in open("/proc/self/status"))
found = {
    "ids": os.getresuid() + os.getresgid(),
    "groups": os.getgroups(),
    "capabilities": [int(status[key], 16) for key in ("CapPrm", "CapEff", "CapAmb")],
    "no_new_privileges": int(status["NoNewPrivs"]),
    "descriptors": [int(one) for one in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + one)],
    "environment": sorted(os.environ),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "memory": resource.getrlimit(resource.RLIMIT_AS),
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "lists_interfaces": may(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "compiles": may(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)),
    "writes": [place for place in ("/srv/data", "/usr", "/etc") if may(lambda: open(f"{place}/{os.getuid()}", "w"))],
}
print(json.dumps(found), flush=True)
print("it was inspected", file=sys.stderr)
"""

# The program of mode: listener: answers datagrams until none comes for a second.
ANSWER = """#!/usr/bin/python3
import os, socket
with socket.socket(fileno=3) as opened:
    opened.settimeout(1)
    try:
        while True:
            data, peer = opened.recvfrom(999)
            opened.sendto(b"%d %s" % (os.getuid(), data), peer)
    except TimeoutError:
        pass
"""


def exchange(lab: Lab, place: object, data: str = "", kind: str = "STREAM") -> str:
    """Connect to a place in the lab and send data. Returns what is received until the end."""
    family = "UNIX" if isinstance(place, str) else "INET"
    return lab.python(
        "import socket\n"
        f"with socket.socket(socket.AF_{family}, socket.SOCK_{kind}) as one:\n"
        f"    one.settimeout(20); one.connect({place!r}); one.sendall({data.encode()!r})\n"
        f"    if {kind == 'STREAM'}: one.shutdown(socket.SHUT_WR)\n"
        "    got = b''\n"
        "    while data := one.recv(65536):\n"
        "        got += data\n"
        f"        if {kind == 'DGRAM'}: break\n"
        "print(got.decode())\n"
    )


def program(lab: Lab, name: str, text: str) -> str:
    """Write a program into the lab. Returns its path."""
    lab.write(f"/usr/local/bin/{name}", text)
    (lab.root / "usr/local/bin" / name).chmod(0o755)
    return f"/usr/local/bin/{name}"


def inspected(lab: Lab, port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exchange(lab, ("127.0.0.1", port)))
    return found


def test_shipped_unit_runs_programs_of_its_own_user(lab: Lab) -> None:
    inspect, answer = program(lab, "inspect", INSPECT), program(lab, "answer", ANSWER)
    lab.config(
        "services:\n"
        "  cat: {type: exec, listen: [tcp://*:7, 'unix:///run/netd/cat.sock'], options: {command: [/bin/cat]}}\n"
        f"  inspect: {{type: exec, listen: [tcp://*:8], options: {{command: [{inspect}], limits: {{memory: 1GiB}}}}}}\n"
        f"  answer: {{type: exec, listen: [udp://*:69], options: {{command: [{answer}], mode: listener}}}}\n"
        "  ask: {type: exec, listen: [tcp://*:10], options: {command: [/usr/local/bin/netd, status], stderr: peer}}\n"
        "  load: {type: check, listen: [tcp://*:9200], options: {command: [/bin/echo, all is well]}}\n"
    )
    lab.run("systemctl", "start", "netd")
    assert exchange(lab, ("127.0.0.1", 7), "hello") == "hello"
    assert exchange(lab, "/run/netd/cat.sock", "hello") == "hello"
    found = inspected(lab, 8)
    uid = found["ids"][0]
    assert uid >= 61184, "DynamicUser= begins there (systemd.exec(5))"
    assert set(found["ids"]) == {uid}
    assert (found["capabilities"], found["no_new_privileges"]) == ([0] * 3, 1)
    assert found["descriptors"] == [0, 1, 2]
    assert not [name for name in found["environment"] if re.match("NOTIFY|LISTEN|WATCHDOG|FDSTORE|CREDENTIALS", name)]
    assert found["memory"] == [2**30, 2**30]
    assert found["files"][0] == 1024, "as programs of select(2) expect"
    assert (found["lists_interfaces"], found["compiles"], found["writes"]) == (False, False, [])
    assert exchange(lab, ("127.0.0.1", 69), "hello", "DGRAM") == f"{uid} hello"
    ask_check = "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:9200').read())"
    assert lab.python(ask_check) == "b'all is well\\n'"
    lab.run("journalctl", "--sync")
    [said] = lab.events("program_error")
    assert (said["service"], said["line"]) == ("inspect", "it was inspected")
    assert said["journal"]["_SYSTEMD_UNIT"] == "netd.service"
    assert {"cat", "inspect"} <= {event["service"] for event in lab.events("program_ended")}
    until(lambda: "answer" in {event["service"] for event in lab.events("program_ended")})
    assert {event["code"] for event in lab.events("program_ended") if event["service"] != "ask"} == {0}
    assert "netd may not control netd" in exchange(lab, ("127.0.0.1", 10))
    text = (lab.root / "etc/netd/netd.yaml").read_text()
    lab.config(text.replace("all is well", "all is better"))
    lab.run("systemctl", "reload", "netd")
    until(lambda: "better" in lab.python(ask_check), 20)


@pytest.fixture
def users(lab: Lab) -> Iterator[None]:
    """The user netd of sysusers.d, and another one. While it is there, the user of the shipped unit is not dynamic."""
    lab.write("/etc/sysusers.d/netd.conf", (ROOT / "systemd/sysusers.d/netd.conf").read_text())
    lab.run("systemd-sysusers", "/etc/sysusers.d/netd.conf")
    lab.run("useradd", "--system", "alex")
    yield
    lab.run("systemctl", "stop", "netd")
    lab.run("sh", "-c", "kill $(ps -o pid= -u netd,alex)", code=None)  # what a stop has left
    for user in ("netd", "alex"):
        lab.run("userdel", user)
    (lab.root / "etc/sysusers.d/netd.conf").unlink()


def with_drop_ins(lab: Lab, *names: str) -> None:
    """Install drop-ins, and start netd, as their first lines say."""
    for name in names:
        text = (ROOT / "systemd/netd.service.d" / name).read_text()
        lab.write(f"/etc/systemd/system/netd.service.d/{name}", text)
    lab.run("sh", "-c", "systemctl daemon-reload && systemctl stop netd; rm -f /run/netd; systemctl start netd")


def test_programs_of_other_users(lab: Lab, users: None) -> None:
    inspect, answer = program(lab, "inspect", INSPECT), program(lab, "answer", ANSWER)
    lab.config(f"services:\n  inspect: {{type: exec, listen: [tcp://*:1000], options: {{command: [{inspect}]}}}}\n")
    lab.run("systemctl", "start", "netd")
    for place, mode in (("data", 0o1777), ("jail", 0o755)):
        (lab.root / "srv" / place).mkdir(parents=True, exist_ok=True)
        (lab.root / "srv" / place).chmod(mode)
    shutil.copy("/usr/bin/busybox", lab.root / "srv/jail/busybox")
    shutil.copy(lab.root / "usr/bin/id", lab.root / "usr/local/bin/become-root")
    (lab.root / "usr/local/bin/become-root").chmod(0o4755)
    login, listener = "no_new_privileges: false", "mode: listener"
    become = "command: [/usr/local/bin/become-root, -u]"
    lab.config(
        "services:\n"
        f"  usual: {{type: exec, listen: [tcp://*:1000], options: {{command: [{inspect}]}}}}\n"
        f"  alex: {{type: exec, listen: [tcp://*:1001], options: {{command: [{inspect}], user: alex, nice: -5}}}}\n"
        f"  root: {{type: exec, listen: [tcp://*:1002], options: {{command: [{inspect}], user: root}}}}\n"
        f"  held: {{type: exec, listen: [tcp://*:1003], options: {{{become}, user: alex}}}}\n"
        f"  free: {{type: exec, listen: [tcp://*:1004], options: {{{become}, user: alex, {login}}}}}\n"
        f"  answer: {{type: exec, listen: [udp://*:69], options: {{command: [{answer}], {listener}, user: root}}}}\n"
        "  jail: {type: exec, listen: [tcp://*:7], options: {command: [/busybox, ls, /], root: /srv/jail}}\n"
        "  account: {type: check, listen: [tcp://*:9],\n"
        "            options: {command: [/usr/bin/id, -un], user: alex, answer: text}}\n"
    )
    with_drop_ins(lab, "programs.conf")
    usual, alex, root = (inspected(lab, 1000 + number) for number in range(3))
    number = int(lab.run("id", "-u", "alex"))
    for found, uid in ((usual, 65534), (alex, number)):
        assert found["ids"][:3] == [uid] * 3
        assert (found["capabilities"], found["no_new_privileges"], found["descriptors"]) == ([0] * 3, 1, [0, 1, 2])
        assert found["writes"] == ["/srv/data"]
    assert (alex["nice"], root["nice"]) == (usual["nice"] - 5, usual["nice"]), (
        "the lab may have been started by nice(1)"
    )
    assert (root["ids"], root["no_new_privileges"], root["writes"]) == ([0] * 6, 1, ["/srv/data"])
    for found in (usual, alex, root):
        assert found["lists_interfaces"]
        assert found["compiles"]
    assert exchange(lab, ("127.0.0.1", 1003)) == str(number)
    assert exchange(lab, ("127.0.0.1", 1004)) == "0"
    assert exchange(lab, ("127.0.0.1", 69), "hello", "DGRAM") == "0 hello"
    assert exchange(lab, ("127.0.0.1", 7)) == "busybox"
    assert exchange(lab, ("127.0.0.1", 9)) == "alex"
    [worker] = json.loads(lab.netd("status", "--json"))["workers"]
    assert lab.run("ps", "-o", "user=", "-p", str(worker["pid"])).strip() == "netd"
    assert lab.show("OOMPolicy") == "continue"
    text = lab.run("systemd-analyze", "security", "--no-pager", "netd.service")
    assert "exposure level for netd.service: 2.9 OK" in text


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("nice: 5", "this process may not change priorities"),
        ("no_new_privileges: false", "it cannot be false: netd itself was started without"),
        ("user: nobody", "only root may become 'nobody'"),
    ],
)
def test_option_beyond_the_shipped_unit_fails_the_start_in_one_line(lab: Lab, option: str, problem: str) -> None:
    lab.config(f"services:\n  cat: {{type: exec, listen: [tcp://*:7], options: {{command: [/bin/cat], {option}}}}}\n")
    lab.drop_in("[Service]\nRestart=no\n")
    noticed = lab.netd("check")
    assert "under systemd this needs the drop-in programs.conf in /etc/systemd/system/netd.service.d" in noticed
    lab.run("systemctl", "start", "netd", code=1)
    lines = lab.run("journalctl", "-o", "cat", "-u", "netd", "--no-pager", f"--after-cursor={lab.cursor}").splitlines()
    [line] = [line for line in lines if "services.cat" in line]
    assert problem in line
    assert "programs.conf" in line
    with_drop_ins(lab, "programs.conf")
    assert "drop-in" not in lab.netd("check")
    assert exchange(lab, ("127.0.0.1", 7), "hello") == "hello"


class Session:
    """A connection from the lab to a program in it that answers each line."""

    def __init__(self, lab: Lab) -> None:
        script = "import socket, sys\none = socket.create_connection(('127.0.0.1', 7))\nfor line in sys.stdin:\n"
        script += "    one.sendall(line.encode())\n    print(one.recv(99).decode().strip(), flush=True)\n"
        place = ("nsenter", "-t", lab.root.parts[2], "-n", "-m")
        self._started = started(*place, "/usr/bin/python3", "-c", script, stdin=PIPE, stdout=PIPE, text=True)

    def __enter__(self) -> "Session":
        self._process = self._started.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._started.__exit__(None, None, None)

    def ask(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return str(self._process.stdout.readline()).strip()


@pytest.mark.parametrize(
    ("drop_ins", "user"),
    [(("programs-leave.conf",), "netd"), (("programs-leave.conf", "programs.conf"), "nobody")],
)
def test_program_that_is_left_goes_on_over_a_restart(
    lab: Lab, request: pytest.FixtureRequest, drop_ins: tuple[str, ...], user: str
) -> None:
    lab.config("services:\n  cat: {type: exec, listen: [tcp://*:7], options: {command: [/bin/cat]}}\n")
    lab.run("systemctl", "start", "netd")
    text = (lab.root / "etc/netd/netd.yaml").read_text()
    lab.config(f"daemon: {{on_stop: leave}}\n{text}")
    assert "under systemd this needs the drop-in programs-leave.conf" in lab.netd("check")
    lab.run("systemctl", "reload", "netd", code=1)
    assert "see the drop-in programs-leave.conf" in lab.wait_for("reload_rejected")["problem"]
    lab.run("systemctl", "stop", "netd")
    request.getfixturevalue("users")
    with_drop_ins(lab, *drop_ins)
    first = lab.show("MainPID")
    with Session(lab) as session:
        assert session.ask("one") == "one"
        lab.run("systemctl", "restart", "netd")
        assert session.ask("two") == "two"
        assert lab.show("MainPID") not in (first, "0")
        assert exchange(lab, ("127.0.0.1", 7), "hello") == "hello"
        processes = lab.run("ps", "-o", "user=,args=", "-C", "cat").split()
        assert processes == [user, "cat"]
        lab.run("systemctl", "stop", "netd")
        assert session.ask("three") == "three"
    until(lambda: lab.run("ps", "-o", "pid=", "-C", "cat", code=None) == "")


def test_program_is_ended_after_the_drain_time_of_a_restart(lab: Lab) -> None:
    lab.config(
        "daemon: {drain: 1s}\nservices:\n  cat: {type: exec, listen: [tcp://*:7], options: {command: [/bin/cat]}}\n"
    )
    lab.run("systemctl", "start", "netd")
    with Session(lab) as session:
        assert session.ask("one") == "one"
        lab.run("systemctl", "restart", "netd")
        assert lab.wait_for("program_ended")["signal"] == "SIGTERM"
        assert session.ask("two") == ""
    assert lab.show("Result") == "success"
