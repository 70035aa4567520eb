"""The worker on its own: what it does with sockets and a config, and how it ends."""

import select
import socket
from pathlib import Path

from netd.config import loader
from netd.daemon.worker import Worker
from netd.transport.sockets import Listener, open_listeners


def start(tmp_path: Path) -> tuple[Worker, list[Listener]]:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}\n")
    config = loader.load(file)
    wanted = [(service.name, endpoint) for service in config.enabled for endpoint in service.listen]
    listeners = open_listeners(wanted, lambda *skipped: None)
    worker = Worker(config, listeners)
    worker.start()
    return worker, listeners


def wait_for_end(worker: Worker) -> None:
    assert select.select([worker.ended], [], [], 20)[0], "it does not end"
    assert worker.join(20)


def test_it_serves_the_sockets_it_is_handed_and_stops(tmp_path: Path) -> None:
    worker, listeners = start(tmp_path)
    with socket.create_connection(listeners[0].socket.getsockname()) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        assert worker.connections == 1
        worker.drain()
        assert not select.select([worker.ended], [], [], 0.3)[0], "it did not wait for the conversation"
        worker.stop()
        wait_for_end(worker)
        assert connection.recv(1) == b""
    assert worker.error is None
    assert worker.connections == 0
    assert all(listener.socket.fileno() == -1 for listener in listeners)


def test_a_drain_without_conversations_ends_at_once(tmp_path: Path) -> None:
    worker, _ = start(tmp_path)
    worker.drain()
    wait_for_end(worker)
    assert worker.error is None


def test_a_bug_in_the_loop_ends_it_and_is_told(tmp_path: Path) -> None:
    worker, listeners = start(tmp_path)

    def fail() -> None:
        raise ZeroDivisionError("oops")

    worker._loop.call(fail)
    wait_for_end(worker)
    assert isinstance(worker.error, ZeroDivisionError)
    for listener in listeners:
        listener.close()
