"""Small client programs as tutorials have them, against services with their default options.

They send no line ends, receive once for each send with ``recv(1024)``, and read their input in a loop.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started

pytestmark = pytest.mark.slow  # a daemon, and processes that wait for pauses

PROGRAMS = Path(__file__).parent / "programs" / "clients"
CONFIG = """
services:
  reply:    {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  hello:    {type: reply, listen: ["tcp://127.0.0.1:0"], options: {repeat: true}}
  time:     {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  upper:    {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  pingpong: {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  chat:     {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  quiet:    {type: chat, listen: ["udp://127.0.0.1:0"], options: {push: false}}
"""
DATE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(CONFIG, tmp_path_factory.mktemp("n")) as process:
        yield process


def command(running: Daemon, program: str, service: str, *arguments: str) -> list[str]:
    """A program of `tests/programs/clients` as a client of a service."""
    scheme = "udp" if "udp" in program or service == "quiet" else "tcp"
    return [sys.executable, str(PROGRAMS / program), "127.0.0.1", str(running.port(service, scheme)), *arguments]


def run(running: Daemon, program: str, service: str, *arguments: str, typed: str = "") -> str:
    """The output of a program, which has to end by itself."""
    done = subprocess.run(
        command(running, program, service, *arguments),
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_hello_is_answered_by_hi(running: Daemon) -> None:
    assert run(running, "hello.py", "reply", "1") == "b'hi'\n"
    assert run(running, "hello.py", "hello", "3") == "b'hi'\n" * 3


def test_timestamp_is_read_back_as_a_date(running: Daemon) -> None:
    assert re.fullmatch(f"({DATE}\n){{3}}", run(running, "timestamps.py", "time", "0.5", "3"))
    assert re.fullmatch(r"(\d+\.\d+\n){3}", run(running, "timestamps.py", "upper", "0", "3"))


@pytest.mark.parametrize("farewell", ["bye", "q"])
def test_dialogue_goes_on_until_a_farewell(running: Daemon, farewell: str) -> None:
    said = run(running, "dialogue.py", "chat", typed=f"hello\nhow are you?\n{farewell}\n")
    assert said == "> * you are alone here; q leaves\n\n> ok\n\n> * goodbye\n\n"
    assert run(running, "dialogue.py", "pingpong", typed=f"ping 1\nhello\n{farewell}\n") == "> pong 1\n> pong\n> pong\n"
    assert run(running, "dialogue.py", "hello", typed=f"hello\n{farewell}\n") == "> hi\n> hi\n"


def test_text_comes_back_in_upper_case(running: Daemon) -> None:
    assert run(running, "upper_tcp.py", "upper", typed="hello\nnetd\n*\n") == "HELLO\nNETD\n*\n"
    assert run(running, "upper_udp.py", "upper", typed="hello\nnetd\n") == "HELLO\nNETD\n"


class Typing:
    """A program at which lines are typed, while another one runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def type(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def shows(self, *lines: str) -> None:
        assert self._process.stdout
        assert [self._process.stdout.readline() for _ in lines] == [f"{line}\n" for line in lines]


@pytest.fixture
def typing(running: Daemon) -> Iterator[list[Typing]]:
    """Two members of the chat without pushes."""
    pipe = subprocess.PIPE
    commands = [command(running, "chat_udp.py", "quiet", name) for name in ("alex", "bob")]
    with (
        started(*commands[0], stdin=pipe, stdout=pipe, text=True) as one,
        started(*commands[1], stdin=pipe, stdout=pipe, text=True) as other,
    ):
        yield [Typing(one), Typing(other)]


def test_chat_over_udp_answers_each_message_with_the_news(typing: list[Typing]) -> None:
    alex, bob = typing
    alex.type("is this a chat?")
    alex.shows("ok", "")
    bob.type("I am")
    bob.shows("ok", "")
    bob.type("and you?")
    bob.shows("ok", "")
    alex.type("hello bob")
    alex.shows("* bob has joined", "bob : I am", "bob : and you?", "")
    bob.type("q")
    bob.shows("* goodbye", "")
    alex.type("bye then")
    alex.shows("* bob has left", "")
    alex.type("q")
    alex.shows("* goodbye", "")


def test_chat_over_udp_sends_the_messages_of_others_at_once(running: Daemon) -> None:
    pipe = subprocess.PIPE
    with started(*command(running, "chat_udp_thread.py", "chat", "ann"), stdin=pipe, stdout=pipe, text=True) as first:
        ann = Typing(first)
        ann.shows("ok", "")
        with started(
            *command(running, "chat_udp_thread.py", "chat", "ben"), stdin=pipe, stdout=pipe, text=True
        ) as other:
            ben = Typing(other)
            ben.shows("ok", "")
            ann.shows("* ben has joined", "", "ben : hello", "")
            ann.type("welcome")
            ann.shows("ok", "")
            ben.shows("ann : welcome", "")
            ben.type("q")
            ann.shows("* ben has left", "")
        ann.type("q")
        assert first.wait(20) == 0


def test_time_comes_in_a_format_over_udp(running: Daemon) -> None:
    now = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\n"
    assert re.fullmatch(f"({now}){{3}}", run(running, "time_udp.py", "time", "0.2", "3"))


def test_ping_is_answered_by_pong(running: Daemon) -> None:
    assert run(running, "ping_tcp.py", "pingpong") == "ok\n" * 3
    assert run(running, "ping_udp.py", "pingpong") == "ok\n" * 3


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_ping_of_a_shell_is_answered_by_pong(running: Daemon, scheme: str) -> None:
    need("bash", "nc")
    port = str(running.port("pingpong", scheme))
    script = ["bash", str(PROGRAMS / "ping.sh"), scheme, "127.0.0.1", port]
    assert subprocess.run(script, capture_output=True, check=True, timeout=30).stdout == b"pong"
    options = ["-u", "-W1"] if scheme == "udp" else []  # no -N: the input has no end of file for netd
    with started("nc", *options, "127.0.0.1", port, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as nc:
        assert nc.stdin
        assert nc.stdout
        nc.stdin.write(b"ping")
        nc.stdin.flush()
        assert nc.stdout.read(4) == b"pong"
