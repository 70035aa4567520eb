"""The heartbeat of netd, and what a config that is hard to make ready does to it and to live connections: nothing."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.support import Daemon, daemon, install_service, until

ECHO = (
    "daemon: {{heartbeat: {beat}, workers: {workers}}}\n"
    "services:\n  echo: {{listen: [tcp://127.0.0.1:0], limits: {{line: {line}}}}}\n"
)
OFF = "  slow: {enabled: false, listen: [tcp://127.0.0.1:0]}\n"  # so that its code is there before a worker is forked
ON = "  slow: {{listen: [tcp://127.0.0.1:0], options: {{act: '{}'}}}}\n"

# What a worker does when it makes the service; a process that only checks the config may still gain privileges.
SLOW = """
import os, pathlib, signal, socket
from netd.values import Model

class Service:
    "Takes its time, or dies, where it is made in a worker."
    class Options(Model):
        act: str = ""
        number: float = 0.0
    def __init__(self, options, context):
        if "NoNewPrivs:\\t1" in pathlib.Path("/proc/self/status").read_text():
            if options.act == "wait":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
                signal.sigwait({signal.SIGWINCH})
            if options.act == "raise":
                raise ValueError("not here")
            if options.act == "shut":
                for number in map(int, os.listdir("/proc/self/fd")):
                    try:
                        channel = socket.socket(fileno=os.dup(number))
                        if channel.type == socket.SOCK_SEQPACKET:
                            channel.shutdown(socket.SHUT_RD)
                    except OSError:
                        pass
                signal.pause()
            if options.act in ("die", f"die {os.getpid()}"):
                os.kill(os.getpid(), signal.SIGKILL)
    def stream(self, peer):
        yield b"here"
"""


class InBackground:
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._result = self._function()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(60)
        assert self.done
        return self._result


@contextlib.contextmanager
def with_service(tmp_path: Path, config: str, preparing: float | None = None) -> Iterator[Daemon]:
    """A netd that could serve a type ``slow``. ``preparing`` is how long a worker may take for a config."""
    path = install_service(tmp_path, "slow", SLOW)
    if preparing is not None:
        (tmp_path / "sitecustomize.py").write_text(
            f"import netd.daemon.supervisor.requests\nnetd.daemon.supervisor.requests.PREPARE_TIMEOUT = {preparing}\n"
        )
    (tmp_path / "netd.yaml").write_text(config + OFF)
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_ready")
        yield running
        assert running.stop() == 0


def events(running: Daemon, name: str) -> list[dict[str, Any]]:
    return [line for line in running.lines if line["event"] == name]


def test_reloads_at_any_rate_do_not_keep_the_watchdog_waiting(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text(ECHO.format(beat="1s", workers=1, line=100))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
        with Daemon("-c", str(tmp_path / "netd.yaml"), **environment) as running:
            running.event("netd_ready")
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
                for _ in range(3):
                    before = number[0]
                    while manager.recv(1000) != b"WATCHDOG=1":
                        pass
                    assert number[0] > before + 1, "the beat comes between reloads, not in a pause"
            finally:
                enough.set()
                for thread in threads:
                    thread.join()
            assert running.stop() == 0


def test_what_a_reload_leaves_behind_is_released_with_its_last_connection(tmp_path: Path) -> None:
    write(tmp_path, ECHO.format(beat="1h", workers=1, line=100))
    with daemon((tmp_path / "netd.yaml").read_text(), tmp_path) as running:

        def descriptors() -> int:
            return len(os.listdir(f"/proc/{running.worker}/fd"))

        def turn(line: int) -> None:
            with talking(running.port("echo")) as live:
                write(tmp_path, ECHO.format(beat="1h", workers=1, line=line))
                assert running.ask("reload")["changes"] == {"echo": "changed"}
                echoed(live, b"still\n")

        turn(1000)
        until(lambda: running.ask("status")["services"][0]["connections"] == 0)
        before = descriptors()
        for line in range(1001, 1011):
            turn(line)
        until(lambda: descriptors() <= before)


def test_a_worker_that_dies_in_a_reload_is_replaced_and_the_config_is_in_force(tmp_path: Path) -> None:
    before = ECHO.format(beat="5s", workers=1, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format(f"die {running.worker}"))
        answer = running.ask("reload")
        assert answer["ok"], answer
        assert answer["changes"] == {"slow": "enabled"}
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        assert running.event("listening")["service"] == "slow"
        with socket.create_connection(("127.0.0.1", running.port("slow")), 20) as connection:
            assert connection.recv(10) == b"here"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_config_that_kills_every_worker_is_refused(tmp_path: Path, workers: int) -> None:
    before = ECHO.format(beat="5s", workers=workers, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format("die"))
        answer = running.ask("reload")
        assert (answer["ok"], answer["exit_code"]) == (False, 71)
        assert "the process exited while it prepared the config" in answer["error"]
        assert running.ask("status")["generation"] == 1
        with talking(running.port("echo")):
            pass


def test_a_worker_that_hangs_before_a_reload_does_not_keep_the_config_from_being_in_force(tmp_path: Path) -> None:
    before = ECHO.format(beat="200ms", workers=2, line=100)
    with daemon(before, tmp_path) as running:
        os.kill(running.worker, signal.SIGSTOP)
        write(tmp_path, before + "  more: {type: echo, listen: [tcp://127.0.0.1:0]}\n")
        assert running.ask("reload")["changes"] == {"more": "added"}
        running.event("worker_aborted")
        assert running.event("worker_lost")["reason"] == "signal SIGABRT"
        until(lambda: len(running.ask("status")["workers"]) == 2)
        with talking(running.port("echo")):
            pass


def test_a_service_that_takes_its_time_to_be_made_is_no_hang(tmp_path: Path) -> None:
    before = ECHO.format(beat="100ms", workers=1, line=100)
    with with_service(tmp_path, before) as running, talking(running.port("echo")) as live:
        write(tmp_path, before + ON.format("wait"))
        reload = InBackground(lambda: running.ask("reload"))
        # Ten beats pass, of which the worker answers none, and netd answers all the while.
        until(lambda: running.ask("status")["workers"][0]["heartbeat"] > 1.0)
        assert not reload.done
        connections = InBackground(lambda: running.ask("connections"))
        os.kill(running.worker, signal.SIGWINCH)
        assert reload.result()["changes"] == {"slow": "enabled"}
        assert connections.result()["total"] == 1
        echoed(live, b"still\n")
    assert not events(running, "worker_aborted")
    assert not events(running, "worker_lost")


def test_a_config_that_takes_too_long_to_make_ready_is_refused_and_nothing_else_happens(tmp_path: Path) -> None:
    before = ECHO.format(beat="100ms", workers=2, line=100)
    with with_service(tmp_path, before, preparing=1.0) as running, contextlib.ExitStack() as stack:
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
        assert running.ask("reload")["changes"] == {"slow": "enabled"}, "and the next one can be taken"
        for connection in live:
            echoed(connection, b"still\n")
    assert not events(running, "worker_aborted")


def test_a_config_that_comes_slowly_keeps_nothing_waiting(tmp_path: Path) -> None:
    text = ECHO.format(beat="5s", workers=1, line=100)
    with daemon(text, tmp_path) as running, talking(running.port("echo")) as live:
        file = tmp_path / "netd.yaml"
        file.unlink()
        os.mkfifo(file)
        reload = InBackground(lambda: running.ask("reload"))
        for _ in range(3):
            assert running.ask("status")["generation"] == 1
            echoed(live, b"still\n")
        assert not reload.done
        until(lambda: _feed(file, text, reload))
        assert reload.result()["ok"]


def _feed(file: Path, text: str, reload: InBackground) -> bool:
    with contextlib.suppress(OSError):  # nothing reads now
        descriptor = os.open(file, os.O_WRONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "w") as fifo:
            fifo.write(text)
    return reload.done


def test_netd_stops_while_a_config_is_read(tmp_path: Path) -> None:
    text = ECHO.format(beat="5s", workers=1, line=100)
    with daemon(text, tmp_path) as running:
        file = tmp_path / "netd.yaml"
        file.unlink()
        os.mkfifo(file)
        running.process.send_signal(signal.SIGHUP)
        until(lambda: len(_children(running.process.pid)) == 2)
        assert running.stop() == 0
        assert not events(running, "command_failed")


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_commands_that_change_the_config_are_done_one_after_the_other(tmp_path: Path) -> None:
    text = ECHO.format(beat="5s", workers=2, line=100)
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


def test_many_hangups_are_not_more_reloads_than_are_needed(tmp_path: Path) -> None:
    with daemon(ECHO.format(beat="5s", workers=1, line=100), tmp_path) as running:
        for _ in range(50):
            running.process.send_signal(signal.SIGHUP)
        running.event("reload_applied")
        assert running.ask("reload")["ok"]
        until(lambda: running.ask("status")["generation"] >= 2)
        assert running.ask("status")["generation"] < 50


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_that_is_asked_for_while_netd_starts_comes_after_it(tmp_path: Path, workers: int) -> None:
    path = install_service(tmp_path, "slow", SLOW)
    before = ECHO.format(beat="5s", workers=workers, line=100)
    write(tmp_path, before + ON.format("wait"))
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_started")
        until(lambda: len(_children(running.process.pid)) == 1)
        write(tmp_path, before + "  more: {type: echo, listen: [tcp://127.0.0.1:0]}\n")
        running.process.send_signal(signal.SIGHUP)

        def all_started() -> bool:
            for child in _children(running.process.pid):
                _wake(int(child))
            return os.path.exists(running.control) and len(running.ask("status")["workers"]) == workers

        until(all_started)
        running.event("netd_ready")
        assert running.event("reload_applied")["changes"] == {"more": "added", "slow": "removed"}
        assert len(running.ask("status")["workers"]) == workers
        with talking(running.port("more")):
            pass
        assert running.stop() == 0


def _wake(pid: int) -> None:
    """Wake a process that waits for it; another one ignores it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGWINCH)


def test_a_worker_that_hears_nothing_more_is_ended_and_holds_up_no_command(tmp_path: Path) -> None:
    before = ECHO.format(beat="200ms", workers=1, line=100)
    with with_service(tmp_path, before) as running:
        write(tmp_path, before + ON.format("shut"))
        assert "the process exited while it prepared the config" in running.ask("reload")["error"]
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        write(tmp_path, before)
        assert running.ask("reload")["ok"]
        until(lambda: running.ask("status")["workers"])
        with talking(running.port("echo")):
            pass


@pytest.mark.parametrize("number", [".inf", ".nan", "1234567890123456789012345"])
def test_options_may_be_numbers_of_any_size(tmp_path: Path, number: str) -> None:
    before = ECHO.format(beat="5s", workers=1, line=100)
    with with_service(tmp_path, before) as running, talking(running.port("echo")) as live:
        write(tmp_path, before + f"  slow: {{listen: [tcp://127.0.0.1:0], options: {{number: {number}}}}}\n")
        assert running.ask("reload")["changes"] == {"slow": "enabled"}
        echoed(live, b"still\n")


def test_refused_reloads_leave_no_descriptors_behind(tmp_path: Path) -> None:
    before = ECHO.format(beat="5s", workers=1, line=100)
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


def test_a_constructor_of_a_new_type_does_not_hold_up_the_supervisor(tmp_path: Path) -> None:
    before = ECHO.format(beat="5s", workers=1, line=100)
    # Where it is made outside of a worker, which is to be in the process that reads the config alone, it waits.
    source = SLOW.replace('if "NoNewPrivs:\\t1" in', 'if "NoNewPrivs:\\t0" in')
    assert source != SLOW
    path = install_service(tmp_path, "slow", source)
    write(tmp_path, before)
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_ready")
        write(tmp_path, before + ON.format("wait").replace("listen", "enabled: false, listen"))
        reload = InBackground(lambda: running.ask("reload"))
        until(lambda: len(_children(running.process.pid)) == 2)
        reader = int(_children(running.process.pid)[1])
        assert running.ask("status")["generation"] == 1

        def woken() -> bool:
            _wake(reader)
            return reload.done

        until(woken)
        assert reload.result()["changes"] == {"slow": "added"}
        assert running.stop() == 0
