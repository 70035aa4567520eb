"""The phases of a reload, with fake workers: prepare, then commit or abort, in all workers or in none."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.config.loader import load
from netd.daemon.messages.from_supervisor import (
    Abort,
    AnyRequest,
    CloseRemoved,
    Commit,
    Order,
    Prepare,
    Retire,
    ServiceEntry,
    SetBans,
    SetDaemonLimits,
    SetRunning,
)
from netd.daemon.messages.from_worker import Busy, Done, Failed, Response
from netd.daemon.supervisor import config_diff
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.launchers import LauncherPool
from netd.daemon.supervisor.listeners import Listeners
from netd.daemon.supervisor.programs import Programs
from netd.daemon.supervisor.reload import Reloader
from netd.daemon.supervisor.requests import PREPARE_TIMEOUT
from netd.daemon.supervisor.socket_filters import SocketFilters
from netd.daemon.supervisor.spawn import WorkerProcess
from netd.daemon.supervisor.state import State
from netd.daemon.tasks import Result
from netd.errors import OpenError
from netd.privileges import RunAs
from netd.steps import finish
from netd.transport.arrivals import HANDSHAKE
from netd.transport.wheel import TICK
from tests.daemon.fakes import Behaviour, Pool, Worker, pool, succeed
from tests.support.sockets import free_port

ECHO = "services:\n  echo: {listen: ['tcp://127.0.0.1:0']}\n"
MORE = ECHO + "  upper: {listen: ['tcp://127.0.0.1:0']}\n"


def no_launcher(number: int, run_as: RunAs) -> WorkerProcess:
    raise AssertionError("no service has a program")


class Reload:
    """A pool of fake workers with a config in force, to which the next one is applied."""

    def __init__(self, directory: Path, made: Pool) -> None:
        self._file = directory / "netd.yaml"
        self._file.write_text(ECHO)
        self.pool = made
        self.state = State(load(self._file))
        self.listeners = Listeners([], self.state.address_skipped, self.state.options_failed)
        diff = finish(config_diff.from_nothing(self.state.config))
        self.listeners.commit(finish(self.listeners.prepare(diff)))
        launchers = LauncherPool(
            made.tasks, made.loop, made.pool._events, made.pool.requests, no_launcher, lambda: made.pool.all_workers
        )
        filters = SocketFilters(self.state, self.listeners, made.pool._events, made.tasks, made.loop)
        self.reloader = Reloader(
            self.state, self.listeners, filters, made.pool, Programs(launchers), made.tasks, "alex"
        )

    def apply(self, text: str) -> Result[None]:
        """Begin to put this config in force, and run the loop until it waits."""
        self._file.write_text(text)
        config = load(self._file)
        diff = finish(config_diff.compare(self.state.config, config, self.state.initial))
        result = self.pool.tasks.start(self.reloader.apply(diff, config, {}))
        self.pool.loop.settle()
        return result

    @property
    def services(self) -> list[str]:
        """The services in force."""
        return [service.name for service in self.state.config.enabled]

    @property
    def ports(self) -> int:
        """The number of listening sockets."""
        return sum(1 for _ in self.listeners)


@pytest.fixture
def reload(tmp_path: Path) -> Iterator[Reload]:
    """A reload with two workers, which have prepared the first config only."""
    with pool() as made:
        one = Reload(tmp_path, made)
        with contextlib.closing(one.listeners):
            made.sync = one.reloader.sync_worker
            made.start(2)
            assert len(made.workers) == 2
            for worker in made.workers:
                assert kinds(worker) == [SetDaemonLimits, SetBans, SetRunning, Prepare, Commit]
                worker.received.clear()
            yield one


def kinds(worker: Worker) -> list[type]:
    return [type(command) for command in worker.received]


def prepares(behaviour: Behaviour) -> Behaviour:
    """Answers `Prepare` as ``behaviour`` does, and all other requests with success."""
    return lambda request: behaviour(request) if isinstance(request, Prepare) else succeed(request)


def no_response(request: AnyRequest) -> Response | None:
    return None


def entries(command: AnyRequest | Order) -> dict[str, ServiceEntry]:
    assert isinstance(command, Prepare)
    return {entry.name: entry for entry in map(ServiceEntry.decode, command.services)}


def listening(log: list[dict[str, Any]]) -> list[str]:
    return [line["service"] for line in log if line["event"] == "listening"]


def test_config_that_all_workers_prepare_is_committed_by_all(reload: Reload, log: list[dict[str, Any]]) -> None:
    assert reload.apply(MORE).get() is None
    assert reload.services == ["echo", "upper"]
    assert reload.ports == 2
    assert listening(log) == ["upper"]
    for worker in reload.pool.workers:
        assert kinds(worker) == [Prepare, Commit]
        prepare = worker.received[0]
        assert isinstance(prepare, Prepare)
        assert (len(prepare.new_listeners), prepare.new_counters) == (1, ["upper"])
        found = entries(prepare)
        assert {name: (len(one.listeners), one.changed) for name, one in found.items()} == {
            "echo": (1, False),
            "upper": (1, False),
        }


def test_config_is_committed_by_no_worker_before_all_have_prepared_it(reload: Reload) -> None:
    first, last = reload.pool.workers
    last.behaviour = prepares(no_response)
    result = reload.apply(MORE)
    assert (kinds(first), kinds(last)) == ([Prepare], [Prepare])
    assert (result.done, reload.services) == (False, ["echo"])
    last.respond(last.last_request, Done())
    reload.pool.loop.settle()
    assert (kinds(first), kinds(last)) == ([Prepare, Commit], [Prepare, Commit])
    assert (result.done, reload.services) == (True, ["echo", "upper"])


def test_config_is_what_a_new_worker_gets_before_the_commit_was_answered(reload: Reload) -> None:
    last = reload.pool.workers[1]
    last.behaviour = lambda request: None if isinstance(request, Commit) else succeed(request)
    result = reload.apply(MORE)
    assert (result.done, reload.services) == (False, ["echo", "upper"])
    last.exit(-signal.SIGKILL)
    reload.pool.loop.settle()
    assert result.get() is None
    assert entries(reload.pool.forked[2].received[3]).keys() == {"echo", "upper"}


def test_config_that_one_worker_cannot_prepare_is_aborted_in_all(reload: Reload) -> None:
    first, last = reload.pool.workers
    last.behaviour = prepares(lambda request: Failed("services.upper: not here"))
    with pytest.raises(OpenError) as raised:
        reload.apply(MORE).get()
    assert raised.value.problems == ("worker (user alex): services.upper: not here",)
    assert (kinds(first), kinds(last)) == ([Prepare, Abort], [Prepare, Abort])
    assert (reload.services, reload.ports) == (["echo"], 1)
    assert set(reload.state.tables) == {"echo"}
    last.behaviour = succeed
    assert reload.apply(MORE).get() is None, "and the next one is accepted"


def test_config_with_a_port_in_use_is_sent_to_no_worker(reload: Reload) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OpenError):
        reload.apply(MORE.replace("127.0.0.1:0']}\n  upper", f"127.0.0.1:{taken.getsockname()[1]}']}}\n  upper")).get()
    assert [kinds(worker) for worker in reload.pool.workers] == [[], []]
    assert (reload.services, reload.ports) == (["echo"], 1)


def test_worker_that_exits_while_it_prepares_has_a_successor_that_is_asked_too(reload: Reload) -> None:
    lost, other = reload.pool.workers
    lost.behaviour = prepares(no_response)
    result = reload.apply(MORE)
    lost.exit(-signal.SIGSEGV)
    reload.pool.loop.settle()
    assert result.get() is None
    successor = reload.pool.forked[2]
    assert reload.pool.workers == [successor, other]
    assert kinds(successor) == [SetDaemonLimits, SetBans, SetRunning, Prepare, Commit, Prepare, Commit]
    assert entries(successor.received[3]).keys() == {"echo"}, "first the config in force"
    assert entries(successor.received[5]).keys() == {"echo", "upper"}
    assert kinds(other) == [Prepare, Commit]
    assert reload.services == ["echo", "upper"]


def test_config_at_which_the_successor_exits_too_is_rejected(reload: Reload) -> None:
    lost, other = reload.pool.workers
    lost.behaviour = prepares(no_response)

    def exits(request: AnyRequest) -> Response | None:
        if "upper" in entries(request):
            reload.pool.forked[2].exit(-signal.SIGSEGV)
        return Done()

    reload.pool.behaviour = prepares(exits)
    result = reload.apply(MORE)
    lost.exit(-signal.SIGSEGV)
    reload.pool.loop.settle()
    with pytest.raises(OpenError) as raised:
        result.get()
    assert raised.value.problems == ("worker (user alex): the process exited while it prepared the config",)
    assert kinds(other) == [Prepare, Abort]
    assert (reload.services, reload.ports) == (["echo"], 1)
    reload.pool.loop.wait(1)
    assert len(reload.pool.workers) == 2, "it is replaced too"
    assert kinds(reload.pool.forked[3]) == [SetDaemonLimits, SetBans, SetRunning, Prepare, Commit]


def test_config_that_a_worker_prepares_too_slowly_is_rejected_and_the_worker_stays(reload: Reload) -> None:
    slow, other = reload.pool.workers

    def begins(request: AnyRequest) -> Response | None:
        slow.report(Busy())
        return None

    slow.behaviour = prepares(begins)
    result = reload.apply(MORE)
    reload.pool.loop.wait(PREPARE_TIMEOUT - TICK)
    assert not result.done
    reload.pool.loop.wait(2 * TICK)
    with pytest.raises(OpenError, match="it did not prepare the config within 20 s"):
        result.get()
    assert (kinds(slow), kinds(other)) == ([Prepare, Abort], [Prepare, Abort])
    assert (reload.services, reload.ports) == (["echo"], 1)
    slow.respond(slow.last_request, Done())
    reload.pool.loop.wait(PREPARE_TIMEOUT)
    assert slow.signals == []
    slow.behaviour = succeed
    assert reload.apply(MORE).get() is None


def test_worker_that_does_not_even_begin_to_prepare_is_aborted_and_its_successor_asked(reload: Reload) -> None:
    hung, other = reload.pool.workers
    hung.behaviour = no_response
    result = reload.apply(MORE)
    reload.pool.loop.wait(PREPARE_TIMEOUT + TICK)
    assert hung.signals[0] == signal.SIGABRT
    assert result.get() is None
    assert reload.services == ["echo", "upper"]
    assert [worker.pid for worker in reload.pool.workers] == [reload.pool.forked[2].pid, other.pid]


def test_reload_has_no_effect_if_netd_begins_to_stop(reload: Reload) -> None:
    first, last = reload.pool.workers
    last.behaviour = prepares(no_response)
    result = reload.apply(MORE)
    reload.state.stopping = True
    last.respond(last.last_request, Done())
    reload.pool.loop.settle()
    with pytest.raises(CommandError, match="netd is stopping"):
        result.get()
    assert (kinds(first), kinds(last)) == ([Prepare, Abort], [Prepare, Abort])
    assert (reload.services, reload.ports) == (["echo"], 1)


def test_workers_close_a_removed_listener_after_the_supervisor_did(reload: Reload) -> None:
    assert reload.apply(MORE).get() is None
    [_, removed] = (record.listener.socket for record in reload.listeners)
    for worker in reload.pool.workers:
        worker.received.clear()
        worker.behaviour = lambda request: None if isinstance(request, CloseRemoved) else succeed(request)
    result = reload.apply(ECHO)
    assert not result.done
    assert removed.fileno() == -1
    for worker in reload.pool.workers:
        assert kinds(worker) == [Prepare, Commit, CloseRemoved]
        worker.respond(worker.last_request, Done())
    reload.pool.loop.settle()
    assert result.get() is None


def test_replaced_listener_is_closed_when_no_handshake_is_under_way(reload: Reload) -> None:
    [before] = (record.listener.socket for record in reload.listeners)
    port = free_port()
    assert reload.apply(ECHO.replace(":0", f":{port}")).get() is None
    assert before.fileno() == -1, "another address does not replace it"
    [before] = (record.listener.socket for record in reload.listeners)
    for worker in reload.pool.workers:
        worker.received.clear()
    result = reload.apply(ECHO.replace("127.0.0.1:0", f"*:{port}"))
    with socket.create_connection(("127.0.0.1", port)):
        [after] = (record.listener.socket for record in reload.listeners)
        after.settimeout(10)
        after.accept()[0].close()
    reload.pool.loop.wait(HANDSHAKE - TICK)
    assert (result.done, before.fileno() >= 0) == (False, True)
    assert kinds(reload.pool.workers[0]) == [Prepare, Commit]
    reload.pool.loop.wait(2 * TICK)
    assert (result.get(), before.fileno()) == (None, -1)
    assert kinds(reload.pool.workers[0]) == [Prepare, Commit, CloseRemoved]


def test_draining_workers_retire_the_services_that_are_removed(reload: Reload) -> None:
    assert reload.apply(MORE).get() is None
    reload.pool.pool.resize(1)
    [leaving] = reload.pool.pool.draining
    assert isinstance(leaving, Worker)
    assert reload.apply(ECHO).get() is None
    assert leaving.received[-1] == Retire({"upper": 30.0})
    assert (reload.services, reload.ports) == (["echo"], 1)


def test_worker_that_does_not_accept_the_config_in_force_does_not_serve(
    reload: Reload, log: list[dict[str, Any]]
) -> None:
    reload.pool.behaviour = lambda request: Failed("no descriptors left")
    reload.pool.workers[0].exit(1)
    reload.pool.loop.settle()
    worker: WorkerProcess = reload.pool.forked[2]
    assert worker not in reload.pool.workers
    failed = [line["error"] for line in log if line["event"] == "worker_failed"]
    assert failed == ["worker (user alex): no descriptors left"]
