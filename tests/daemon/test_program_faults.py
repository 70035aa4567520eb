"""Programs of a real daemon where something goes wrong: nothing left to start one with, peers that reset or come again
and again, programs that close their connection or leave children, reloads under load."""

import os
import pwd
import resource
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from tests.daemon import programs
from tests.support import descriptors
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, need_root
from tests.support.sockets import free_port, read_all, read_exactly
from tests.support.users import as_user
from tests.support.waiting import until

pytestmark = pytest.mark.slow

_RESET = struct.pack("ii", 1, 0)  # struct linger: close(2) resets


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def open_of(running: Daemon, service: str) -> int:
    """The open connections of a service, as `netd status` has them."""
    return int(next(one["connections"] for one in running.ask("status")["services"] if one["service"] == service))


def open_files(pid: int) -> int:
    """The files that a process has open: those that it reserves are copies of one."""
    return len(set(descriptors.open_files(pid).values()))


@pytest.mark.parametrize("relay", ["true", "false"])
def test_connection_for_which_no_descriptor_is_left_ends_alone(relay: str, tmp_path: Path) -> None:
    config = f"""
services:
  echo: {{listen: ['tcp://127.0.0.1:0']}}
  p:
    type: exec
    listen: ['tcp://127.0.0.1:0']
    options: {{command: [/bin/cat], wait_for_data: 300ms, relay: {relay}}}
"""
    with daemon(config, tmp_path, command=("prlimit", "--nofile=100:100")) as running:
        clients = [connect(running.port("echo"))]
        try:
            clients += [connect(running.port("p")) for _ in range(120)]
            until(lambda: running.refusals("p"), 20)
            clients[0].sendall(b"x")
            assert read_exactly(clients[0], 1) == b"x", "the worker is the same, and serves others"
        finally:
            for client in clients:
                client.close()
    assert not [line for line in running.lines if line["event"] in ("worker_lost", "conversation_failed")]


def test_program_of_a_relayed_client_that_resets_is_ended_and_has_its_place_until_then(open_path: Path) -> None:
    go = open_path / "go"
    # It ends when it is told to, and takes the time that the test gives it.
    script = f"trap 'until [ -e {go} ]; do sleep 0.05; done; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    config = programs.config(
        script, name="p", limits={"connections": 2}, options={"relay": True, "stop": {"after": "1h"}}
    )
    with daemon(config, open_path) as running:
        for _ in range(3):
            clients = [connect(running.port("p")) for _ in range(2)]
            for client in clients:
                assert read_exactly(client, 6) == b"ready\n"
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.close()
            with connect(running.port("p")) as third:
                assert read_all(third) == b"", "the programs have their places until they have ended"
            go.touch()
            until(lambda: not open_of(running, "p"), 20)
            go.unlink()


def test_reload_that_changes_the_identity_of_a_program_refuses_no_connection(tmp_path: Path) -> None:
    port = free_port()
    config = f"""
services:
  p:
    type: exec
    listen: ['tcp://127.0.0.1:{port}']
    options: {{command: [/bin/echo, hi], stderr: null, no_new_privileges: true}}
"""
    wrong: list[bytes] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            with connect(port) as client:
                if (answer := read_all(client)) != b"hi\n":
                    wrong.append(answer)

    with daemon(config, tmp_path) as running:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for number in range(6):
                text = config.replace("true", "false") if number % 2 == 0 else config
                (tmp_path / "netd.yaml").write_text(text)
                assert running.netd("reload").returncode == 0
        finally:
            is_over.set()
            for thread in threads:
                thread.join(30)
    assert wrong == []


def test_launcher_that_is_not_needed_any_more_leaves_no_descriptors(tmp_path: Path) -> None:
    echo = "services:\n  echo: {listen: ['tcp://127.0.0.1:0']}\n"
    both = echo + "  p: {type: exec, listen: ['tcp://127.0.0.1:0'], options: {command: [/bin/true]}}\n"

    def numbers() -> tuple[int, int, int]:
        children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split()
        return len(children), open_files(running.process.pid), open_files(running.worker)

    with daemon(echo, tmp_path) as running:
        before = numbers()
        (tmp_path / "netd.yaml").write_text(both)
        assert running.netd("reload").returncode == 0
        assert numbers() != before
        (tmp_path / "netd.yaml").write_text(echo)
        assert running.netd("reload").returncode == 0
        until(lambda: numbers() == before, 30)


def test_lack_of_processes_costs_one_connection_and_is_told(tmp_path: Path) -> None:
    need_root()
    with (
        daemon(programs.config(["/bin/cat"]), tmp_path, command=("prlimit", "--nproc=1:1")) as running,
        connect(running.port("run")) as client,
    ):
        assert read_all(client) == b""
        assert running.event("program_not_started")["error"] == (
            "cannot start /bin/cat: Resource temporarily unavailable"
        )
        assert running.refusals("run") == 1
    assert not [line for line in running.lines if line["event"] in ("worker_lost", "launcher_lost")]


def test_lack_of_memory_costs_the_connections_that_come_meanwhile_and_is_told(tmp_path: Path) -> None:
    need_root()  # so that the launcher is another user than the rest of netd
    options = {"user": "nobody"}
    with daemon(programs.config(["/bin/echo", "served"], options=options), tmp_path) as running:
        launcher = programs.launcher(running)
        nobody = pwd.getpwnam("nobody").pw_uid

        def limit(octets: int) -> None:
            """Set the memory that the launcher can have. Less than it has: posix_spawn(3) finds none for its stack."""
            limits = octets, resource.getrlimit(resource.RLIMIT_AS)[1]
            as_user(nobody, lambda: resource.prlimit(launcher, resource.RLIMIT_AS, limits))

        limit(4096)
        with connect(running.port("run")) as client:
            assert read_all(client) == b""
        assert running.event("program_not_started")["error"] == "cannot start /bin/echo: Cannot allocate memory"
        assert running.refusals("run") == 1
        limit(resource.getrlimit(resource.RLIMIT_AS)[0])
        with connect(running.port("run")) as client:
            assert read_all(client) == b"served\n"
    assert not [line for line in running.lines if line["event"] in ("worker_lost", "launcher_lost")]


def test_source_that_connects_again_and_again_keeps_no_other_one_out(tmp_path: Path) -> None:
    config = programs.config("echo hi", limits={"exempt": [], "rate": "tcp 1/h burst 5"})
    with daemon(config, tmp_path) as running:

        def answer(source: str) -> bytes:
            with socket.create_connection(("127.0.0.1", running.port("run")), 20, (source, 0)) as client:
                return read_all(client)

        assert [answer("127.0.0.2") for _ in range(1000)] == [b"hi\n"] * 5 + [b""] * 995
        assert answer("127.0.0.3") == b"hi\n"


def test_slow_program_is_not_started_for_all_and_ends_when_it_writes_to_a_peer_that_has_gone(open_path: Path) -> None:
    go = open_path / "go"
    script = "echo $$; until [ -e %s ]; do sleep 0.05; done; while echo x; do sleep 0.05; done"
    config = programs.config(script % go, limits={"per_source": 3, "exempt": []})
    with daemon(config, open_path) as running:
        clients = [connect(running.port("run")) for _ in range(10)]
        assert sum(client.recv(10) != b"" for client in clients) == 3
        for client in clients:
            client.close()
        go.touch()
        programs.until_idle(running)
        found = programs.counters(running)
        assert (found["programs_ended"], found["connections_refused"]) == ({"signal": 3}, {"per_source": 7})


def test_program_that_closes_its_connection_and_goes_on_has_its_place_until_it_ends(tmp_path: Path) -> None:
    config = programs.config("exec <&- >&-; sleep 1000", limits={"connections": 1})
    with daemon(config, tmp_path) as running:
        with connect(running.port("run")) as client:
            assert read_all(client) == b"", "the client sees the end at once"
        assert open_of(running, "run") == 1
        with connect(running.port("run")) as refused:
            assert read_all(refused) == b""
        assert running.refusals("run") == 1
        assert running.netd("kick", "--service", "run").returncode == 0
        programs.until_idle(running)
        assert programs.counters(running)["programs_ended"] == {"signal": 1}


def test_children_that_programs_leave_go_on_and_become_no_zombies(tmp_path: Path) -> None:
    with daemon(programs.config("read x; sleep 0.5 & sleep 0.5 & exit 0"), tmp_path) as running:
        own = set(programs.children(running.process.pid))
        for _ in range(5):
            programs.said(running)
        until(lambda: set(programs.children(running.process.pid)) == own)
        assert programs.children(programs.launcher(running)) == []
        assert programs.counters(running)["programs_ended"] == {"success": 5}


def test_stop_ends_programs_at_once_where_on_stop_says_kill(tmp_path: Path) -> None:
    config = programs.config(["/bin/cat"], daemon="{workers: 1, on_stop: kill, drain: 1h}")
    with daemon(config, tmp_path) as running, connect(running.port("run")) as client:
        client.sendall(b"x")
        assert read_exactly(client, 1) == b"x"
        assert running.stop() == 0
        assert read_all(client) == b""
    assert [line["signal"] for line in running.lines if line["event"] == "program_ended"] == ["SIGTERM"]


def test_programs_of_a_user_that_was_removed_are_started_until_a_reload_which_names_it(tmp_path: Path) -> None:
    need_root()
    need("unshare", "nsenter", "mount")
    accounts = Path("/etc/passwd").read_text()
    for name, more in (("with", "gone:x:54321:54321::/:/bin/sh\n"), ("without", "")):
        (tmp_path / name).write_text(accounts + more)
    change = f"mount --bind {tmp_path}/{{}} /etc/passwd"
    own = ("unshare", "--mount", "sh", "-c", f'{change.format("with")}; exec "$@"', "sh")
    text = programs.config("id -u; echo $USER", options={"user": "gone"})
    with daemon(text, tmp_path, command=own) as running:
        inside = ("nsenter", "--mount", "--target", str(running.process.pid))
        subprocess.run([*inside, "sh", "-c", change.format("without")], check=True)
        assert programs.said(running) == "54321\ngone\n"
        os.kill(programs.launcher(running), signal.SIGKILL)
        running.event("launcher_lost")
        running.event("launcher_started")
        assert programs.said(running) == "54321\ngone\n", "also by another launcher"
        answer = running.ask("reload")
        assert "services.run.options.user: there is no user 'gone'" in answer["error"]
        assert programs.said(running) == "54321\ngone\n", "nothing has changed"
