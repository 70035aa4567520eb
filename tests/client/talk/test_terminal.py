"""A person at a terminal: what they type, and what they see."""

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from netd.client.talk.terminal import Remembered
from tests.support import read_exactly, read_terminal

pytestmark = pytest.mark.slow  # real processes, dozens of them

WIDTH, HEIGHT = 70, 20
UP, LEFT, BACKSPACE, ENTER, CTRL_C, CTRL_D = b"\x1b[A", b"\x1b[D", b"\x7f", b"\r", b"\x03", b"\x04"


class Sitting:
    """Somebody at a terminal in which `netd talk` runs."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._screen = pyte.Screen(WIDTH, HEIGHT)
        self._stream = pyte.ByteStream(self._screen)
        self.drawn = b""
        self._primary, self._terminal = pty.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "netd", "talk", *arguments],
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )

    def type(self, *keys: bytes) -> None:
        os.write(self._primary, b"".join(keys))

    @property
    def lines(self) -> list[str]:
        """What is on the screen, below the first line, which says what one talks to."""
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines[1:]

    def colour(self, row: int, column: int) -> str:
        return str(self._screen.buffer[row][column].fg)

    def see(self, *lines: str) -> None:
        """Look until the last lines on the screen are these."""
        self._look(lambda: self.lines[-len(lines) :] == list(lines))

    def leave(self, code: int) -> None:
        """See it end with this exit code, and the terminal as it was."""
        self._look(lambda: self.process.poll() is not None)
        while self._look_once(0):
            pass
        assert self.process.returncode == code
        assert termios.tcgetattr(self._terminal)[3] & (termios.ICANON | termios.ECHO)

    def _look(self, done: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not done():
            assert time.monotonic() < end, "\n".join(self.lines)
            self._look_once(0.02)

    def _look_once(self, seconds: float) -> bool:
        if not select.select([self._primary], [], [], seconds)[0]:
            return False
        drawn = read_terminal(self._primary, "\n".join(self.lines))
        self.drawn = (self.drawn + drawn)[-100_000:]
        self._stream.feed(drawn)
        return True

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._primary)
        os.close(self._terminal)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


@contextlib.contextmanager
def sitting(
    listener: socket.socket, *arguments: str, state: Path | str = "/dev/null"
) -> Iterator[tuple[Sitting, socket.socket]]:
    """A person, and the connection on which they talk."""
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    person = Sitting(*arguments, url, XDG_STATE_HOME=str(state))
    try:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            yield person, connection
    finally:
        person.close()


def test_an_answer_shows_above_what_is_being_typed(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        person.type(b"hal")
        person.see("> hal")
        server.sendall(b"news\nmore news\n")
        person.see("news", "more news", "> hal")
        person.type(b"f", ENTER)
        assert read_exactly(server, 5) == b"half\n"
        person.see("news", "more news", "> half", ">")
        server.sendall(b"no more")
        server.close()
        person.see("no more", f"netd: tcp://127.0.0.1:{listener.getsockname()[1]}: closed by the other end")
        person.leave(1)


def test_a_line_can_be_edited_and_comes_back(listener: socket.socket, tmp_path: Path) -> None:
    file = tmp_path / "netd" / "talk_history"
    with sitting(listener, state=tmp_path) as (person, server):
        person.see(">")
        person.type(b"hexlo", LEFT, LEFT, BACKSPACE, b"l", ENTER)
        assert read_exactly(server, 6) == b"hello\n"
        person.see("> hello", ">")
        person.type(b"grue", BACKSPACE, BACKSPACE, "ü你".encode(), ENTER)
        assert read_exactly(server, 8).decode() == "grü你\n"
        person.see("> grü你", ">")
        person.type(UP, UP, b" again", ENTER)
        assert read_exactly(server, 12) == b"hello again\n"
        person.see("> hello", "> grü你", "> hello again", ">")
        person.type(CTRL_D)
        person.leave(0)
    assert file.read_text() == "hello\ngrü你\nhello again\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with sitting(listener, state=tmp_path) as (person, server):
        person.see(">")
        person.type(UP, UP, UP)
        person.see("> hello")
        person.type(ENTER)
        assert read_exactly(server, 6) == b"hello\n"


def test_what_the_other_end_asks_is_the_prompt(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        server.sendall(b"Welcome.\nlog")
        person.see("Welcome.", "log")
        server.sendall(b"in: ")
        person.see("Welcome.", "login:")
        person.type(b"alex", ENTER)
        assert read_exactly(server, 5) == b"alex\n"
        person.see("Welcome.", "login: alex", ">")
        server.sendall(b"x" * 1000)
        person.see("x" * WIDTH, "x" * (1000 % WIDTH), ">")


def test_a_name_is_seen_and_said(listener: socket.socket) -> None:
    with sitting(listener, "--name", "alex") as (person, server):
        person.see("alex :")
        person.type(b"hello", ENTER, ENTER, b"q", ENTER)
        assert read_exactly(server, 100) == b"alex : hello\nq\n"  # and nothing more
        server.close()
        person.leave(0)


@pytest.mark.parametrize("keys", [b"q\r", b"bye\r", CTRL_D])
def test_whoever_leaves_hears_the_last_word(listener: socket.socket, keys: bytes) -> None:
    with sitting(listener, "--wait", "20s") as (person, server):
        person.see(">")
        person.type(keys)
        assert read_exactly(server, 100) == keys.replace(b"\r", b"\n").replace(CTRL_D, b"")
        server.sendall(b"see you")
        server.close()
        person.leave(0)
        assert person.lines[-1] == "see you"


def test_whoever_leaves_does_not_wait_for_long(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        person.type(CTRL_D)
        assert read_exactly(server, 1) == b""
        person.leave(0)


def test_what_was_pasted_is_sent_line_by_line(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        person.type(b"\x1b[200~one\r\ntwo\nq\nthree\x1b[201~", ENTER)
        assert read_exactly(server, 100) == b"one\ntwo\nq\n"
        server.close()
        person.leave(0)


def test_an_interrupt(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        person.type(b"half a word", CTRL_C)
        person.leave(130)
        assert person.lines == ["> half a word"]
        assert read_exactly(server, 1) == b""
    with sitting(listener, "--wait", "20s") as (person, server):
        person.see(">")
        person.type(b"q", ENTER)
        assert read_exactly(server, 2) == b"q\n"
        person.see("> q")
        person.process.send_signal(signal.SIGINT)  # where no line is being edited, the terminal sends it
        person.leave(130)


def test_colours_show_and_nothing_else_reaches_the_terminal(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        server.sendall(b"\x1b[31malex\x1b[0m : hi\nsly\x1b[2J\x1b[1;1H\x9b6n\x1b]0;title\x07\n\x1b[32mgreen\n")
        person.see("alex : hi", "sly\\x1b[2J\\x1b[1;1H\\x9b6n\\x1b]0;title\\x07", "green", ">")
        assert person.colour(1, 0) == "red"
        assert person.colour(1, 5) == "default"
        assert person.colour(3, 0) == "green"
        assert person.colour(4, 0) == "default"
        server.sendall(b"\x1b[31mred? \x1b[6n")
        person.see("red? \\x1b[6n")
        assert person.colour(4, 0) == "red"
        assert b"\x1b[6n" not in person.drawn


def test_whoever_talks_without_a_break_can_be_left(listener: socket.socket) -> None:
    with sitting(listener) as (person, server):
        person.see(">")
        person.type(b"q", ENTER)
        thread = threading.Thread(target=talk_for_ever, args=(server,))
        thread.start()
        person.leave(0)
        thread.join(20)
        assert not thread.is_alive()


def talk_for_ever(server: socket.socket) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            server.sendall(b"and another thing\n" * 50_000)


def test_a_schedule_beside_a_person(listener: socket.socket) -> None:
    with sitting(listener, "--every", "20ms", "--send", "tick {seq}") as (person, server):
        person.see(">")
        assert read_exactly(server, 14) == b"tick 1\ntick 2\n"
        person.type(b"q", ENTER)
        said = read_exactly(server, 2**20).splitlines()
        assert said == [*(b"tick %d" % number for number in range(3, len(said) + 2)), b"q"]
        server.close()
        person.leave(0)


def test_the_end_of_a_schedule_leaves_no_prompt_behind(listener: socket.socket) -> None:
    with sitting(listener, "--every", "1h", "--send", "due", "--count", "1") as (person, server):
        assert read_exactly(server, 5) == b"due\n"  # and the end
        server.sendall(b"well\n")
        server.close()
        person.leave(0)
        assert person.lines == ["well"]


def test_a_terminal_that_cannot_be_drawn_on_will_do(listener: socket.socket) -> None:
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    person = Sitting(url, TERM="dumb")
    try:
        connection, _ = listener.accept()
        with connection:
            person.type(b"hello\r")
            assert read_exactly(connection, 6) == b"hello\n"
            connection.sendall(b"\x1b[2Jhi")
            connection.close()
            person.leave(1)
        assert b"\\x1b[2Jhi\r\nnetd: " in person.drawn
    finally:
        person.close()


def test_history_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "there" / "history"
    history = Remembered(str(file))
    assert list(history.load_history_strings()) == []
    for number in range(2001):
        history.store_string(f"line {number}")
    latest = [f"line {number}" for number in range(2000, 1000, -1)]
    assert list(Remembered(str(file)).load_history_strings()) == latest
    assert len(file.read_text().splitlines()) == 1000
    assert list(Remembered(str(file)).load_history_strings()) == latest


def test_history_of_long_lines_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("".join(f"{number} {'x' * 5000}\n" for number in range(300)))
    remembered = list(Remembered(str(file)).load_history_strings())
    assert remembered[0] == "299 " + "x" * 5000
    assert {len(line) for line in remembered} <= {5002, 5003, 5004}
    assert 100 < len(remembered) < 300
    assert file.stat().st_size <= 2**20


def test_history_is_in_memory_where_there_can_be_no_file() -> None:
    for history in (Remembered(None), Remembered("/dev/null/history")):
        history.append_string("hello")
        assert history.get_strings() == ["hello"]
        assert list(history.load_history_strings()) == []
