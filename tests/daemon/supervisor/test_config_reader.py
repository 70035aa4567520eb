"""The process that reads the config while netd serves."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.daemon.supervisor import config_reader
from netd.daemon.supervisor.config_diff import ConfigDiff
from netd.daemon.supervisor.config_reader import ConfigReader
from netd.daemon.supervisor.control import CommandError
from netd.daemon.tasks import Tasks
from netd.errors import OpenError, OperatorError
from netd.transport.loop import Loop
from tests.daemon.clients import echoed, talking
from tests.daemon.configs import write
from tests.daemon.slow_service import ECHO, ON, SLOW, InBackground, children, logged, wake
from tests.support.daemon import Daemon, daemon
from tests.support.services import install_service
from tests.support.waiting import until


class Reading:
    """A `ConfigReader` in a loop, with a config in force."""

    def __init__(self, file: Path) -> None:
        file.write_text("services: {echo: {listen: ['tcp://127.0.0.1:0']}}")
        self.file = file
        self.config = loader.load(file)
        self.loop = Loop()
        self.tasks = Tasks(self.loop)

    def diff(self, load: Callable[[], Config]) -> ConfigDiff:
        """Read the config with ``load`` and compare it with the one in force."""
        reader = ConfigReader(self.tasks, self.loop, load)
        result = self.tasks.start(reader.load(self.config, self.config))
        result.then(self.loop.stop)
        self.loop._running = True
        self.loop.run()

        def reaped() -> bool:
            reader.reap()
            return not reader.children

        until(reaped)
        return result.get()


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    made = Reading(tmp_path / "netd.yaml")
    yield made
    made.tasks.close()
    made.loop.close()


def test_config_is_read_and_compared_in_a_child_process(reading: Reading) -> None:
    assert reading.diff(lambda: loader.load(reading.file)).changes == ()
    reading.file.write_text("services: {upper: {listen: ['tcp://127.0.0.1:0'], access: {deny: [any]}}}")
    pids: list[int] = []

    def load() -> Config:
        pids.append(os.getpid())
        return loader.load(reading.file)

    diff = reading.diff(load)
    assert pids == [], "this process has not called it"
    assert [(change.service, change.what) for change in diff.changes] == [("echo", "removed"), ("upper", "added")]
    assert [service.name for service in diff.config.services] == ["upper"]
    assert diff.config.services[0].access.read().rules["deny"] == ["any"]


def test_problems_of_a_config_are_raised_with_their_exit_code(reading: Reading) -> None:
    reading.file.write_text("services: {ecoh: {listen: ['tcp://127.0.0.1:0']}}")
    with pytest.raises(OperatorError) as raised:
        reading.diff(lambda: loader.load(reading.file))
    assert raised.value.exit_code == 78
    assert len(raised.value.problems) == 1
    assert "unknown service type 'ecoh'" in raised.value.problems[0]

    def load() -> Config:
        raise OpenError(["no memory"])

    with pytest.raises(OperatorError, match="no memory") as raised:
        reading.diff(load)
    assert raised.value.exit_code == 71


def test_bug_while_a_config_is_read_is_raised_with_its_type(reading: Reading) -> None:
    def load() -> Config:
        raise SystemExit("a service's module")

    with pytest.raises(CommandError, match="a bug in netd, or in a package with services: SystemExit: ") as raised:
        reading.diff(load)
    assert raised.value.exit_code == 70


def test_reader_that_is_killed_is_an_error(reading: Reading) -> None:
    def load() -> Config:
        os.kill(os.getpid(), signal.SIGKILL)
        return reading.config

    with pytest.raises(CommandError, match="^the process that reads the config exited$"):
        reading.diff(load)


def test_reader_that_takes_too_long_is_killed(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Config:
        signal.pause()
        return reading.config

    monkeypatch.setattr(config_reader, "READ_TIMEOUT", 0.01)
    with pytest.raises(CommandError, match="^reading the config took more than 0 s$") as raised:
        reading.diff(load)
    assert raised.value.exit_code == 71


def test_reader_is_not_started_before_the_one_before_it_has_answered(reading: Reading) -> None:
    reader = ConfigReader(reading.tasks, reading.loop, lambda: loader.load(reading.file))
    results = [reading.tasks.start(reader.load(reading.config, reading.config)) for _ in range(2)]
    assert len(reader.children) == 1
    results[1].then(reading.loop.stop)
    reading.loop.run()
    assert [result.get().changes for result in results] == [(), ()]


def test_reader_that_cannot_be_started_is_an_error(reading: Reading) -> None:
    reader = ConfigReader(reading.tasks, reading.loop, lambda: loader.load(reading.file))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        result = reading.tasks.start(reader.load(reading.config, reading.config))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with pytest.raises(CommandError, match="^cannot start a process that reads the config: Too many open files$"):
        result.get()


def _stop_reader(running: Daemon) -> int:
    """Stop the process that reads the config, once it has begun. Returns its pid."""
    until(lambda: len(children(running.process.pid)) == 2)
    [reader] = {int(child) for child in children(running.process.pid)} - {running.worker}
    os.kill(reader, signal.SIGSTOP)
    return reader


# Reading this takes so long that the process can be stopped meanwhile.
LONG = "".join(f"  off{number}: {{type: echo, enabled: false, listen: [tcp://*:0]}}\n" for number in range(2000))


@pytest.mark.slow
def test_config_that_is_read_slowly_blocks_neither_commands_nor_services(tmp_path: Path) -> None:
    text = ECHO.format(heartbeat="5s", workers=1, line=100)
    with daemon(text, tmp_path) as running, talking(running.port("echo")) as live:
        write(tmp_path, text + LONG)
        reload = InBackground(lambda: running.ask("reload"))
        reader = _stop_reader(running)
        for _ in range(3):
            assert running.ask("status")["generation"] == 1
            echoed(live, b"still\n")
        assert not reload.done
        os.kill(reader, signal.SIGCONT)
        assert reload.result()["ok"]


@pytest.mark.slow
def test_netd_stops_while_a_config_is_read(tmp_path: Path) -> None:
    text = ECHO.format(heartbeat="5s", workers=1, line=100)
    with daemon(text, tmp_path) as running:
        write(tmp_path, text + LONG)
        running.process.send_signal(signal.SIGHUP)
        _stop_reader(running)
        assert running.stop() == 0
        assert not logged(running, "command_failed")


@pytest.mark.slow
def test_constructor_of_a_new_type_does_not_block_the_supervisor(tmp_path: Path) -> None:
    before = ECHO.format(heartbeat="5s", workers=1, line=100)
    # The constructor waits outside of a worker, which should be only in the process that reads the config.
    source = SLOW.replace('if "NoNewPrivs:\\t1" in', 'if "NoNewPrivs:\\t0" in')
    assert source != SLOW
    path = install_service(tmp_path, "slow", source)
    write(tmp_path, before)
    with Daemon("-c", str(tmp_path / "netd.yaml"), PYTHONPATH=path) as running:
        running.event("netd_started")
        write(tmp_path, before + ON.format("wait").replace("listen", "enabled: false, listen"))
        reload = InBackground(lambda: running.ask("reload"))
        until(lambda: len(children(running.process.pid)) == 2)
        reader = int(children(running.process.pid)[1])
        assert running.ask("status")["generation"] == 1

        def woken() -> bool:
            wake(reader)
            return reload.done

        until(woken)
        assert {one["service"]: one["what"] for one in reload.result()["changes"]} == {"slow": "added"}
        assert running.stop() == 0
