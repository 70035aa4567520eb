"""The end of a `netd talk` in a pipe: a farewell, a close or a reset, the wait for the last answers."""

import contextlib
import socket
import time

import pytest

from tests.cli.talking import serving, talk, talking, type_and_read, url_of
from tests.support.daemon import Daemon
from tests.support.sockets import read_all, read_exactly

pytestmark = pytest.mark.slow  # real processes, dozens of them


@pytest.mark.parametrize(("scheme", "farewell"), [("tcp", b"q"), ("udp", b"q"), ("unix", b"bye"), ("unixgram", b"bye")])
def test_farewell_with_input_after_it_is_an_ordinary_line_of_a_pipe(
    running: Daemon, scheme: str, farewell: bytes
) -> None:
    typed = b"hello\n\n" + farewell + b"\nmore\n"
    echoed = b"alex : hello\n" + farewell + b"\nalex : more\n"
    with talking("--name", "alex", running.url("echo", scheme)) as process:
        type_and_read(process, typed, echoed)
        type_and_read(process, typed, echoed)  # the input is still open
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0


def test_file_with_a_farewell_in_the_middle_is_sent_whole(running: Daemon) -> None:
    typed = b"".join(b"q\n" if number == 70 else b"%d\n" % number for number in range(100))
    done = talk(running.url("echo"), typed=typed)
    assert (done.returncode, done.stdout) == (0, typed)


@pytest.mark.parametrize("scheme", ["tcp", "udp", "unix"])
def test_farewell_at_the_end_of_a_pipe_is_answered(running: Daemon, scheme: str) -> None:
    done = talk(running.url("chat", scheme), typed=b"hello\nbye\n")
    assert (done.returncode, done.stdout.split(), done.stderr) == (
        0,
        [b"ok"] * (scheme == "udp") + [b"*", b"goodbye"],
        b"",
    )


def test_close_after_a_farewell_is_no_error(running: Daemon) -> None:
    """With more input it is one, unless the other end has taken that before it closed (tests/client/talk)."""
    with talking(running.url("chat")) as process:
        type_and_read(process, b"hello\nbye\n", b"* goodbye\n")
        assert process.communicate(timeout=20) == (b"", b"")
        assert process.returncode == 0


def test_farewell_ends_a_talk_with_open_input(running: Daemon) -> None:
    with talking(running.url("echo")) as process:
        type_and_read(process, b"bye\n", b"bye\n")
        assert process.wait(20) == 0


def test_close_after_a_farewell_ends_a_talk_with_open_input(running: Daemon) -> None:
    with talking(running.url("chat")) as process:
        type_and_read(process, b"bye\n", b"* goodbye\n")
        assert process.wait(20) == 0


def test_wait_after_a_farewell_is_bounded_against_an_endless_peer(listener: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                connection.sendall(b"and another thing\n" * 1000)

    with serving(listener, serve):
        with talking("--wait", "100ms", url_of(listener)) as process:
            assert process.stdout
            assert process.stdout.readline() == b"and another thing\n"
            process.communicate(b"bye\n", timeout=20)
            assert process.returncode == 0


def test_stream_is_received_to_its_end_after_the_end_of_input(listener: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        connection.sendall(b"so: " + read_all(connection))

    with serving(listener, serve):
        done = talk(url_of(listener), typed=b"a\nb\n")
    assert (done.returncode, done.stdout) == (0, b"so: a\nb\n")


def test_silent_stream_is_closed_after_the_given_wait(listener: socket.socket) -> None:
    with serving(listener, lambda connection: connection.sendall(b"hm\n"), then_stay=True):
        with talking("--wait", "100ms", url_of(listener)) as process:
            assert process.stdout
            assert process.stdout.readline() == b"hm\n"
            assert process.communicate(timeout=20) == (b"", b"")
            assert process.returncode == 0


def test_close_by_the_other_end_exits_with_1(listener: socket.socket) -> None:
    with serving(listener, lambda connection: connection.sendall(b"go away\n")):
        with talking(url_of(listener)) as process:
            assert process.wait(20) == 1  # while the input stays open
            assert process.stdout
            assert process.stderr
            assert process.stdout.read() == b"go away\n"
            assert process.stderr.read().decode() == f"netd: {url_of(listener)}: closed by the other end\n"


def test_reset_by_the_other_end_exits_with_1(listener: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        assert connection.recv(100) == b"hello\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(listener, serve):
        done = talk(url_of(listener), typed=b"hello\n")
    assert (done.returncode, done.stderr.decode()) == (1, f"netd: {url_of(listener)}: Connection reset by peer\n")


def test_reset_after_a_farewell_exits_with_0(listener: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        assert connection.recv(100) == b"q\n"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with serving(listener, serve):
        done = talk("--wait", "20s", url_of(listener), typed=b"q\n")
    assert (done.returncode, done.stderr) == (0, b"")


def test_answer_of_a_peer_that_closes_early_is_shown(listener: socket.socket) -> None:
    with serving(listener, lambda connection: connection.sendall(b"enough\n")):
        with talking(url_of(listener)) as process:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):
                while process.poll() is None:
                    process.stdin.write(b"and then\n" * 100)
            assert process.wait(20) == 1
            assert process.stdout
            # A reset may overtake the answer (RFC 9293, 3.10.7.4), and does not where nothing was sent before.
            assert process.stdout.read() in (b"enough\n", b"")
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()


def test_wait_for_datagrams_begins_anew_with_each_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        with talking("--wait", "1s", url_of(server)) as process:
            assert process.stdin
            process.stdin.write(b"hello\n")
            process.stdin.close()
            _, address = server.recvfrom(100)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                server.sendto(b"more\n", address)
                time.sleep(0.05)  # well within the second of --wait, which each datagram begins anew
            server.sendto(b"last\n", address)
            assert process.wait(20) == 0
            assert process.stdout
            assert process.stdout.read().endswith(b"more\nlast\n")


def test_schedule_ends_when_the_other_end_closes(listener: socket.socket) -> None:
    def serve(connection: socket.socket) -> None:
        assert read_exactly(connection, 4) == b"1\n2\n"

    with serving(listener, serve):
        done = talk("--every", "1ms", "--send", "{seq}", url_of(listener))
    assert done.returncode == 1
