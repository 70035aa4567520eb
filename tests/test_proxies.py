"""HAProxy and nginx in front of services with their default options, and their checks."""

import contextlib
import csv
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.namespaces import embryonic_resets, in_namespace
from tests.support.programs import need, started
from tests.support.sockets import free_port, read_exactly
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon, and checks at intervals

CONFIG = """
services:
  agent:    {listen: ["tcp://127.0.0.1:0"], type: reply, options: {text: "up 75%\\n", when: connect}}
  asked:    {listen: ["tcp://127.0.0.1:0"], type: reply, options: {text: "up 75%\\n", repeat: true}}
  discard:  {listen: ["tcp://127.0.0.1:0"]}
  echo:     {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  metrics:  {listen: ["tcp://127.0.0.1:0"]}
  pingpong: {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(CONFIG, tmp_path_factory.mktemp("n")) as process:
        yield process


HAPROXY = """
global
  stats socket {own}/stats mode 600
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 5s
  default-server inter {inter} fall 1 rise 1
frontend front
  bind {own}/front
  default_backend lineless
backend plain
  server s 127.0.0.1:{discard} check
backend line
  option tcp-check
  tcp-check send "ping 1\\n"
  tcp-check expect string "pong 1"
  server s 127.0.0.1:{pingpong} check
backend lineless
  option tcp-check
  tcp-check send ping
  tcp-check expect string pong
  server s 127.0.0.1:{pingpong} check
backend http
  option httpchk GET /readyz
  http-check expect status 200
  server s 127.0.0.1:{metrics} check
backend agent
  server s 127.0.0.1:{pingpong} weight 100 agent-check agent-inter {inter} agent-port {agent}
backend asked
  server s 127.0.0.1:{pingpong} weight 100 agent-check agent-inter {inter} agent-port {asked} agent-send "hello\\n"
"""


@contextlib.contextmanager
def path_connection(path: Path) -> Iterator[socket.socket]:
    """A connection to a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        yield connection


@contextlib.contextmanager
def started_haproxy(running: Daemon, own: Path, inter: str = "1s") -> Iterator[None]:
    """HAProxy, in front of a running netd, with its sockets in a directory.

    ``inter`` is the time between two checks, after which HAProxy gives up a connection too.
    """
    services = ("agent", "asked", "discard", "metrics", "pingpong")
    (own / "haproxy.cfg").write_text(
        HAPROXY.format(own=own, inter=inter, **{name: running.port(name) for name in services})
    )
    command = (need("haproxy"), "-db", "-q", "-f", own / "haproxy.cfg")
    with started(*command, stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or ((own / "stats").exists() and (own / "front").exists()))
        assert process.poll() is None
        yield


@pytest.fixture(scope="module")
def haproxy(running: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of a running HAProxy."""
    own = tmp_path_factory.mktemp("h")
    with started_haproxy(running, own):
        yield own


def statistics(haproxy: Path, backend: str) -> dict[str, str]:
    """The line of HAProxy about the server of a backend."""
    with path_connection(haproxy / "stats") as connection:
        connection.sendall(b"show stat\n")
        lines = connection.makefile(encoding="ascii").read().splitlines()
    found = csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])
    return next(line for line in found if (line["pxname"], line["svname"]) == (backend, "s"))


@pytest.mark.parametrize(
    ("backend", "status"), [("plain", "L4OK"), ("line", "L7OK"), ("lineless", "L7OK"), ("http", "L7OK")]
)
def test_check_of_haproxy_succeeds(haproxy: Path, backend: str, status: str) -> None:
    until(lambda: statistics(haproxy, backend)["check_status"] == status)
    shown = statistics(haproxy, backend)
    assert (shown["status"], shown["chkfail"]) == ("UP", "0"), shown


@pytest.mark.parametrize("backend", ["agent", "asked"])
def test_reply_is_an_agent_of_haproxy(haproxy: Path, backend: str) -> None:
    until(lambda: statistics(haproxy, backend)["agent_status"] == "L7OK")
    until(lambda: statistics(haproxy, backend)["weight"] == "75")


def test_checks_that_reset_unfinished_connections_are_no_refusals(tmp_path: Path) -> None:
    def check() -> None:
        with daemon(CONFIG, tmp_path) as netd, started_haproxy(netd, tmp_path, "50ms"):
            until(lambda: embryonic_resets() >= 5)
            assert netd.refusals("discard") == 0

    in_namespace(check)


def test_haproxy_passes_a_connection_on(haproxy: Path) -> None:
    until(lambda: statistics(haproxy, "lineless")["check_status"] == "L7OK")
    with path_connection(haproxy / "front") as connection:
        for number in (b"1", b"2"):
            connection.sendall(b"ping " + number + b"\n")
            assert read_exactly(connection, 7) == b"pong " + number + b"\n"


NGINX = """
load_module {module};
daemon off;
master_process off;
pid {own}/pid;
error_log {own}/error.log;
events {{}}
stream {{
  server {{ listen unix:{own}/front; proxy_pass 127.0.0.1:{pingpong}; }}
  server {{ listen 127.0.0.1:{port} udp; proxy_responses 1; proxy_pass 127.0.0.1:{datagrams}; }}
}}
"""
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"


@pytest.fixture(scope="module")
def nginx(running: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """A running nginx: its UNIX socket, and its UDP port."""
    program = need("nginx", MODULE)
    own, port = tmp_path_factory.mktemp("x"), free_port(socket.SOCK_DGRAM)
    ports = {"pingpong": running.port("pingpong"), "datagrams": running.port("pingpong", "udp"), "port": port}
    (own / "nginx.conf").write_text(NGINX.format(own=own, module=MODULE, **ports))
    with started(program, "-p", own, "-e", own / "error.log", "-c", own / "nginx.conf") as process:
        until(lambda: process.poll() is not None or (own / "pid").exists())
        assert process.poll() is None, (own / "error.log").read_text()
        yield own / "front", port


@pytest.mark.parametrize(("question", "answer"), [(b"ping 1\n", b"pong 1\n"), (b"ping 1", b"pong 1")])
def test_nginx_passes_a_connection_on(nginx: tuple[Path, int], question: bytes, answer: bytes) -> None:
    with path_connection(nginx[0]) as connection:
        connection.sendall(question)
        assert read_exactly(connection, len(answer)) == answer


def test_nginx_passes_datagrams_on(nginx: tuple[Path, int]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(("127.0.0.1", nginx[1]))
        for number in (b"1", b"2"):
            client.send(b"ping " + number)
            assert client.recv(100) == b"pong " + number
