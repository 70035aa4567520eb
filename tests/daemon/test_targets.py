"""The targets of a real daemon: shared between its workers, and taken out of service at run time."""

import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.backends import Backend, backends
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.datagram.forwards import asking, target

pytestmark = pytest.mark.slow


def config(*to: str, workers: int = 1, drain: str = "30s", scheme: str = "tcp", **options: Any) -> str:
    service = {
        "type": "forward",
        "listen": [f"{scheme}://127.0.0.1:0"],
        "limits": {"drain": drain},
        "options": {"to": to, **options},
    }
    echo = {"listen": ["tcp://127.0.0.1:0"]}
    return json.dumps({"daemon": {"workers": workers}, "services": {"web": service, "echo": echo}})


def connect(running: Daemon) -> tuple[socket.socket, str]:
    """A connection, and the name of the server that it reaches; empty if it is refused."""
    client = socket.socket()
    client.settimeout(20)
    try:
        client.connect(("127.0.0.1", running.port("web")))
        return client, client.recv(10).decode().strip()
    except ConnectionResetError:
        return client, ""


def reached(running: Daemon) -> str:
    client, name = connect(running)
    client.close()
    return name


def targets(running: Daemon) -> dict[str, dict[str, Any]]:
    """The targets by the port."""
    found = running.ask("target", "web")["targets"]
    return {one["target"]: one for one in found}


def of(running: Daemon, backend: Backend, *fields: str) -> tuple[Any, ...]:
    one = targets(running)[backend.url]
    return tuple(one[field] for field in fields)


def condition(running: Daemon, backend: Backend) -> Callable[[], str]:
    return lambda: str(targets(running)[backend.url]["state"])


def test_target_is_drained_disabled_and_enabled_at_run_time(tmp_path: Path) -> None:
    with backends("a", "b") as (a, b), daemon(config(a.url, b.url, drain="100ms"), tmp_path) as running:
        clients = {name: client for client, name in (connect(running) for _ in range(2))}
        assert clients.keys() == {"a", "b"}
        done = running.netd("target", "web", "drain", a.url)
        assert (done.returncode, done.stdout) == (0, f"web: {a.url} gets no new connections\n")
        changed = running.event("target_changed")
        assert (changed["service"], changed["target"], changed["state"]) == ("web", a.url, "drain")
        assert changed["by"].startswith("netd target drain, ")
        assert {reached(running) for _ in range(4)} == {"b"}
        clients["a"].sendall(b"still there")
        assert clients["a"].recv(20) == b"still there"

        assert running.ask("target", "web", "disable", b.url)["changed"] is True
        assert running.ask("target", "web", "disable", b.url)["changed"] is False
        assert read_all(clients["b"]) == b""
        assert reached(running) == ""
        assert running.event("targets_exhausted")["reason"] == "out_of_service"
        assert of(running, b, "state", "connections") == ("disabled", 0)
        assert of(running, a, "state", "connections", "connections_served", "failures") == ("drain", 1, 1, 0)
        shown = running.netd("status", "web").stdout
        assert [line.split()[:4] for line in shown.splitlines()[-2:]] == [
            [a.url, "drain", "1", "1"],
            [b.url, "disabled", "0", "5"],
        ]

        assert running.ask("target", "web", "enable", a.url)["state"] == "enabled"
        assert {reached(running) for _ in range(3)} == {"a"}
        for client in clients.values():
            client.close()


def test_target_that_is_enabled_again_within_the_drain_keeps_its_connections(tmp_path: Path) -> None:
    with backends("a") as [a], daemon(config(a.url, drain="200ms"), tmp_path) as running:
        client, _ = connect(running)
        for change in ("disable", "enable", "disable", "drain"):
            running.ask("target", "web", change, a.url)
        other, name = connect(running)
        assert name == ""
        # The drain of a service that is switched off takes as long as those before, and is later.
        until(lambda: of(running, a, "state") == ("drain",))
        running.ask("disable", "echo")
        client.sendall(b"x")
        assert client.recv(5) == b"x"
        client.close()
        other.close()


def test_target_with_blanks_in_its_path_is_taken_out_of_service(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/no  such/ socket"
    with daemon(config(url, f"unix://{tmp_path}/no such"), tmp_path) as running:
        assert running.netd("target", "web", "drain", url).returncode == 0
        assert [one["state"] for one in targets(running).values()] == ["drain", "up"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("wbe",), "there is no service 'wbe'; did you mean 'web'?"),
        (("echo",), "'echo' has no targets: its type is echo, and not forward"),
        (
            ("web", "drain", "unix:///no/such/sock"),
            "'web' has no target 'unix:///no/such/sock'; did you mean 'unix:///no/such/socket'?",
        ),
        (("web", "drain", "\x1b[31m"), "'web' has no target '\\x1b[31m'; known: unix:///no/such/socket"),
    ],
)
def test_wrong_service_or_target_is_a_usage_error_with_a_suggestion(
    one_target: Daemon, arguments: tuple[str, ...], problem: str
) -> None:
    done = one_target.netd("target", *arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert problem in done.stderr


@pytest.fixture(scope="module")
def one_target(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with daemon(config("unix:///no/such/socket"), tmp_path_factory.mktemp("n")) as running:
        yield running


def test_reload_keeps_the_state_of_targets_and_the_words_of_the_operator(tmp_path: Path) -> None:
    with backends("a", "b", "c") as (a, b, c), daemon(config(a.url, b.url), tmp_path) as running:
        clients = [connect(running)[0] for _ in range(2)]
        running.ask("target", "web", "drain", a.url)
        write(tmp_path, config(c.url, a.url, connect="2s"))
        assert running.netd("reload").returncode == 0
        assert of(running, a, "state", "connections", "connections_served") == ("drain", 1, 1)
        assert of(running, c, "state", "connections_served") == ("up", 0)
        assert {reached(running) for _ in range(3)} == {"c"}
        for client in clients:
            client.close()
        until(lambda: of(running, a, "connections") == (0,))
        write(tmp_path, config(c.url))
        assert running.netd("reload").returncode == 0
        write(tmp_path, config(c.url, a.url))
        assert running.netd("reload").returncode == 0
        assert of(running, a, "state", "connections_served") == ("up", 0), "it was removed meanwhile"


def test_two_workers_agree_on_targets_and_a_killed_one_leaves_no_connections(tmp_path: Path) -> None:
    with backends("a", "b") as (a, b), daemon(config(a.url, b.url, workers=2, balance="least"), tmp_path) as running:
        with ExitStack() as stack:
            held = [connect(running) for _ in range(20)]
            for client, _ in held:
                stack.enter_context(client)
            assert sorted(name for _, name in held) == ["a"] * 10 + ["b"] * 10, "least counts over both"
            by_worker = {one["id"].partition("-")[0] for one in running.ask("connections")["connections"]}
            a.close()
            until(lambda: reached(running) == "b" and condition(running, a)() == "resting")
            assert of(running, a, "why") == ("refused",)
            assert len([line for line in running.lines if line["event"] == "target_failed"]) <= 1
            os.kill(running.worker, signal.SIGKILL)
            running.event("worker_started")
            left = running.ask("connections")["total"]
            assert of(running, a, "connections")[0] + of(running, b, "connections")[0] == left
            assert by_worker
        a.reopen()
        until(lambda: reached(running) == "a")
        assert condition(running, a)() == "up"


def test_new_worker_knows_what_the_operator_said(tmp_path: Path) -> None:
    with backends("a", "b") as (a, b), daemon(config(a.url, b.url), tmp_path) as running:
        running.ask("target", "web", "drain", a.url)
        os.kill(running.worker, signal.SIGKILL)
        running.event("worker_started")
        assert {reached(running) for _ in range(4)} == {"b"}


def test_clients_of_a_target_of_datagrams_that_falls_silent_go_to_another_one(tmp_path: Path) -> None:
    check = {"every": "100ms", "timeout": "2s", "fall": 1, "send": "ping", "expect": "pong"}

    def answer(target: socket.socket, name: bytes, silent: threading.Event) -> None:
        while (received := target.recvfrom(100))[0] != b"end":
            data, sender = received
            if not silent.is_set():
                target.sendto(b"pong" if data == b"ping" else name, sender)

    with target() as (a_url, a), target() as (b_url, b):
        silent, never = threading.Event(), threading.Event()
        threads = [threading.Thread(target=answer, args=one) for one in ((a, b"a", silent), (b, b"b", never))]
        for thread in threads:
            thread.start()
        options: dict[str, Any] = {"balance": "first", "check": check, "scheme": "udp"}
        with (
            daemon(config(a_url, b_url, **options), tmp_path) as running,
            asking(("127.0.0.1", running.port("web", "udp"))) as client,
        ):
            client.send(b"?")
            assert client.recv(10) == b"a"
            silent.set()
            assert running.event("target_check_failed")["target"] == a_url
            client.send(b"?")
            assert client.recv(10) == b"b"
        for one in (a, b):
            one.sendto(b"end", one.getsockname())
        for thread in threads:
            thread.join()


def test_checks_take_a_target_out_and_go_on_when_their_worker_is_killed(tmp_path: Path) -> None:
    check = {"every": "100ms", "fall": 2, "rise": 2}
    with backends("a", "b") as (a, b), daemon(config(a.url, b.url, workers=2, check=check), tmp_path) as running:
        assert {reached(running) for _ in range(6)} == {"a", "b"}
        a.close()
        down = running.event("target_check_failed")
        assert (down["service"], down["target"], down["reason"]) == ("web", a.url, "refused")
        assert of(running, a, "state", "why", "failures") == ("down", "refused", 0)
        assert of(running, b, "state", "why") == ("up", "")
        assert {reached(running) for _ in range(4)} == {"b"}
        [checking] = [one["pid"] for one in running.ask("status")["workers"] if one["worker"] == 0]
        os.kill(checking, signal.SIGKILL)
        running.event("worker_started")
        assert condition(running, a)() == "down"
        a.reopen()
        assert running.event("target_check_passed")["target"] == a.url
        assert {reached(running) for _ in range(6)} == {"a", "b"}

        a.close()
        assert running.event("target_check_failed")["target"] == a.url
        write(tmp_path, config(a.url, b.url, workers=2, connect="2s"))
        assert running.netd("reload").returncode == 0
        until(lambda: condition(running, a)() != "down")
