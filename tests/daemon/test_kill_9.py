"""What is killed with SIGKILL, at any moment, is replaced, or starts again, and takes nothing with it."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.daemon.processes import ECHO, counters, workers
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.slow
def test_kill_9_under_load_refuses_no_connection_and_loses_no_count(tmp_path: Path, number: int) -> None:
    config = f"daemon: {{workers: {number}}}\n" + ECHO.format("off")
    refused: list[str] = []
    answered = [0]
    enough = threading.Event()

    def ask(port: int) -> None:
        while not enough.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", port), 20)
            except OSError as error:
                refused.append(repr(error))
                return
            with connection, contextlib.suppress(ConnectionError):  # it was a connection of the killed worker
                connection.sendall(b"hello")
                answered[0] += connection.recv(10) == b"hello"

    with daemon(config, tmp_path) as running:
        threads = [threading.Thread(target=ask, args=(running.port("echo"),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            before, [victim, *_] = answered[0], workers(running)
            os.kill(victim, signal.SIGKILL)
            until(lambda before=before: answered[0] > before + 50)  # type: ignore[misc]
            until(lambda: len(workers(running)) == number)
        enough.set()
        for thread in threads:
            thread.join()
        assert refused == []
        lost = [running.event("worker_lost") for _ in range(2)]
        assert {line["reason"] for line in lost} == {"signal SIGKILL"}
        until(lambda: running.ask("status")["services"][0]["connections"] == 0)
        counts = counters(running)
        closed = counts["connections_closed"]
        assert isinstance(closed, dict)
        assert closed.get("lost", 0) == sum(line["connections"] for line in lost)
        assert counts["connections_accepted"] == sum(closed.values())
        assert isinstance(counts["connections_accepted"], int)
        assert counts["connections_accepted"] >= answered[0], "the counts of the killed worker are kept"


@pytest.mark.slow
def test_worker_that_keeps_being_killed_is_replaced_with_backoff(tmp_path: Path) -> None:
    with daemon(ECHO.format("off"), tmp_path) as running:
        for delay in (0.0, 0.25, 1.0):
            until(lambda: workers(running))
            os.kill(workers(running)[0], signal.SIGKILL)
            assert running.event("worker_lost")["delay"] == delay
        # Connections wait in the queue meanwhile, and are not refused.
        with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
            connection.settimeout(20)
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5])
@pytest.mark.slow
def test_kill_9_at_any_moment_of_the_start_does_not_prevent_the_next(tmp_path: Path, moment: float) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(
        f'daemon: {{workers: 2, control: "{tmp_path}/c", pid_file: "{tmp_path}/pid"}}\n'
        f'services:\n  echo: {{listen: [tcp://127.0.0.1:0, "unix://{tmp_path}/s"]}}\n'
    )
    with Daemon("-c", str(file)) as first:
        with contextlib.suppress(Exception):
            first.process.wait(moment)  # the moment of the kill differs
        first.stop(signal.SIGKILL)
    with Daemon("-c", str(file)) as second:
        second.event("netd_started")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{tmp_path}/s")
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert (tmp_path / "pid").read_text() == f"{second.process.pid}\n"
        done = second.netd("stop", "-c", str(file))
        assert done.returncode == 0, done.stderr
        assert second.stop() == 0
    assert {file.name for file in tmp_path.iterdir()} == {"netd.yaml"}


@pytest.mark.parametrize("what", ["reload", "stop"])
@pytest.mark.slow
def test_kill_9_during_a_reload_or_stop_does_not_prevent_the_next_start(tmp_path: Path, what: str) -> None:
    file = tmp_path / "netd.yaml"
    text = 'services:\n  echo: {{listen: ["unix://{0}/s{1}"]}}\n  upper: {{listen: ["unix://{0}/u"]}}\n'
    for number in range(5):
        file.write_text(text.format(tmp_path, number))
        with Daemon("-c", str(file)) as running:
            running.event("netd_started")
            file.write_text(text.format(tmp_path, number + 1))
            running.process.send_signal(signal.SIGHUP if what == "reload" else signal.SIGTERM)
            with contextlib.suppress(Exception):
                running.process.wait(0.001 * number**2)  # the moment of the kill differs
            running.stop(signal.SIGKILL)
    with daemon(text.format(tmp_path, 9), tmp_path), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(f"{tmp_path}/u")
        connection.sendall(b"x\n")
        assert connection.recv(10) == b"X\n"
