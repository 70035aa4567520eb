"""Connections that a real daemon passes on to other services."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.backends import backends
from tests.daemon.configs import write
from tests.support.daemon import Daemon, daemon
from tests.support.sockets import read_all
from tests.support.waiting import until
from tests.transport.datagram.forwards import asking, target

pytestmark = pytest.mark.slow


@contextmanager
def closed_port() -> Iterator[str]:
    """The URL of a port on which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield "tcp://127.0.0.1:{1}".format(*one.getsockname())


def config(*to: str, workers: int = 1, scheme: str = "tcp", others: Any = None, **options: Any) -> str:
    service = {
        "type": "forward",
        "listen": [f"{scheme}://127.0.0.1:0"],
        "limits": {"drain": "100ms"},
        "options": {"to": to, **options},
    }
    return json.dumps({"daemon": {"workers": workers}, "services": {"web": service, **(others or {})}})


def connect(running: Daemon) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port("web")), 20)


def said(running: Daemon, data: bytes = b"") -> str:
    """All that a client gets which sends this and the end of file."""
    with connect(running) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        return read_all(client).decode()


def counters(running: Daemon) -> dict[str, Any]:
    [service] = [one for one in running.ask("status")["services"] if one["service"] == "web"]
    found: dict[str, Any] = service["counters"]
    return found


def test_connections_take_turns_and_a_target_that_refuses_is_left_out_until_it_is_back(tmp_path: Path) -> None:
    with backends("a", "b") as (a, b), daemon(config(a.url, b.url, "unix:///no/such/socket"), tmp_path) as running:
        assert {said(running) for _ in range(3)} == {"a ", "b "}
        failed = running.event("target_failed")
        assert (failed["target"], failed["reason"]) == ("unix:///no/such/socket", "refused")
        a.close()
        assert {said(running, b"x") for _ in range(4)} == {"b x"}
        failed = running.event("target_failed")
        assert (failed["target"], failed["reason"], failed["error"]) == (a.url, "refused", "ECONNREFUSED")
        a.reopen()
        until(lambda: said(running) == "a ")
        assert running.event("target_recovered")["target"] == a.url
        found = counters(running)
        assert found["forward_connects"] >= 8
        assert found["forward_failures"]["refused"] >= 2
        assert not found["own"]
        closed = running.event("connection_closed")
        assert closed["target"] in (a.url, b.url)


def test_client_is_reset_where_no_target_can_be_reached_and_the_operator_is_told_once(tmp_path: Path) -> None:
    with closed_port() as url, daemon(config(url, "tcp://no.such.host.invalid:80"), tmp_path) as running:
        for _ in range(5):
            with pytest.raises(ConnectionError), connect(running) as client:
                client.sendall(b"hello")
                if not client.recv(1):
                    pytest.fail("this is no reset")
        told = {running.event("target_failed")["reason"] for _ in range(2)}
        assert told == {"refused", "unresolved"}
        assert running.event("targets_exhausted")["source"] == "127.0.0.1"
        until(lambda: counters(running)["connections_closed"].get("no_target") == 5)
        assert counters(running)["connections_checks"] == 0
        shown = running.netd("status", "web").stdout
        assert "refused 5" in shown
        assert running.stop() == 0
        names = [line["event"] for line in running.lines]
        assert (names.count("target_failed"), names.count("name_failed")) == (2, 1)


def test_connections_go_on_with_their_target_while_a_reload_changes_it(tmp_path: Path) -> None:
    with backends("a", "b") as (a, b), daemon(config(a.url), tmp_path) as running, connect(running) as client:
        assert client.recv(10) == b"a "
        [row] = running.ask("connections")["connections"]
        assert row["target"] == a.url
        assert a.url in running.netd("connections").stdout
        write(tmp_path, config(b.url))
        assert running.netd("reload").returncode == 0
        assert said(running) == "b "
        client.sendall(b"still there")
        assert client.recv(20) == b"still there"


def test_killed_worker_loses_its_connections_alone(tmp_path: Path) -> None:
    with backends("a") as [a], daemon(config(a.url), tmp_path) as running, connect(running) as client:
        assert client.recv(10) == b"a "
        os.kill(running.worker, signal.SIGKILL)
        assert read_all(client) == b""
        assert said(running, b"again") == "a again"
        until(lambda: counters(running)["connections_closed"].get("lost") == 1)


def test_name_with_two_addresses_is_reached_at_the_one_that_answers(tmp_path: Path) -> None:
    with backends("a") as [a], daemon(config(a.url.replace("127.0.0.1", "localhost")), tmp_path) as running:
        assert said(running, b"x" * 100_000) == "a " + "x" * 100_000


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_name_that_leads_back_to_a_listener_of_this_netd_is_no_target(scheme: str, tmp_path: Path) -> None:
    with daemon(config(f"{scheme}://127.0.0.1:9", scheme=scheme), tmp_path) as running:
        url = f"{scheme}://localhost:{running.port('web', scheme)}"  # which no config has: the kernel chose the port
        write(tmp_path, config(url, scheme=scheme))
        assert running.netd("reload").returncode == 0
        if scheme == "tcp":
            with pytest.raises(ConnectionResetError), connect(running) as client:
                client.recv(1)
        else:
            with asking(("127.0.0.1", running.port("web", "udp"))) as client:
                client.send(b"x")
                until(lambda: counters(running)["datagrams_dropped"].get("no_target") == 1)
        failed = running.event("target_failed")
        assert (failed["target"], failed["reason"]) == (url, "denied")


def test_curl_gets_and_posts_through_netd_to_a_server(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "file").write_bytes(bytes(range(256)) * 4096)
    command = ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "-d", str(tmp_path / "www"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout
        port = server.stdout.readline().split(" port ")[1].split()[0]
        try:
            with daemon(config(f"tcp://127.0.0.1:{port}"), tmp_path) as running:
                url = f"http://127.0.0.1:{running.port('web')}/file"
                got = subprocess.run(["curl", "-sS", url, url], capture_output=True, check=True)
                assert got.stdout == (tmp_path / "www" / "file").read_bytes() * 2
                assert (
                    b"501" in subprocess.run(["curl", "-s", "-d", "x=1", url], capture_output=True, check=True).stdout
                )
                reply = said(running, b"GET / HTTP/1.0\r\n\r\n")
                assert reply.startswith("HTTP/1.0 200")
        finally:
            server.kill()


def passed_on(client: socket.socket, behind: socket.socket, data: bytes) -> Any:
    """Ask, answer as the target does, and receive. Returns the address from which the question came."""
    client.send(data)
    question, netd = behind.recvfrom(100)
    assert question == data
    behind.sendto(data, netd)
    assert client.recv(100) == data
    return netd


def test_datagrams_of_a_client_have_one_session_through_reloads_and_a_new_one_after_a_crash(tmp_path: Path) -> None:
    other = {"more": {"type": "echo", "listen": ["tcp://127.0.0.1:0"]}}
    with (
        target() as (a_url, a),
        target() as (b_url, b),
        daemon(config(a_url, workers=2, scheme="udp"), tmp_path) as running,
        asking(("127.0.0.1", running.port("web", "udp"))) as client,
    ):
        session = passed_on(client, a, b"first")
        for number in range(20):
            assert passed_on(client, a, b"%d" % number) == session
        [row] = running.ask("connections")["connections"]
        assert (row["target"], row["peer"]) == (a_url, "127.0.0.1:{1}".format(*client.getsockname()))
        write(tmp_path, config(a_url, workers=2, scheme="udp", others=other))
        assert running.netd("reload").returncode == 0
        assert passed_on(client, a, b"the service did not change") == session
        client.send(b"under way")
        a.recv(100)
        write(tmp_path, config(b_url, workers=2, scheme="udp", others=other))
        assert running.netd("reload").returncode == 0
        a.sendto(b"answer", session)
        assert client.recv(100) == b"answer"
        session = passed_on(client, b, b"to the new target")
        [killed] = [line["pid"] for line in running.lines if line["event"] == "worker_started" and not line["worker"]]
        os.kill(killed, signal.SIGKILL)
        assert passed_on(client, b, b"after the crash") != session
        [shown] = running.ask("target", "web")["targets"]
        assert (shown["target"], shown["state"], shown["connections"]) == (b_url, "up", 1)
        assert running.netd("target", "web", "disable", b_url).returncode == 0
        until(lambda: not running.ask("connections")["connections"])
        client.send(b"x")
        until(lambda: counters(running)["datagrams_dropped"].get("no_target") == 1)
        assert running.netd("target", "web", "enable", b_url).returncode == 0
        passed_on(client, b, b"enabled again")
        assert running.netd("disable", "web").returncode == 0
        until(lambda: not running.ask("connections")["connections"])
        client.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)
