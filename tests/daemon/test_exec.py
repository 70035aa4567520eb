"""Programs for connections in a real daemon: what they are given, their limits, and their ends."""

import os
import pwd
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.programs import (
    IGNORE_TERM,
    children,
    config,
    connect,
    counters,
    descriptors,
    launcher,
    listed,
    said,
    until_idle,
)
from tests.support.daemon import Daemon, daemon
from tests.support.leftovers import is_gone
from tests.support.programs import need_root
from tests.support.sockets import has_ipv6
from tests.support.users import as_unprivileged_user
from tests.support.waiting import until

pytestmark = pytest.mark.slow


def test_program_has_the_connection_and_ends_with_it(tmp_path: Path) -> None:
    with daemon(config(["/bin/cat"]), tmp_path) as running, connect(running) as client:
        client.sendall(b"hello")
        assert client.recv(10) == b"hello"
        started = running.event("program_started")
        assert started["peer"] == "{}:{}".format(*client.getsockname())
        [row] = listed(running)
        assert (row["pid"], row["service"], row["peer"]) == (started["pid"], "run", started["peer"])
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b"", "half-close reaches the program, and its end the client"
        ended = running.event("program_ended")
        assert (ended["pid"], ended["peer"], ended["code"]) == (started["pid"], started["peer"], 0)
        assert 0 < ended["duration"] < 20
        assert {"user_time", "system_time"} <= set(ended)
        until_idle(running)


def test_program_is_given_what_is_promised_and_nothing_of_netd(tmp_path: Path) -> None:
    script = "ls /proc/self/fd | tr '\\n' ' '; echo; grep -E '^Sig(Ign|Blk)' /proc/self/status"
    script += "; ulimit -Sn; ulimit -Hn; pwd; umask; env"
    with daemon(config(script, options={"stderr": "peer"}), tmp_path) as running:
        shown, ignored, blocked, soft, hard, *rest = said(running).splitlines()
        assert shown.split() == ["0", "1", "2", "3"], "3 is the directory that ls(1) reads"
        of_the_c_library = 1 << 31 | 1 << 32
        assert [int(line.split()[1], 16) & ~of_the_c_library for line in (ignored, blocked)] == [0, 0]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert [int(soft), int(hard)] == [min(1024, limits[0]), limits[1]]
        assert rest[:2] == ["/", "0022"]
        found = dict(line.split("=", 1) for line in rest[2:])
        user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        peer = found.pop("REMOTE_PORT")
        assert {name: found.pop(name) for name in ("HOME", "USER", "LOGNAME", "SHELL", "LANG")} == {
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "SHELL": user.pw_shell,
            "LANG": "C.UTF-8",
        }
        assert found.pop("PATH").split(":")[0] == "/usr/local/sbin"
        port = str(running.port("run"))
        found.pop("PWD")
        assert found == {
            "REMOTE_HOST": "127.0.0.1",
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_PORT": port,
            "PROTO": "TCP",
            "TCPREMOTEIP": "127.0.0.1",
            "TCPREMOTEPORT": peer,
            "TCPLOCALIP": "127.0.0.1",
            "TCPLOCALPORT": port,
        }


SOCKET = """
import os, socket
one = socket.socket(fileno=os.dup(0))
print(os.get_blocking(0), one.family.name, one.type.name, one.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE),
      one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) if one.family != socket.AF_UNIX else 0,
      os.path.sameopenfile(0, 1))
"""


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX"])
def test_socket_of_a_program_is_as_inetd_gives_it(family: str, open_path: Path) -> None:
    if family == "AF_INET6" and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    path = open_path / "socket"
    host = "::1" if family == "AF_INET6" else "127.0.0.1"
    listen = {"AF_INET": f"tcp://{host}:0", "AF_INET6": f"tcp://[{host}]:0", "AF_UNIX": f"unix://{path}"}[family]
    command = ["/usr/bin/python3", "-SIc", SOCKET]
    with daemon(config(command, listen=[listen], options={"stderr": "peer"}), open_path) as running:
        client = socket.socket(getattr(socket, family))
        client.settimeout(20)
        client.connect(str(path) if family == "AF_UNIX" else (host, running.port("run")))
        with client:
            shown = client.makefile().read().split()
    assert shown == ["True", family, "SOCK_STREAM", "0", "0", "True"]


def test_program_over_a_unix_socket_is_told_the_user_of_its_peer(open_path: Path) -> None:
    path = open_path / "socket"
    with daemon(config(["/usr/bin/env"], listen=[f"unix://{path}?mode=0666"]), open_path) as running:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            found = dict(line.split("=", 1) for line in client.makefile().read().splitlines())
        assert (found["PROTO"], found["UNIXREMOTEEUID"], found["UNIXREMOTEPID"]) == (
            "UNIX",
            str(os.geteuid()),
            str(os.getpid()),
        )
        assert running.event("program_started")["peer"].startswith("pid=")


IDENTITY = "id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; echo $USER; echo $HOME"


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, ["65534", "65534", "65534", "NoNewPrivs:\t1", "nobody"]),
        ({"user": "daemon"}, ["1", "1", "1", "NoNewPrivs:\t1", "daemon"]),
        ({"user": "root", "no_new_privileges": False}, ["0", "0", "0", "NoNewPrivs:\t0", "root"]),
        ({"user": "games", "group": 7, "groups": [7, 8]}, ["5", "7", "7 8", "NoNewPrivs:\t1", "games"]),
        ({"user": "daemon", "group": "bin", "groups": False}, ["1", "2", "2", "NoNewPrivs:\t1", "daemon"]),
    ],
)
def test_program_is_the_user_and_groups_of_the_config(
    options: dict[str, Any], shown: list[str], tmp_path: Path
) -> None:
    need_root()
    with daemon(config(IDENTITY, options=options), tmp_path) as running:
        *found, home = said(running).splitlines()
        assert found == shown
        assert home == pwd.getpwnam(shown[-1]).pw_dir


def test_program_of_an_ordinary_user_is_that_user(open_path: Path) -> None:
    (open_path / "netd.yaml").write_text(config(IDENTITY, options={"no_new_privileges": False}))
    if os.geteuid() == 0:
        os.chown(open_path, 65534, 65534)
    place = {"NETD_CONTROL": f"{open_path}/control.sock", "RUNTIME_DIRECTORY": f"{open_path}/run"}
    with Daemon("-c", str(open_path / "netd.yaml"), command=as_unprivileged_user(), **place) as running:
        running.event("netd_started")
        uid, *_ = said(running).splitlines()
        assert int(uid) == (65534 if os.geteuid() == 0 else os.geteuid())
        assert running.stop() == 0


def test_connections_above_the_limit_are_refused_and_the_next_one_is_served(tmp_path: Path) -> None:
    text = config(["/bin/cat"], limits={"connections": 2, "per_source": "off"}, daemon="{workers: 2}")
    with daemon(text, tmp_path) as running, connect(running) as first, connect(running) as second:
        for client in (first, second):
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        with connect(running) as third:
            assert third.recv(1) == b""
        first.close()
        until(lambda: len(listed(running)) == 1)
        with connect(running) as fourth:
            fourth.sendall(b"x")
            assert fourth.recv(1) == b"x"
        assert running.refusals("run") == 1


def test_connections_of_one_source_are_limited(tmp_path: Path) -> None:
    with (
        daemon(config(["/bin/cat"], limits={"per_source": 1, "exempt": []}), tmp_path) as running,
        connect(running) as first,
    ):
        first.sendall(b"x")
        assert first.recv(1) == b"x"
        with connect(running) as second:
            assert second.recv(1) == b""
        with socket.create_connection(("127.0.0.1", running.port("run")), 20, ("127.0.0.2", 0)) as other:
            other.sendall(b"x")
            assert other.recv(1) == b"x"


def test_peer_that_may_not_connect_has_no_program_started(tmp_path: Path) -> None:
    with daemon(config(["/bin/cat"], access={"deny": ["127.0.0.0/8"]}), tmp_path) as running:
        assert said(running) == ""
        assert running.refusals("run") == 1
        assert counters(running).get("programs_started", 0) == 0


def test_lifetime_ends_the_program_and_tells_so(tmp_path: Path) -> None:
    text = config("trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.05; done", limits={"lifetime": "3s"})
    with daemon(text, tmp_path) as running:
        assert said(running) == "hi\nbye\n"
        ended = running.event("program_ended")
        assert (ended["code"], ended["reason"]) == (3, "lifetime")
        until(lambda: counters(running)["connections_closed"].get("lifetime") == 1)


def test_kick_ends_the_program_and_one_that_ignores_that_is_killed(tmp_path: Path) -> None:
    text = config(IGNORE_TERM, options={"stop": {"after": "300ms"}})
    with daemon(text, tmp_path) as running, connect(running) as client:
        assert client.recv(10) == b"ready\n"
        assert running.netd("kick", "--service", "run").returncode == 0
        assert client.recv(10) == b""
        assert running.event("program_ended")["signal"] == "SIGKILL"
        until(lambda: counters(running)["connections_closed"].get("kicked") == 1)


def test_standard_error_is_in_the_log_and_not_at_the_client(tmp_path: Path) -> None:
    with daemon(config("echo complaint >&2; echo said"), tmp_path) as running:
        assert said(running) == "said\n"
        line = running.event("program_error")
        assert line["line"] == "complaint"
        assert line["pid"]


def test_standard_error_without_end_is_bounded(tmp_path: Path) -> None:
    script = (
        "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; done >&2; head -c 5000 /dev/zero | tr '\\0' x >&2"
    )
    with daemon(config(script), tmp_path) as running:
        said(running)
        running.event("program_ended", 60)
        until_idle(running)
        lines = [line for line in running.lines if line["event"] == "program_error"]
        assert 100 <= len(lines) < 400
        assert max(len(line["line"]) for line in lines) <= 1000
        assert counters(running)["programs_error_lines"] >= 3000


def test_program_that_cannot_be_started_is_one_line_and_the_connection_ends(tmp_path: Path, open_path: Path) -> None:
    program = open_path / "program"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    with daemon(config([str(program)]), tmp_path) as running:
        assert said(running) == "here\n"
        program.rename(open_path / "other")
        for _ in range(5):
            assert said(running) == ""
        line = running.event("program_not_started")
        assert line["error"] == f"cannot start {program}: No such file or directory"
        assert line["level"] == "error"
        until(lambda: counters(running).get("programs_not_started") == 5)
        assert counters(running)["connections_closed"]["not_started"] == 5
        (open_path / "other").rename(program)
        assert said(running) == "here\n"
    assert [line["event"] for line in running.lines].count("program_not_started") <= 3


def test_counters_say_how_programs_end(tmp_path: Path) -> None:
    script = "read x; case $x in 0) exit 0;; 7) exit 7;; *) kill -USR1 $$;; esac"
    with daemon(config(script), tmp_path) as running:
        for sent in (b"0\n", b"7\n", b"7\n", b"9\n"):
            said(running, sent)
        until(lambda: counters(running).get("programs_started") == 4)
        until_idle(running)
        found = counters(running)
        assert found["programs_ended"] == {"success": 1, "failure": 2, "signal": 1}


def test_peer_that_leaves_at_once_costs_no_program_where_it_is_waited_for(tmp_path: Path) -> None:
    with daemon(config(["/bin/cat"], options={"wait_for_data": "1s"}), tmp_path) as running:
        for _ in range(3):
            connect(running).close()
        assert said(running, b"x") == "x"
        with connect(running) as client:
            until(lambda: len(listed(running)) == 1 and listed(running)[0].get("pid"))
            client.sendall(b"late")
            assert client.recv(10) == b"late"
        until_idle(running)
        assert counters(running).get("programs_started") == 2


def test_no_descriptor_and_no_zombie_is_left_after_many_starts(tmp_path: Path) -> None:
    text = config("read x; echo $x >&2; exit 3", limits={"per_source": "off"})
    with daemon(text, tmp_path) as running:
        for _ in range(20):
            said(running, b"x\n")
        until_idle(running)
        processes = running.process.pid, launcher(running), running.worker
        counts = [descriptors(pid) for pid in processes]
        for _ in range(25):
            clients = [connect(running) for _ in range(20)]
            for client in clients:
                client.sendall(b"x\n")
            for client in clients:
                assert client.recv(1) == b""
                client.close()
        until_idle(running)
        until(lambda: all(descriptors(pid) <= count for pid, count in zip(processes, counts, strict=True)))
        until(lambda: children(launcher(running)) == [])
        assert counters(running).get("programs_started") == 520
        assert [pid for pid in children(running.process.pid) if is_gone(pid)] == []
