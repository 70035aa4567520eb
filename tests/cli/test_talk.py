"""`netd talk` in a pipe: with a real netd, with nc, and with misbehaving servers."""

import contextlib
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.cli.talking import serving, talk, talking, type_and_read, url_of
from tests.support.daemon import Daemon, daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import need, started
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # real processes, dozens of them

SCHEMES = ["tcp", "udp", "unix", "unixgram"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pipe_and_answers_are_passed_on_unchanged(running: Daemon, scheme: str) -> None:
    typed = b"hello\r\n\n\x1b[2J\xff\0 " + bytes(range(11, 256)) + b"\nwithout an end"
    with talking("--wait", "30s", running.url("echo", scheme)) as process:
        assert process.stdin
        process.stdin.write(typed)
        process.stdin.close()
        assert process.stdout
        assert process.stdout.read(len(typed)) == typed
        if scheme in ("tcp", "unix"):
            assert process.wait(20) == 0
            assert process.stdout.read() == b""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_answers_arrive_while_the_input_is_open(running: Daemon, scheme: str) -> None:
    with talking(running.url("upper", scheme)) as process:
        type_and_read(process, b"hello\n", b"HELLO\n")
        type_and_read(process, b"a\nb\n", b"A\nB\n")
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0


def test_services_of_netd_answer(running: Daemon) -> None:
    assert talk(running.url("pingpong"), typed=b"ping 42\n").stdout.split() == [b"pong", b"42"]
    # With a greeting only if the pipe says nothing for a while.
    assert re.fullmatch(rb"(\d{4}-.*\r\n)?\d{4}\r?\n", talk(running.url("time"), typed=b"%Y\n").stdout)
    done = talk(running.url("daytime"))
    assert (done.returncode, done.stderr) == (0, b"")  # the server closed after the client had finished
    assert done.stdout.endswith(b"-UTC\r\n")


def test_large_input_is_sent_and_echoed_at_the_same_time(running: Daemon) -> None:
    random = Random(1)
    typed = b"".join(random.randbytes(random.randrange(2000)).replace(b"\n", b"") + b"\n" for _ in range(4000))
    done = talk(running.url("echo"), typed=typed)
    assert (done.returncode, len(done.stdout)) == (0, len(typed))
    assert done.stdout == typed


def test_line_without_end_is_sent_over_a_stream_in_pieces(running: Daemon) -> None:
    typed = b"x" * 1_000_000
    assert talk(running.url("echo"), typed=typed).stdout == typed


def test_file_can_be_the_input(running: Daemon, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    with open(tmp_path / "file") as file:
        command = [sys.executable, "-m", "netd", "talk", running.url("echo")]
        assert subprocess.run(command, stdin=file, capture_output=True, check=True, timeout=50).stdout == b"hello\n"


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_refused_connection_exits_with_69(scheme: str) -> None:
    port = free_port(socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
    done = talk(f"{scheme}://127.0.0.1:{port}", typed=b"a\nb\nc\n")
    assert (done.returncode, done.stdout) == (69, b"")
    assert done.stderr.decode() == f"netd: {scheme}://127.0.0.1:{port}: Connection refused\n"


def test_unresolvable_name_exits_with_69() -> None:
    for name in ("nobody.invalid", "a" * 70 + ".invalid"):
        done = talk(f"tcp://{name}:7")
        assert (done.returncode, done.stdout) == (69, b"")
        assert re.fullmatch(f"netd: tcp://{name}:7: cannot resolve {name}: .+\n", done.stderr.decode())


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_unreachable_network_exits_with_69(scheme: str) -> None:
    def run() -> None:
        done = talk(f"{scheme}://192.0.2.1:7", typed=b"hello\n")
        assert done.returncode == 69
        assert done.stderr.decode() == f"netd: {scheme}://192.0.2.1:7: Network is unreachable\n"

    in_namespace(run)


def test_missing_unix_socket_or_other_socket_type_exits_with_69(running: Daemon, tmp_path: Path) -> None:
    for scheme in ("unix", "unixgram"):
        url = f"{scheme}://{tmp_path}/none"
        done = talk(url)
        assert (done.returncode, done.stderr.decode()) == (69, f"netd: {url}: No such file or directory\n")
    done = talk(running.url("echo", "unixgram").replace("unixgram", "unix"))
    assert done.returncode == 69
    assert b"unixgram:// for datagrams" in done.stderr


@pytest.mark.parametrize("scheme", ["udp", "unixgram"])
def test_datagram_server_that_closes_exits_with_69(scheme: str, tmp_path: Path) -> None:
    family = socket.AF_INET if scheme == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.settimeout(20)
        server.bind(("127.0.0.1", 0) if scheme == "udp" else f"{tmp_path}/s")
        url = url_of(server) if scheme == "udp" else f"unixgram://{tmp_path}/s"
        with talking(url) as process:
            assert process.stdin
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            data, address = server.recvfrom(100)
            assert data == b"hello\n"
            server.sendto(b"hi\n", address)
            assert process.stdout
            assert process.stdout.read(3) == b"hi\n"
            server.close()
            process.stdin.write(b"still there?\n")
            process.stdin.flush()
            assert process.wait(20) == 69
            assert process.stderr
            assert process.stderr.read().decode() == f"netd: {url}: Connection refused\n"


def test_line_longer_than_a_datagram_exits_with_64(running: Daemon) -> None:
    done = talk(running.url("echo", "udp"), typed=b"x" * 65508)
    assert (done.returncode, done.stdout) == (64, b"")
    assert b": a datagram cannot hold 65508 octets\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("localhost:7",), "expected a URL such as"),
        (("tcp://*:7",), "tcp://*:7 is not an address to connect to"),
        (("tcp://localhost:0",), "tcp://localhost:0 is not an address to connect to"),
        (("systemd://echo",), "systemd:// is for listeners"),
        (("tcp://localhost:7?backlog=7",), "socket options are for listeners"),
        (("tcp://localhost:7", "--every", "soon", "--send", "x"), "expected a duration"),
        (("tcp://localhost:7", "--every", "1s"), "--every and --send need each other"),
        (("tcp://localhost:7", "--send", "x"), "--every and --send need each other"),
        (("tcp://localhost:7", "--count", "2"), "--count needs --every"),
        (("tcp://localhost:7", "--every", "1s", "--send", "{nwo}"), "unknown field 'nwo'; did you mean 'now'?"),
        (("tcp://localhost:7", "--name", "a:b"), "expected a word"),
    ],
)
def test_usage_errors_are_reported_before_anything_is_sent(arguments: tuple[str, ...], problem: str) -> None:
    done = talk(*arguments)
    assert (done.returncode, done.stdout) == (64, b"")
    assert problem in done.stderr.decode()


def test_schedule_sends_and_ends_after_its_count() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        arguments = ("--every", "10ms", "--count", "3", "--wait", "0", "--name", "clock")
        before = int(time.time())
        # Standard input is at its end, as under cron.
        done = talk(*arguments, "--send", "{seq} {now} {time:%Y}", url_of(server))
        after = int(time.time())
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        for number in range(1, 4):
            match = re.fullmatch(rb"clock : (\d) (\d+) \d{4}\n", server.recv(100))
            assert match
            assert int(match[1]) == number
            assert before <= int(match[2]) <= after
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.recv(100)


def test_schedule_continues_beside_input_until_a_farewell(running: Daemon) -> None:
    with talking("--every", "5ms", "--send", "tick", running.url("echo")) as process:
        assert process.stdin
        assert process.stdout
        for _ in range(3):
            assert process.stdout.readline() == b"tick\n"
        process.stdin.write(b"hello\n")
        process.stdin.flush()
        while (line := process.stdout.readline()) != b"hello\n":
            assert line == b"tick\n"
        assert process.stdout.readline() == b"tick\n"
        # A text may fall due between the farewell and the end of the pipe: only that ends the input.
        rest = process.communicate(b"q\n", timeout=20)[0].splitlines(keepends=True)
        assert [line for line in rest if line != b"tick\n"] == [b"q\n"]
        assert process.returncode == 0


def test_scheduled_text_is_sent_between_lines_and_not_within_one(tmp_path: Path) -> None:
    long = b"x" * 50_000 + b"\n"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/s")
        server.listen()
        server.settimeout(20)
        with talking("--every", "1ms", "--send", "tick", f"unix://{tmp_path}/s") as process:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as words:
                connection.settimeout(20)
                stdin = process.stdin
                assert stdin
                thread = threading.Thread(target=lambda: stdin.write(long * 100))
                thread.start()
                # netd talk reads no more input in the middle of a line, while the next tick is due.
                until(lambda: not select.select([], [stdin], [], 0.1)[1])
                number = 0
                while number < 100:
                    line = words.readline()
                    assert line in (b"tick\n", long)
                    number += line == long
                thread.join(20)


def test_interrupt_exits_with_130(listener: socket.socket) -> None:
    with serving(listener, lambda connection: connection.sendall(b"x"), then_stay=True):
        with talking(url_of(listener)) as process:
            assert process.stdout
            assert process.stdout.read(1) == b"x"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
            assert process.stderr
            assert process.stderr.read() == b""


def test_closed_output_pipe_exits_with_141_as_sigpipe_would(listener: socket.socket) -> None:
    with serving(listener, lambda connection: connection.sendall(b"x"), then_stay=True):
        with talking(url_of(listener)) as process:
            assert process.stdout
            process.stdout.close()
            assert process.wait(20) == 141
            assert process.stderr
            assert process.stderr.read() == b""


def test_unread_output_blocks_the_peer_and_takes_no_memory(listener: socket.socket) -> None:
    with talking(url_of(listener)) as process:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(0.5)
            sent = 0
            with contextlib.suppress(TimeoutError):
                while sent < 2**28:
                    sent += connection.send(bytes(2**20))
            assert sent < 2**26  # the buffers of the kernel and of netd talk, not all data
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) < 200_000


@contextlib.contextmanager
def listening_nc(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """An nc that listens, and has reported it."""
    need("nc")
    pipe = subprocess.PIPE
    with started("nc", "-v", *arguments, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stderr
        while not re.search(rb"(?i)listening|bound", line := process.stderr.readline()):
            assert line, "nc does not listen"
        yield process


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nc_at_the_other_end(scheme: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        port = free_port(socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
        options = {
            "tcp": ["-l", "127.0.0.1", str(port)],
            "udp": ["-l", "-u", "127.0.0.1", str(port)],
            "unix": ["-l", "-U", f"{place}/s"],
            "unixgram": ["-l", "-u", "-U", f"{place}/s"],
        }[scheme]
        url = f"{scheme}://127.0.0.1:{port}" if scheme in ("tcp", "udp") else f"{scheme}://{place}/s"
        with listening_nc(*options) as server, talking("--name", "alex", url) as client:
            assert client.stdin
            assert server.stdout
            client.stdin.write(b"hello\n")
            client.stdin.flush()
            assert server.stdout.readline() == b"alex : hello\n"
            if scheme != "unixgram":  # nc reads datagrams from a path, and answers none
                assert server.stdin
                assert client.stdout
                server.stdin.write(b"well, hello\n")
                server.stdin.flush()
                assert client.stdout.readline() == b"well, hello\n"
            server.kill()
            code = client.wait(20) if scheme in ("tcp", "unix") else None
            assert code in (1, None)
            client.kill()


def test_help_has_examples_and_exit_codes() -> None:
    text = talk("--help").stdout.decode()
    for word in ("netd talk --every 10s --send '{now}'", "--name alex", "69: the other end", "unixgram"):
        assert word in text
    assert "--room" not in text


def test_operator_talks_through_the_control_socket(tmp_path: Path) -> None:
    config = (
        "services: {pingpong: {listen: [tcp://127.0.0.1:0]}, off: {type: echo, enabled: false, listen: [tcp://*:0]}}\n"
    )
    with daemon(config, tmp_path) as running:

        def talk(service: str, said: str, option: str = "--service") -> tuple[int, str, str]:
            done = subprocess.run(
                [sys.executable, "-m", "netd", "talk", "--control", running.control, option, service],
                input=said,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            return done.returncode, done.stdout, done.stderr

        assert talk("pingpong", "ping 1\nping 2\n") == (0, "pong 1\npong 2\n", "")
        assert talk("pingpong", "ping 3\n", "--room") == (0, "pong 3\n", ""), "its old name"
        assert talk("off", "ping 1\n") == (1, "", "netd: 'off' is switched off\n")
        assert talk("ping", "ping 1\n")[0] == 64
        running.ask("stop")
        assert running.process.wait(20) == 0
        code, _, error = talk("pingpong", "ping 1\n")
        assert (code, error.partition(";")[0]) == (69, "netd: netd is not running")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["tcp://127.0.0.1:7", "--service", "echo"],
        ["tcp://127.0.0.1:7", "--room", "echo"],
        ["--service", "echo", "--room", "echo"],
    ],
)
def test_talk_needs_either_a_url_or_a_service(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "netd", "talk", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "expected either a URL or --service" in done.stderr
