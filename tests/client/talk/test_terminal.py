"""`netd talk` at a pseudo-terminal: keys in, screen out."""

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sockets import read_exactly
from tests.terminal import Terminal

pytestmark = pytest.mark.slow  # real processes, dozens of them

WIDTH, HEIGHT = 70, 20
UP, LEFT, BACKSPACE, ENTER, CTRL_C, CTRL_D = b"\x1b[A", b"\x1b[D", b"\x7f", b"\r", b"\x03", b"\x04"


class User(Terminal):
    """A terminal in which `netd talk` runs."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "netd", "talk", *arguments]
        super().__init__(command, WIDTH, HEIGHT, {**os.environ, "TERM": "xterm-256color", **environment})

    @property
    def lines(self) -> list[str]:
        """The screen below its first line, which names the other end."""
        lines = super().lines
        while lines and not lines[-1]:
            lines.pop()
        return lines[1:]

    def colour(self, row: int, column: int) -> str:
        return str(self.screen.buffer[row][column].fg)

    def see(self, *lines: str) -> None:
        """Look until the last lines on the screen are these."""
        self.wait(lambda: self.lines[-len(lines) :] == list(lines))

    def leave(self, code: int) -> None:
        """See it end with this exit code, and the terminal as it was."""
        self.read_rest()
        assert self.process.returncode == code
        assert termios.tcgetattr(self.terminal)[3] & (termios.ICANON | termios.ECHO)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@contextlib.contextmanager
def talking(
    listener: socket.socket, *arguments: str, state: Path | str = "/dev/null"
) -> Iterator[tuple[User, socket.socket]]:
    """A user, and the connection of `netd talk` to the listener."""
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    user = User(*arguments, url, XDG_STATE_HOME=str(state))
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            yield user, connection
    finally:
        user.close()


def test_answer_is_shown_above_the_line_being_typed(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        user.type(b"hal")
        user.see("> hal")
        server.sendall(b"news\nmore news\n")
        user.see("news", "more news", "> hal")
        user.type(b"f", ENTER)
        assert read_exactly(server, 5) == b"half\n"
        user.see("news", "more news", "> half", ">")
        server.sendall(b"no more")
        server.close()
        user.see("no more", f"netd: tcp://127.0.0.1:{listener.getsockname()[1]}: closed by the other end")
        user.leave(1)


def test_line_can_be_edited_and_recalled(listener: socket.socket, tmp_path: Path) -> None:
    file = tmp_path / "netd" / "talk_history"
    with talking(listener, state=tmp_path) as (user, server):
        user.see(">")
        user.type(b"hexlo", LEFT, LEFT, BACKSPACE, b"l", ENTER)
        assert read_exactly(server, 6) == b"hello\n"
        user.see("> hello", ">")
        user.type(b"grue", BACKSPACE, BACKSPACE, "ü你".encode(), ENTER)
        assert read_exactly(server, 8).decode() == "grü你\n"
        user.see("> grü你", ">")
        user.type(UP, UP, b" again", ENTER)
        assert read_exactly(server, 12) == b"hello again\n"
        user.see("> hello", "> grü你", "> hello again", ">")
        server.sendall(b"hi\n")
        user.see("hi", ">")
        user.type(CTRL_D)
        user.leave(0)
    assert file.read_text() == "hello\ngrü你\nhello again\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with talking(listener, state=tmp_path) as (user, server):
        user.see(">")
        user.type(UP, UP, UP)
        user.see("> hello")
        user.type(ENTER)
        assert read_exactly(server, 6) == b"hello\n"


def test_unfinished_line_of_the_other_end_is_the_prompt(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        server.sendall(b"Welcome.\nlog")
        server.sendall(b"in: ")
        user.see("Welcome.", "login:")
        user.type(b"alex", ENTER)
        assert read_exactly(server, 5) == b"alex\n"
        user.see("Welcome.", "login: alex", ">")
        server.sendall(b"x" * 1000)
        user.see("x" * WIDTH, "x" * (1000 % WIDTH), ">")


def test_name_is_in_the_prompt_and_in_sent_lines(listener: socket.socket) -> None:
    with talking(listener, "--name", "alex") as (user, server):
        user.see("alex :")
        user.type(b"hello", ENTER, ENTER, b"q", ENTER)
        assert read_exactly(server, 100) == b"alex : hello\nq\n"  # and nothing more
        server.sendall(b"* goodbye\n")
        server.close()
        user.leave(0)


@pytest.mark.parametrize("keys", [b"q\r", b"bye\r", CTRL_D])
def test_answer_after_a_farewell_is_shown(listener: socket.socket, keys: bytes) -> None:
    with talking(listener, "--wait", "20s") as (user, server):
        user.see(">")
        user.type(keys)
        assert read_exactly(server, 100) == keys.replace(b"\r", b"\n").replace(CTRL_D, b"")
        server.sendall(b"see you")
        server.close()
        user.leave(0)
        assert user.lines[-1] == "see you"


def test_end_of_input_waits_only_briefly(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        user.type(CTRL_D)
        assert read_exactly(server, 1) == b""
        user.leave(0)


def test_pasted_text_is_sent_line_by_line(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        user.type(b"\x1b[200~one\r\ntwo\nq\nthree\x1b[201~", ENTER)
        assert read_exactly(server, 100) == b"one\ntwo\nq\n"
        server.sendall(b"hm\n")
        server.close()
        user.leave(0)


def test_interrupt_exits_with_130(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        user.type(b"half a word", CTRL_C)
        user.leave(130)
        assert user.lines == ["> half a word"]
        assert read_exactly(server, 1) == b""
    with talking(listener, "--wait", "20s") as (user, server):
        user.see(">")
        user.type(b"q", ENTER)
        assert read_exactly(server, 2) == b"q\n"
        user.see("> q")
        user.process.send_signal(signal.SIGINT)  # as the terminal does while no line is edited
        user.leave(130)


def test_colours_are_shown_and_other_sequences_are_escaped(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        server.sendall(b"\x1b[31malex\x1b[0m : hi\nsly\x1b[2J\x1b[1;1H\x9b6n\x1b]0;title\x07\n\x1b[32mgreen\n")
        user.see("alex : hi", "sly\\x1b[2J\\x1b[1;1H\\x9b6n\\x1b]0;title\\x07", "green", ">")
        assert user.colour(1, 0) == "red"
        assert user.colour(1, 5) == "default"
        assert user.colour(3, 0) == "green"
        assert user.colour(4, 0) == "default"
        server.sendall(b"\x1b[31mred? \x1b[6n")
        user.see("red? \\x1b[6n")
        assert user.colour(4, 0) == "red"
        assert b"\x1b[6n" not in user.output


FLOODS = {
    "lines": b"and another thing\n" * 5000,
    "long lines": b"x" * 99_999 + b"\n",
    "no line ends": b"x" * 100_000,
    "nuls": bytes(100_000),
    "titles": b"\x1b]0;x\x07" * 20_000,
    "unfinished sequences": b"\x1b[" * 50_000,
    "prompts": b"login: \n" * 20_000 + b"password:",
}


@contextlib.contextmanager
def flooding(server: socket.socket, data: bytes) -> Iterator[None]:
    """A server that sends without a break, until the other end closes."""

    def send_for_ever() -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                server.sendall(data)

    thread = threading.Thread(target=send_for_ever)
    thread.start()
    yield
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("flood", "keys", "code"),
    [*((flood, CTRL_C, 130) for flood in FLOODS), ("nuls", CTRL_D, 0), ("lines", b"q" + ENTER, 0)],
)
def test_endless_peer_does_not_keep_the_user(listener: socket.socket, flood: str, keys: bytes, code: int) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        with flooding(server, FLOODS[flood]):
            user.wait(lambda: len(user.output) > 100_000)
            user.type(keys)
            user.leave(code)


@pytest.mark.parametrize("flood", ["long lines", "titles"])
def test_line_is_typed_and_sent_beside_an_endless_peer(listener: socket.socket, flood: str) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        with flooding(server, FLOODS[flood]):
            user.wait(lambda: len(user.output) > 100_000)
            user.type(b"enough", ENTER)
            user.wait(lambda: select.select([server], [], [], 0)[0])
            assert read_exactly(server, 7) == b"enough\n"
            user.type(CTRL_C)
            user.leave(130)


def test_long_coloured_line_is_drawn_in_pieces_with_whole_sequences(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        server.sendall(b"\x1b[31mab\x1b[0m" * 3000 + b"\nend\n")
        user.see("end", ">")
        assert user.output.count(b"ab") == 3000
        shown = "".join(user.lines[:-2])
        assert set(shown) == {"a", "b"}


def test_colour_out_of_range_is_escaped(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        server.sendall(b"\x1b[38;2;999;999;999mlogin: ")
        user.see("\\x1b[38;2;999;999;999mlogin:")
        user.type(b"alex", ENTER)
        assert read_exactly(server, 5) == b"alex\n"
        server.sendall(b"\x1b[48;2;256;0;0mx\n\x1b[38;5;255mfine\n")
        user.see("\\x1b[48;2;256;0;0mx", "fine", ">")


def test_answer_without_a_line_end_is_a_line_of_its_own(listener: socket.socket) -> None:
    with talking(listener, "--end", "none") as (user, server):
        user.see(">")
        for said, answer in ((b"hi", b"hello"), (b"how", b"fine"), (b"and you?", b"well\n")):
            user.type(said, ENTER)
            assert read_exactly(server, len(said)) == said
            server.sendall(answer)
            user.see(f"> {said.decode()}", answer.decode().strip(), ">")
        server.sendall(b"late")
        user.see("late", ">")
        server.sendall(b"\nnext\n")  # the line end of what was shown as a line already
        user.see("late", "next", ">")


def test_line_end_is_sent_as_chosen(listener: socket.socket) -> None:
    with talking(listener, "--end", "crlf") as (user, server):
        user.see(">")
        user.type(b"hello", ENTER)
        assert read_exactly(server, 7) == b"hello\r\n"


def test_silent_peer_is_reported(listener: socket.socket) -> None:
    with talking(listener) as (user, server):
        user.see(">")
        user.type(b"ping", ENTER)
        assert read_exactly(server, 5) == b"ping\n"
        user.see("> ping", ">")
        user.type(CTRL_D)
        user.leave(1)
        assert "nothing was received; if a message has no line end there, try --end none" in "".join(user.lines)


def test_password_is_neither_shown_nor_stored(listener: socket.socket, tmp_path: Path) -> None:
    with talking(listener, state=tmp_path) as (user, server):
        server.sendall(b"Password: ")
        user.see("Password:")
        user.type(b"secret", ENTER)
        assert read_exactly(server, 7) == b"secret\n"
        server.sendall(b"Welcome.\n")
        user.see("Password: ******", "Welcome.", ">")
        user.type(b"hello", ENTER)
        user.see("> hello", ">")
    assert (tmp_path / "netd" / "talk_history").read_text() == "hello\n"


def test_history_that_is_a_fifo_keeps_neither_the_prompt_nor_the_end(listener: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "netd").mkdir()
    os.mkfifo(tmp_path / "netd" / "talk_history")
    with talking(listener, state=tmp_path) as (user, server):
        user.see(">")
        user.type(b"hello", ENTER)
        assert read_exactly(server, 6) == b"hello\n"
        server.sendall(b"hi\n")
        user.see("> hello", "hi", ">")
        user.type(CTRL_D)
        user.leave(0)


def test_schedule_runs_beside_typed_input(listener: socket.socket) -> None:
    with talking(listener, "--every", "20ms", "--send", "tick {seq}") as (user, server):
        user.see(">")
        assert read_exactly(server, 14) == b"tick 1\ntick 2\n"
        user.type(b"q", ENTER)
        received = read_exactly(server, 2**20).splitlines()
        assert received == [*(b"tick %d" % number for number in range(3, len(received) + 2)), b"q"]
        server.sendall(b"* goodbye\n")
        server.close()
        user.leave(0)


def test_prompt_is_erased_at_the_end_of_a_schedule(listener: socket.socket) -> None:
    with talking(listener, "--every", "1h", "--send", "due", "--count", "1") as (user, server):
        assert read_exactly(server, 5) == b"due\n"  # and the end of input
        server.sendall(b"well\n")
        server.close()
        user.leave(0)
        assert user.lines == ["well"]


def test_dumb_terminal_is_used_without_a_prompt(listener: socket.socket) -> None:
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    user = User(url, TERM="dumb")
    try:
        connection, _ = listener.accept()
        with connection:
            user.type(b"hello\r")
            assert read_exactly(connection, 6) == b"hello\n"
            connection.sendall(b"\x1b[2Jhi")
            connection.close()
            user.leave(1)
        assert b"\\x1b[2Jhi\r\nnetd: " in user.output
    finally:
        user.close()
