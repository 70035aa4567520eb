"""The configs of a worker: prepare, commit and abort."""

import gc
import os
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.admission.daemon import DaemonAdmission
from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.daemon.messages.from_worker import Done, Failed
from netd.daemon.worker import config as config_module
from netd.daemon.worker.config import Traceable, WorkerConfig
from netd.daemon.worker.launchers import Launchers
from netd.services import table
from netd.services.chat import Chat
from netd.transport.stream.connections import Connections
from tests.daemon.fakes import ManualLoop
from tests.daemon.worker.prepare import Memory, code_of
from tests.support.descriptors import copies


class Configured:
    """A `WorkerConfig` in a loop that a test turns."""

    def __init__(self, number: int = 0) -> None:
        self.loop = ManualLoop()
        self.memory = Memory()
        self.traceable: list[Traceable] = []
        launchers = Launchers(self.loop)
        self.config = WorkerConfig(number, self.loop, lambda report: {}, self.traceable.extend, launchers, code_of)
        self.config.shared = DaemonAdmission()
        self.responses: list[Done | Failed] = []

    def prepare(
        self,
        *entries: ServiceEntry,
        new_listeners: dict[int, int] | None = None,
        draining: dict[str, float] | None = None,
    ) -> list[int]:
        """Begin to prepare a config. Returns the descriptors, which the config owns."""
        message, descriptors = self.memory.prepare(*entries, new_listeners=new_listeners, draining=draining)
        self.config.prepare(message, list(descriptors), self.responses.append)
        return descriptors

    def commit(self) -> None:
        self.config.commit(self.responses.append)

    def apply(
        self,
        *entries: ServiceEntry,
        new_listeners: dict[int, int] | None = None,
        draining: dict[str, float] | None = None,
    ) -> None:
        """Put a config in force."""
        self.prepare(*entries, new_listeners=new_listeners, draining=draining)
        self.loop.settle()
        self.commit()
        self.loop.settle()
        assert self.responses[-2:] == [Done(), Done()]

    def entry(self, *arguments: Any, **more: Any) -> ServiceEntry:
        return self.memory.entry(*arguments, **more)

    def close(self) -> None:
        self.config.abort()
        self.config.close()
        self.memory.close()


@pytest.fixture
def configured() -> Iterator[Configured]:
    made = Configured()
    yield made
    made.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(f"{tmp_path}/s")
        opened.listen()
        yield opened


def test_service_is_served_from_the_commit_on(configured: Configured, listener: socket.socket) -> None:
    configured.prepare(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    configured.loop.settle()
    assert (configured.responses, configured.config.services) == ([Done()], {})
    configured.commit()
    configured.loop.settle()
    assert configured.responses == [Done(), Done()]
    assert list(configured.config.services) == ["echo"]
    [traced] = configured.traceable
    assert isinstance(traced, Connections)
    assert list(configured.config.traceable()) == [traced]
    assert gc.isenabled()


def test_unchanged_service_keeps_its_objects_and_a_changed_one_gets_new_ones(
    configured: Configured, listener: socket.socket
) -> None:
    first = configured.entry("echo", listeners=[1])
    configured.apply(first, configured.entry("upper"), new_listeners={1: listener.fileno()})
    before = dict(configured.config.services)
    configured.apply(
        configured.entry("echo", listeners=[1], changed=False),
        configured.entry("upper"),
    )
    after = configured.config.services
    assert after["echo"].service is before["echo"].service
    assert after["echo"].servers[1] is before["echo"].servers[1]
    assert after["upper"].service is not before["upper"].service
    assert after["upper"].events is before["upper"].events, "the counters continue"


def test_new_service_object_takes_over_the_state_of_the_old_one(configured: Configured) -> None:
    configured.apply(configured.entry("chat"))
    old = configured.config.services["chat"].service
    assert isinstance(old, Chat)
    configured.apply(configured.entry("chat"))
    new = configured.config.services["chat"].service
    assert new is not old
    assert new._room is old._room


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"name": "x", "kind": "no-such-type"}, "services.x: there is no service type 'no-such-type'"),
        ({"name": "time", "options": '{"timezone":"No/Where"}'}, "services.time: "),
    ],
)
def test_config_that_cannot_be_served_changes_nothing(
    configured: Configured, listener: socket.socket, entry: dict[str, str], problem: str
) -> None:
    configured.apply(configured.entry("echo"))
    before = configured.config.services
    descriptors = configured.prepare(configured.entry(**entry), new_listeners={1: listener.fileno()})
    configured.loop.settle()
    failed = configured.responses[-1]
    assert isinstance(failed, Failed)
    assert failed.error.startswith(problem)
    assert configured.config.services is before
    assert gc.isenabled()
    assert copies(listener.fileno()) == 1, "the worker's descriptor is closed"
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit("oops")])
def test_service_that_cannot_be_built_ends_no_worker(
    error: BaseException, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self) -> None:
            raise error

        def stream(self, peer: object) -> Any: ...

    monkeypatch.setitem(table.BUILT_IN, "broken", Broken)
    configured.prepare(configured.entry("broken"))
    configured.loop.settle()
    assert configured.responses == [Failed("services.broken: oops")]


def test_aborted_config_is_released_and_sends_no_response(
    configured: Configured, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "_SLICE", 0.0)
    configured.prepare(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    configured.config.abort()
    configured.loop.settle()
    assert configured.responses == []
    assert copies(listener.fileno()) == 1, "descriptors that were not used yet are closed too"
    configured.memory.counters.clear()
    configured.prepare(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    configured.loop.settle()
    assert configured.responses == [Done()]
    assert copies(listener.fileno()) == 2
    configured.config.abort()
    assert copies(listener.fileno()) == 1
    configured.commit()
    assert configured.config.services == {}


def test_large_config_lets_the_loop_turn_between_its_slices(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config_module, "_SLICE", 0.0)
    entries = [configured.entry(f"echo{number}", "echo") for number in range(5)]
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if not configured.responses:
            configured.loop.call(turn)

    configured.prepare(*entries)
    configured.loop.call(turn)
    configured.loop.settle()
    assert configured.responses == [Done()]
    assert turns > 10, "each service is decoded, gets its counters and is built"


def test_commit_under_way_is_finished_at_once_on_request(
    configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [configured.entry(f"echo{number}", "echo") for number in range(5)]
    configured.apply(*entries)
    configured.prepare(configured.entry("upper"))
    configured.loop.settle()
    monkeypatch.setattr(config_module, "_SLICE", 0.0)
    configured.responses.clear()
    configured.commit()
    assert configured.responses == [], "the loop has to turn"
    configured.config.finish_commit()
    assert (configured.responses, list(configured.config.services)) == ([Done()], ["upper"])
    configured.loop.settle()
    assert configured.responses == [Done()], "one response"


@pytest.mark.parametrize(("number", "served"), [(0, ["chat", "echo"]), (1, ["echo"])])
def test_service_for_a_single_worker_is_served_by_worker_0(number: int, served: list[str]) -> None:
    configured = Configured(number)
    configured.apply(configured.entry("chat"), configured.entry("echo"))
    assert sorted(configured.config.services) == served
    configured.close()


def test_listener_of_a_removed_service_is_closed(configured: Configured, listener: socket.socket) -> None:
    configured.apply(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    assert len(list(configured.config.connections_by_listener())) == 1
    assert copies(listener.fileno()) == 2
    configured.apply()
    configured.config.close_removed()
    assert list(configured.config.connections_by_listener()) == []
    assert copies(listener.fileno()) == 1


def test_listener_of_a_removed_service_is_served_until_it_is_closed(
    configured: Configured, listener: socket.socket
) -> None:
    configured.apply(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    with clients[0], clients[1], clients[2]:
        for client in clients:
            client.settimeout(10)
        clients[0].connect(listener.getsockname())
        configured.apply()
        assert len(list(configured.config.connections())) == 1, "the one in the queue"
        clients[1].connect(listener.getsockname())
        configured.loop.settle()
        assert len(list(configured.config.connections())) == 2
        clients[2].connect(listener.getsockname())
        configured.config.close_removed()
        assert len(list(configured.config.connections())) == 3
        assert copies(listener.fileno()) == 1
        for client in clients:
            client.sendall(b"x")
            configured.loop.settle()
            assert client.recv(1) == b"x"


@pytest.mark.slow
@pytest.mark.parametrize("connects", [True, False])
def test_drain_holds_for_connections_that_a_removed_listener_has_accepted_since(
    configured: Configured, listener: socket.socket, connects: bool
) -> None:
    configured.apply(configured.entry("echo", listeners=[1]), new_listeners={1: listener.fileno()})
    served = weakref.ref(configured.config.services["echo"].service)
    configured.traceable.clear()
    configured.apply(draining={"echo": 5.0})
    with socket.socket(socket.AF_UNIX) as client:
        if connects:
            client.connect(listener.getsockname())
            configured.loop.settle()
        configured.config.close_removed()
        gc.collect()
        assert (len(list(configured.config.connections())), served() is not None) == (connects, connects)
        configured.loop.wait(6.0)
        assert list(configured.config.connections()) == []
        gc.collect()
        assert served() is None, "nothing keeps the service"
