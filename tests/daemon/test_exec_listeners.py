"""Programs that get the listening socket, in a real daemon: started on demand, one at a time."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.configs import write
from tests.daemon.programs import config, connect, counters, launcher, listed
from tests.support.daemon import Daemon, daemon
from tests.support.leftovers import is_gone
from tests.support.waiting import until

pytestmark = pytest.mark.slow

DATAGRAMS = """
import os, socket
one = socket.socket(fileno=0)
one.settimeout(1)
try:
    while True:
        data, peer = one.recvfrom(100)
        one.sendto(b"%d %s" % (os.getpid(), data), peer)
except TimeoutError:
    pass
"""
STREAMS = """
import os, socket, sys
one = socket.socket(fileno=0)
one.settimeout(float(sys.argv[1]))
try:
    while True:
        client, _ = one.accept()
        client.settimeout(5)
        with client:
            client.sendall(b"%s %d %s" % (sys.argv[2].encode(), os.getpid(), client.recv(100)))
except TimeoutError:
    pass
"""
SHOW = """
import os, socket
one = socket.socket(fileno=3)
client, _ = one.accept()
client.recv(1)
same = os.path.sameopenfile(0, 3) and os.path.sameopenfile(1, 3)
names = [f"{name}={os.environ[name]}" for name in ("LISTEN_FDS", "LISTEN_FDNAMES")]
numbers = sorted(map(int, os.listdir("/proc/self/fd")))
mine = os.environ["LISTEN_PID"] == str(os.getpid())
client.sendall(f"{same} {mine} {names} {numbers} {'REMOTE_HOST' in os.environ} {os.get_blocking(0)}".encode())
"""


def python(code: str, *arguments: object) -> list[str]:
    return ["/usr/bin/python3", "-SIc", code, *map(str, arguments)]


def streams(word: str, pause: float = 0.3) -> list[str]:
    return python(STREAMS, pause, word)


def listening(command: list[str], **more: Any) -> str:
    """A config with a program that listens."""
    options = {"mode": "listener", **more.pop("options", {})}
    return config(command, options=options, **more)


def exchange(running: Daemon, sent: bytes = b"x") -> list[str]:
    """The words of the answer to this."""
    with connect(running) as client:
        client.sendall(sent)
        return client.makefile().read().split()


@contextlib.contextmanager
def datagrams(running: Daemon) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", running.port("run", "udp")))
        yield client


def test_program_gets_the_listening_socket_as_the_service_manager_passes_it(tmp_path: Path) -> None:
    with daemon(listening(python(SHOW)), tmp_path) as running:
        shown = exchange(running)
    assert " ".join(shown) == ("True True ['LISTEN_FDS=1', 'LISTEN_FDNAMES=run'] [0, 1, 2, 3, 4, 5] False True"), (
        "4 is the client, and 5 the directory that was listed"
    )


def test_program_is_started_by_a_datagram_and_nothing_that_waits_is_lost(tmp_path: Path) -> None:
    with daemon(listening(python(DATAGRAMS), listen=["udp://127.0.0.1:0"]), tmp_path) as running:
        assert listed(running) == []
        with datagrams(running) as client:
            for number in range(50):
                client.send(b"%d" % number)
            answers = [client.recv(100).split() for _ in range(50)]
            assert [int(number) for _, number in answers] == list(range(50))
            [first] = {pid for pid, _ in answers}
            started = running.event("program_started")
            assert (started["pid"], "peer" in started) == (int(first), False)
            ended = running.event("program_ended")
            assert ended["code"] == 0
            client.send(b"again")
            pid, word = client.recv(100).split()
            assert word == b"again"
            assert pid != first, "it was started again"
        until(lambda: counters(running)["programs_started"] == 2)


def test_program_that_serves_one_datagram_at_a_time_gets_them_all(tmp_path: Path) -> None:
    code = "import socket\none = socket.socket(fileno=0)\ndata, peer = one.recvfrom(100)\none.sendto(data, peer)\n"
    with (
        daemon(listening(python(code), listen=["udp://127.0.0.1:0"]), tmp_path) as running,
        datagrams(running) as client,
    ):
        for number in range(20):
            client.send(b"%d" % number)
        assert [int(client.recv(100)) for _ in range(20)] == list(range(20))


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_program_accepts_connections_by_itself(scheme: str, open_path: Path) -> None:
    path = open_path / "socket"
    listen = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{path}?mode=0666"
    with daemon(listening(streams("one", 2), listen=[listen]), open_path) as running:
        found = []
        for _ in range(3):
            client = socket.socket(socket.AF_INET if scheme == "tcp" else socket.AF_UNIX)
            with client:
                client.settimeout(20)
                client.connect(("127.0.0.1", running.port("run")) if scheme == "tcp" else str(path))
                client.sendall(b"x")
                found.append(client.makefile().read().split())
        assert [(word, sent) for word, _, sent in found] == [("one", "x")] * 3
        assert len({pid for _, pid, _ in found}) == 1, "one program serves them all"
        running.event("program_ended")


def test_program_that_listens_is_listed_kicked_and_started_again(tmp_path: Path) -> None:
    with daemon(listening(streams("one", 60)), tmp_path) as running:
        _, pid, _ = exchange(running)
        [row] = listed(running)
        assert (row["service"], row["pid"]) == ("run", int(pid))
        assert counters(running)["connections_active"] == 1
        assert running.netd("kick", "--service", "run").returncode == 0
        running.event("program_ended")
        assert is_gone(int(pid))
        _, again, _ = exchange(running)
        assert again != pid


def test_program_that_fails_at_once_is_started_with_growing_pauses(tmp_path: Path) -> None:
    with daemon(listening(["/bin/false"]), tmp_path) as running, connect(running):
        starts = [running.event("program_started") for _ in range(3)]
        assert len(starts) == 3
        before = Path(f"/proc/{launcher(running)}/stat").read_text().split()[13:15]
        running.event("program_started", 30)
        after = Path(f"/proc/{launcher(running)}/stat").read_text().split()[13:15]
        ticks = sum(map(int, after)) - sum(map(int, before))
        assert ticks < os.sysconf("SC_CLK_TCK"), "the pause keeps no processor busy"
        assert counters(running)["programs_started"] <= 5


def test_program_that_reads_nothing_and_succeeds_keeps_no_processor_busy(tmp_path: Path) -> None:
    with daemon(listening(["/bin/true"]), tmp_path) as running:
        began = time.monotonic()
        with connect(running):
            until(lambda: counters(running)["programs_started"] >= 70, 60)
        assert time.monotonic() - began > 2.5, "forty at once, and then ten a second"


def test_program_that_cannot_be_started_is_told_and_the_client_waits(tmp_path: Path, open_path: Path) -> None:
    program = open_path / "program"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    with daemon(listening([str(program)]), tmp_path) as running:
        program.rename(open_path / "other")
        with connect(running) as client:
            line = running.event("program_not_started")
            assert line["error"] == f"cannot start {program}: No such file or directory"
            program.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in streams("one")) + "\n")
            program.chmod(0o755)
            client.sendall(b"x")
            assert client.makefile().read().split()[0] == "one", "nothing that waits is lost"


def test_disable_ends_the_program_first(tmp_path: Path) -> None:
    with daemon(listening(streams("one", 60)), tmp_path) as running:
        _, pid, _ = exchange(running)
        port = running.port("run")
        assert running.netd("disable", "run").returncode == 0
        until(lambda: is_gone(int(pid)))
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0
        assert running.netd("enable", "run").returncode == 0
        running.lines.clear()
        running.event("listening")
        _, again, _ = exchange(running)
        assert again != pid
        until(lambda: counters(running)["connections_active"] == 1)


def test_stop_ends_a_program_that_listens_and_ignores_it(tmp_path: Path) -> None:
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STREAMS
    file = tmp_path / "netd.yaml"
    file.write_text(listening(python(code, 60, "one"), options={"stop": {"after": "300ms"}}))
    with Daemon("-c", str(file)) as running:
        running.event("netd_started")
        _, pid, _ = exchange(running)
        assert running.stop() == 0
        assert is_gone(int(pid))


@contextlib.contextmanager
def load(running: Daemon, threads: int = 3) -> Iterator[list[list[str]]]:
    """Clients that come one after the other, and what each is answered."""
    answers: list[list[str]] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                answers.append(exchange(running))
            except OSError as error:
                answers.append([type(error).__name__])

    working = [threading.Thread(target=work) for _ in range(threads)]
    for one in working:
        one.start()
    try:
        yield answers
    finally:
        done.set()
        for one in working:
            one.join(60)


def test_reload_with_another_command_starts_it_with_what_waits(tmp_path: Path) -> None:
    with daemon(listening(streams("one", 60)), tmp_path) as running:
        assert exchange(running)[0] == "one"
        with load(running) as answers:
            until(lambda: len(answers) > 20)
            write(tmp_path, listening(streams("two", 60)))
            assert running.netd("reload").returncode == 0
            until(lambda: answers and answers[-1][:1] == ["two"], 30)
        words = {answer[0] if answer else "nothing" for answer in answers}
        # The program that is ended may have accepted a connection, which ends with it.
        assert words <= {"one", "two", "nothing", "ConnectionResetError"}
        assert sum(answer[:1] not in (["one"], ["two"]) for answer in answers) <= 3
        assert len(listed(running)) == 1


def test_unchanged_program_that_listens_is_not_touched_by_a_reload(tmp_path: Path) -> None:
    text = listening(streams("one", 60))
    with daemon(text, tmp_path) as running:
        _, pid, _ = exchange(running)
        write(tmp_path, text + "  echo: {listen: [tcp://127.0.0.1:0]}\n")
        assert running.netd("reload").returncode == 0
        assert exchange(running)[1] == pid


def test_mode_is_changed_and_changed_back_under_load(tmp_path: Path) -> None:
    serve = "read x; echo connection $$ $x"
    per_connection = config(["/bin/bash", "-c", f"read -n1 x; {serve.partition(';')[2]}"], daemon="{workers: 2}")
    per_listener = listening(streams("listener", 60), daemon="{workers: 2}")
    with daemon(per_connection, tmp_path) as running:
        assert exchange(running)[0] == "connection"
        with load(running) as answers:
            for text, word in [(per_listener, "listener"), (per_connection, "connection")] * 2:
                write(tmp_path, text)
                assert running.netd("reload").returncode == 0
                begun = len(answers)
                until(lambda begun=begun, word=word: [word] in [one[:1] for one in answers[begun:]], 30)  # type: ignore[misc]
                begun = len(answers)
                until(lambda begun=begun: len(answers) > begun + 20, 30)  # type: ignore[misc]
        failed = [answer for answer in answers if answer[:1] not in (["connection"], ["listener"])]
        assert len(failed) <= 6, failed
        events = [line["event"] for line in running.lines]
        assert not {"worker_lost", "worker_aborted", "launcher_lost"} & set(events)
        until(lambda: len(listed(running)) == 0, 30)
        assert exchange(running)[0] == "connection"


def test_launcher_that_is_killed_starts_the_program_of_a_listener_again(tmp_path: Path) -> None:
    with daemon(listening(streams("one", 1)), tmp_path) as running:
        assert exchange(running)[0] == "one"
        os.kill(launcher(running), signal.SIGKILL)
        running.event("launcher_started")
        for _ in range(3):
            assert exchange(running)[0] == "one"
        until(lambda: counters(running)["connections_active"] <= 1)
