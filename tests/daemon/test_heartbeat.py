"""Heartbeats and open connections during reloads, also of configs that are slow to prepare or fail."""

import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from netd.errors import NotRunningError
from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.daemon.slow_service import ECHO, ON, SLOW, InBackground, children, logged, wake, with_service
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need_root
from tests.support.services import install_service
from tests.support.waiting import until


@pytest.mark.slow
def test_reloads_at_any_rate_do_not_delay_the_watchdog(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text(ECHO.format(heartbeat="1s", workers=1, line=100))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with Daemon("-c", str(tmp_path / "netd.yaml"), **environment) as running:
            running.event("netd_started")
            enough = threading.Event()
            number = [0]

            def reload() -> None:
                while not enough.is_set():
                    assert running.ask("reload")["ok"]
                    number[0] += 1

            threads = [threading.Thread(target=reload) for _ in range(3)]
            for thread in threads:
                thread.start()
            try:
                # The threads leave no pause between reloads, and both go on: heartbeats are sent between them.
                for _ in range(3):
                    before = number[0]
                    while manager.recv(1000) != b"WATCHDOG=1":
                        pass
                    until(lambda before=before: number[0] > before + 1, 20)  # type: ignore[misc]
            finally:
                enough.set()
                for thread in threads:
                    thread.join()
            assert running.stop() == 0


@pytest.mark.slow
@pytest.mark.timeout(120)  # a worker is tried again after 15 s
def test_netd_without_a_worker_is_not_ready_and_does_not_notify_the_watchdog(open_path: Path, tmp_path: Path) -> None:
    need_root()
    jail = open_path / "jail"
    jail.mkdir()
    (tmp_path / "netd.yaml").write_text(
        f"daemon: {{chroot: {jail}, heartbeat: 100ms}}\nservices:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with Daemon("-c", str(tmp_path / "netd.yaml"), **environment) as running:
            running.event("netd_started")
            while manager.recv(1000) != b"WATCHDOG=1":
                pass
            assert running.ask("status")["ready"]
            jail.rmdir()
            os.kill(running.worker, signal.SIGKILL)
            running.event("worker_failed")
            status = running.ask("status")
            assert (status["ready"], status["healthy"], status["workers"]) == (False, False, [])
            while b" 0 workers" not in manager.recv(1000):
                pass  # a heartbeat sends this after its message to the watchdog
            manager.settimeout(0.5)  # five heartbeats
            with pytest.raises(TimeoutError):
                while True:
                    assert manager.recv(1000) != b"WATCHDOG=1"
            for _ in range(3):
                running.event("worker_failed")  # the next one is 15 s after the last of these
            jail.mkdir()
            done = running.netd("reload")
            assert done.returncode == 0
            assert done.stderr == "netd: 0 of 1 workers run: see worker_lost and worker_failed in the log\n"
            manager.settimeout(20)
            while manager.recv(1000) != b"WATCHDOG=1":
                pass
            until(lambda: running.ask("status")["ready"])
            assert running.stop() == 0


@pytest.mark.slow
def test_descriptors_of_a_reload_are_released_with_the_last_old_connection(tmp_path: Path) -> None:
    write(tmp_path, ECHO.format(heartbeat="1h", workers=1, line=100))
    with daemon((tmp_path / "netd.yaml").read_text(), tmp_path) as running:

        def descriptors() -> int:
            # While the worker handles a message of the supervisor, it has fewer. An answer shows that it has done so.
            echoed(other, b"done\n")
            return len(os.listdir(f"/proc/{running.worker}/fd"))

        def turn(line: int) -> None:
            with talking(running.port("echo")) as live:
                write(tmp_path, ECHO.format(heartbeat="1h", workers=1, line=line))
                assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {"echo": "changed"}
                echoed(live, b"still\n")

        with talking(running.port("echo")) as other:
            turn(1000)
            until(lambda: running.ask("status")["services"][0]["connections"] == 1)
            before = descriptors()
            for line in range(1001, 1011):
                turn(line)
            until(lambda: descriptors() <= before)


@pytest.mark.slow
def test_worker_that_exits_in_a_reload_is_replaced_and_the_config_is_in_force(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="5s", workers=1, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format(f"die {running.worker}"))
        answer = running.ask("reload")
        assert answer["ok"], answer
        assert {one["service"]: one["what"] for one in answer["changes"]} == {"slow": "enabled"}
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        assert running.event("listening")["service"] == "slow"
        with socket.create_connection(("127.0.0.1", running.port("slow")), 20) as connection:
            assert connection.recv(10) == b"here"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_config_that_kills_every_worker_is_rejected(tmp_path: Path, workers: int) -> None:
    before = ECHO.format(heartbeat="5s", workers=workers, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format("die"))
        answer = running.ask("reload")
        assert (answer["ok"], answer["exit_code"]) == (False, 71)
        assert "the process exited while it prepared the config" in answer["error"]
        assert running.ask("status")["generation"] == 1
        with talking(running.port("echo")):
            pass


@pytest.mark.slow
def test_worker_that_hangs_before_a_reload_does_not_prevent_it(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="200ms", workers=2, line=100)
    with daemon(before, tmp_path) as running:
        os.kill(running.worker, signal.SIGSTOP)
        write(tmp_path, before + "  more: {type: echo, listen: [tcp://127.0.0.1:0]}\n")
        assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {"more": "added"}
        running.event("worker_aborted")
        assert running.event("worker_lost")["reason"] == "signal SIGABRT"
        until(lambda: len(running.ask("status")["workers"]) == 2)
        with talking(running.port("echo")):
            pass


@pytest.mark.slow
def test_slow_constructor_of_a_service_is_no_hang(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="500ms", workers=1, line=100)
    with with_service(tmp_path, before) as running, talking(running.port("echo")) as live:
        write(tmp_path, before + ON.format("wait"))
        reload = InBackground(lambda: running.ask("reload"))
        # The worker misses four heartbeats, and netd answers commands meanwhile.
        until(lambda: running.ask("status")["workers"][0]["heartbeat_seconds"] > 2.0)
        assert not reload.done
        connections = InBackground(lambda: running.ask("connections"))
        os.kill(running.worker, signal.SIGWINCH)
        assert {one["service"]: one["what"] for one in reload.result()["changes"]} == {"slow": "enabled"}
        assert connections.result()["total"] == 1
        echoed(live, b"still\n")
    assert not logged(running, "worker_aborted")
    assert not logged(running, "worker_lost")


@pytest.mark.slow
def test_config_that_takes_too_long_to_prepare_is_rejected_without_effect(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="500ms", workers=2, line=100)
    with with_service(tmp_path, before, preparing=3.0) as running, contextlib.ExitStack() as stack:
        live = [stack.enter_context(talking(running.port("echo"))) for _ in range(10)]
        write(tmp_path, before + ON.format("wait"))
        answer = running.ask("reload")
        assert (answer["ok"], answer["exit_code"]) == (False, 71)
        assert "it did not prepare the config within " in answer["error"]
        assert running.ask("status")["generation"] == 1
        for worker in running.ask("status")["workers"]:
            os.kill(worker["pid"], signal.SIGWINCH)
        for connection in live:
            echoed(connection, b"still\n")
        write(tmp_path, before + ON.format("nothing"))
        assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {"slow": "enabled"}, (
            "and the next one is accepted"
        )
        for connection in live:
            echoed(connection, b"still\n")
    assert not logged(running, "worker_aborted")


@pytest.mark.slow
def test_commands_that_change_the_config_run_one_at_a_time(tmp_path: Path) -> None:
    text = ECHO.format(heartbeat="5s", workers=2, line=100)
    with daemon(text, tmp_path) as running:
        commands = [("reload",), ("disable", "echo"), ("enable", "echo")] * 10
        asked = [InBackground(lambda words=words: running.ask(*words)) for words in commands]  # type: ignore[misc]
        answers = [one.result() for one in asked]
        assert all(answer["ok"] for answer in answers), answers
        generations = sorted(answer["generation"] for answer in answers if "generation" in answer)
        assert generations == list(range(2, 12))
        assert running.ask("reload")["ok"]
        [place] = running.ask("status")["services"][0]["endpoints"]
        with talking(int(place.rpartition(":")[2])):
            pass


@pytest.mark.slow
def test_many_sighups_cause_few_reloads(tmp_path: Path) -> None:
    with daemon(ECHO.format(heartbeat="5s", workers=1, line=100), tmp_path) as running:
        for _ in range(50):
            running.process.send_signal(signal.SIGHUP)
        running.event("reload_applied")
        assert running.ask("reload")["ok"]
        until(lambda: running.ask("status")["generation"] >= 2)
        assert running.ask("status")["generation"] < 50


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_reload_that_is_requested_during_the_start_runs_after_it(tmp_path: Path, workers: int) -> None:
    path = install_service(tmp_path, "slow", SLOW)
    before = ECHO.format(heartbeat="5s", workers=workers, line=100)
    write(tmp_path, before + ON.format("wait"))
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_starting")
        until(lambda: len(children(running.process.pid)) == 1)
        write(tmp_path, before + "  more: {type: echo, listen: [tcp://127.0.0.1:0]}\n")
        running.process.send_signal(signal.SIGHUP)

        def all_started() -> bool:
            for child in children(running.process.pid):
                wake(int(child))
            with contextlib.suppress(NotRunningError):  # its file is there a moment before it listens
                return len(running.ask("status")["workers"]) == workers
            return False

        until(all_started)
        running.event("netd_started")
        assert running.event("reload_applied")["changes"] == {"more": "added", "slow": "removed"}
        assert len(running.ask("status")["workers"]) == workers
        with talking(running.port("more")):
            pass
        assert running.stop() == 0


@pytest.mark.slow
def test_worker_with_a_closed_channel_is_killed_and_delays_no_command(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="200ms", workers=1, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format("shut"))
        assert "the process exited while it prepared the config" in running.ask("reload")["error"]
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        write(tmp_path, before)
        assert running.ask("reload")["ok"]
        until(lambda: running.ask("status")["workers"])
        with talking(running.port("echo")):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("number", [".inf", ".nan", "1234567890123456789012345"])
def test_options_may_be_numbers_of_any_size(tmp_path: Path, number: str) -> None:
    before = ECHO.format(heartbeat="5s", workers=1, line=100)
    with with_service(tmp_path, before) as running, talking(running.port("echo")) as live:
        write(tmp_path, before + f"  slow: {{listen: [tcp://127.0.0.1:0], options: {{number: {number}}}}}\n")
        assert {one["service"]: one["what"] for one in running.ask("reload")["changes"]} == {"slow": "enabled"}
        echoed(live, b"still\n")


@pytest.mark.slow
def test_rejected_reloads_leak_no_descriptors(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="5s", workers=1, line=100)
    with with_service(tmp_path, before) as running, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{running.process.pid}/fd"))

        def refuse(number: int) -> None:
            place = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
            write(tmp_path, before + f"  new{number}: {{type: echo, listen: [tcp://127.0.0.1:0, '{place}']}}\n")
            assert not running.ask("reload")["ok"]
            entry = "{type: slow, listen: [tcp://127.0.0.1:0], options: {act: raise}}"
            write(tmp_path, before + f"  more{number}: {entry}\n")
            assert not running.ask("reload")["ok"]

        refuse(0)
        known = descriptors()
        for number in range(1, 4):
            refuse(number)
        until(lambda: descriptors() <= known)
