"""nc and telnet as clients of a running netd."""

import os
import pty
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import programs
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, program, started, type_until
from tests.support.pseudoterminal import read_terminal
from tests.support.sockets import free_port, has_ipv6

CONFIG = """
services:
  echo:     {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/echo", "unixgram://{tmp}/echo-datagram"]}}
  time:     {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/time", "unixgram://{tmp}/time-datagram"]}}
  pingpong: {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/pingpong", "unixgram://{tmp}/pingpong-datagram"]}}
  upper:    {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/upper", "unixgram://{tmp}/upper-datagram"]}}
  whoami:   {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/whoami", "unixgram://{tmp}/whoami-datagram"]}}
"""

# Service, input, and the output over a stream and over datagrams.
TALKS = [
    ("echo", "hello\n", "hello\n", "hello\n"),
    ("time", "%Y\n", r"\d{4}\n", r"\d{4}\n"),
    ("pingpong", "ping 42\n", "pong 42\n", "pong 42\n"),
    ("upper", "hello\n", "HELLO\n", "HELLO\n"),
    (
        "whoami",
        "\n",
        r"peer=(\S+) local=\S+ transport=\w+ family=\w+( ttl=64)?\r\n",
        r"peer=\S+ local=\S+( transport=\w+)?( family=\w+)?( ttl=64)?( size=\d)?\r\n",
    ),
]

HOSTS = ["127.0.0.1", "::1"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    tmp = tmp_path_factory.mktemp("n")
    with daemon(CONFIG.format(tmp=tmp), tmp) as process:
        yield process, tmp


def host_or_skip(host: str) -> str:
    if ":" in host and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    return host


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("service", "typed", "stream", "datagram"), TALKS, ids=[talk[0] for talk in TALKS])
def test_nc_gets_answers_over_tcp_and_udp(
    running: tuple[Daemon, Path], host: str, service: str, typed: str, stream: str, datagram: str
) -> None:
    need("nc")
    port = str(running[0].port(service))
    done = subprocess.run(
        ["nc", "-N", host_or_skip(host), port], input=typed.encode(), capture_output=True, check=True, timeout=20
    )
    assert re.fullmatch(stream, done.stdout.decode())
    with program("nc", "-u", host, str(running[0].port(service, "udp"))) as process:
        type_until(process, typed, datagram)


@pytest.mark.parametrize(("service", "typed", "stream", "datagram"), TALKS, ids=[talk[0] for talk in TALKS])
def test_nc_gets_answers_over_unix_sockets(
    running: tuple[Daemon, Path], service: str, typed: str, stream: str, datagram: str
) -> None:
    need("nc")
    done = subprocess.run(
        ["nc", "-N", "-U", str(running[1] / service)], input=typed.encode(), capture_output=True, check=True, timeout=20
    )
    assert re.fullmatch(stream, done.stdout.decode())
    # The user of the worker needs write permission for the socket of the client.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        client = f'umask 0; exec nc -u -U -s "{place}/me" "$1"'
        with program("sh", "-c", client, "sh", str(running[1] / f"{service}-datagram")) as process:
            type_until(process, typed, datagram)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(("service", "typed", "stream"), [talk[:3] for talk in TALKS], ids=[talk[0] for talk in TALKS])
def test_telnet_gets_an_answer(running: tuple[Daemon, Path], host: str, service: str, typed: str, stream: str) -> None:
    need("telnet")
    with program("telnet", host_or_skip(host), str(running[0].port(service))) as process:
        # telnet sends a line end as CR LF, and prints one as LF.
        shown = stream.replace("\\r\\n", "\\n").replace("\r\n", "\n")
        greeting = r"Trying \S+\.\.\.\nConnected to \S+\nEscape character is '\^\]'\.\n"
        type_until(process, typed, greeting + shown.replace("\\n", "\\r?\\n").replace("\n", "\r?\n"))


def test_telnet_gets_an_answer_to_each_line(running: tuple[Daemon, Path]) -> None:
    need("telnet")
    with program("telnet", "127.0.0.1", str(running[0].port("pingpong"))) as process:
        type_until(process, "ping 1\n", r"(?s).*\^\]'\.\npong 1\r?\n")
        for number in range(2, 5):
            type_until(process, f"ping {number}\n", rf"pong {number}\r?\n")


def test_telnet_session_continues_after_an_interrupt(running: tuple[Daemon, Path]) -> None:
    need("telnet")
    primary, terminal = pty.openpty()
    command = ["setsid", "--ctty", "telnet", "127.0.0.1", str(running[0].port("pingpong"))]
    with started(*command, stdin=terminal, stdout=terminal, stderr=terminal):
        os.close(terminal)
        shown = b""

        def read_until(wanted: bytes) -> None:
            nonlocal shown
            while wanted not in shown:
                shown += read_terminal(primary, shown.decode())
            shown = shown.partition(wanted)[2]

        read_until(b"'^]'.")
        os.write(primary, b"ping 1\r")
        read_until(b"pong 1\r\n")
        os.write(primary, b"\x03")  # sends IP and DO TIMING-MARK, and prints nothing until the answer to that
        os.write(primary, b"ping 2\r")
        read_until(b"pong 2\r\n")
        os.write(primary, b"\x1d")
        read_until(b"telnet>")
        os.write(primary, b"send synch\r")  # an urgent data mark
        os.write(primary, b"ping 3\r")
        read_until(b"pong 3\r\n")
    os.close(primary)


def test_whoami_sends_nc_its_own_address(running: tuple[Daemon, Path]) -> None:
    need("nc")
    port = str(free_port())
    netd = running[0].port("whoami")
    done = subprocess.run(
        ["nc", "-N", "-p", port, "127.0.0.1", str(netd)], input=b"", capture_output=True, check=True, timeout=20
    )
    assert done.stdout == f"peer=127.0.0.1:{port} local=127.0.0.1:{netd} transport=tcp family=ipv4 ttl=64\r\n".encode()


@pytest.mark.parametrize(
    ("required", "program", "outcome"),
    [
        ("", "netd-none", "Skipped"),
        ("1", "netd-none", "Failed"),
        ("1", "netd-nothing", "Skipped"),
        ("all", "netd-nothing", "Failed"),
    ],
)
def test_missing_program_skips_a_test_unless_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str, program: str, outcome: str
) -> None:
    monkeypatch.setattr(programs, "LIST", tmp_path / "list")
    programs.LIST.write_text("# Words.\nnone netd-none check\nnothing netd-nothing release\n")
    monkeypatch.setenv("NETD_REQUIRE_TOOLS", required)
    with pytest.raises(BaseException, match=f"not installed: {program}") as raised:
        need(program)
    assert type(raised.value).__name__ == outcome
