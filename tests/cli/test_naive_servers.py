"""`netd talk` and `netd probe` at servers as tutorials have them: no line ends, one recv a message, no error handling.

The servers are in ``tests/programs/servers``. Each prints its port.
"""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.talking import talk, talking, type_and_read
from tests.support.programs import started
from tests.terminal import Terminal

pytestmark = pytest.mark.slow  # real processes, dozens of them

SERVERS = Path(__file__).parents[1] / "programs" / "servers"
NO_ANSWER = "nothing was received; if a message has no line end there, try --end none"


@contextlib.contextmanager
def serving(name: str) -> Iterator[str]:
    """A naive server, which still runs at the end. Its URL."""
    with started(sys.executable, SERVERS / f"{name}.py", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        port = int(process.stdout.readline())
        yield f"{name.rpartition('_')[2]}://127.0.0.1:{port}"
        assert process.poll() is None, process.stderr.read().decode()


@pytest.mark.parametrize(
    ("server", "arguments", "typed", "answers"),
    [
        ("hello_tcp", [], b"hello\n", b"hi"),
        ("hello_tcp", [], b"hello", b"hi"),
        ("hello_tcp", ["--end", "none"], b"hello\nhow\n", b"hihi"),
        ("dialogue_tcp", ["--end", "none"], b"hi\nhow are you\nbye\n", b"hellofinesee you"),
        ("upper_tcp", [], b"hello\n", b"HELLO\n"),
        ("upper_tcp", ["--end", "none"], b"hello\nworld\n*\n", b"HELLOWORLD"),
        ("upper_udp", [], b"hello\n", b"HELLO\n"),
        ("ping_tcp", [], b"ping", b"pong"),
        ("ping_tcp", ["--end", "none"], b"ping\nping\n", b"pongpong"),
        ("ping_udp", [], b"ping", b"pong"),
        ("ping_udp", ["--end", "none"], b"ping\nping\n", b"pongpong"),
    ],
)
def test_pipe_gets_the_answers(server: str, arguments: list[str], typed: bytes, answers: bytes) -> None:
    with serving(server) as url:
        done = talk(*arguments, url, typed=typed)
    assert (done.returncode, done.stdout, done.stderr) == (0, answers, b"")


@pytest.mark.parametrize("server", ["ping_tcp", "ping_udp"])
def test_missing_answer_is_reported_with_the_remedy(server: str) -> None:
    with serving(server) as url:
        done = talk(url, typed=b"ping\n")
    assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", f"netd: {url}: {NO_ANSWER}\n")


@pytest.mark.parametrize("end", ["lf", "none"])
def test_timestamps_are_read_back_as_dates(end: str) -> None:
    with serving("date_tcp") as url:
        done = talk("--every", "50ms", "--send", "{now}", "--count", "3", "--end", end, url)
    assert done.returncode == 0
    assert len(re.findall(rb"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", done.stdout)) == 3


def test_time_is_asked_for_by_its_format() -> None:
    with serving("time_udp") as url:
        done = talk("--every", "50ms", "--send", "%Y/%m/%d %H:%M:%S", "--count", "2", "--end", "none", url)
    assert done.returncode == 0
    assert re.fullmatch(rb"(?:\d{4}/\d\d/\d\d \d\d:\d\d:\d\d){2}", done.stdout)


def test_members_of_a_room_hear_each_other() -> None:
    with serving("chat_udp") as url, talking("--name", "alex", url) as alex, talking("--name", "eve", url) as eve:
        type_and_read(alex, b"hello\n", b"\033[1;33;42malex : hello\033[0m")
        type_and_read(eve, b"hi\n", b"\033[1;33;42meve : hi\033[0m")
        type_and_read(alex, b"how are you\n", b"\033[1;33;42meve : hi\033[0m\033[1;33;42malex : how are you\033[0m")


@pytest.mark.parametrize("server", ["hello_tcp", "upper_tcp", "upper_udp", "ping_tcp", "ping_udp"])
def test_probe_measures_wrong_and_missing_answers_and_the_server_survives(server: str) -> None:
    arguments = ["--service", "echo", "--count", "3", "--rate", "20/s", "--timeout", "1s"]
    with serving(server) as url:
        command = [sys.executable, "-m", "netd", "probe", url, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (1, "")
    assert "sent 3, received 0, lost 3 (100 %)" in done.stdout
    if server.startswith("upper"):
        assert "expected the 64 octets of the question, got 64 octets: " in done.stdout
    else:
        assert "3 timed out" in done.stdout


def test_dialogue_at_a_terminal_has_a_line_for_each_answer() -> None:
    with serving("dialogue_tcp") as url:
        command = [sys.executable, "-m", "netd", "talk", "--end", "none", url]
        terminal = Terminal(command, 70, 20, {**os.environ, "TERM": "xterm-256color"})
        try:
            shown = []
            for said, answer in ((b"hi", "hello"), (b"how are you", "fine"), (b"bye", "see you")):
                terminal.wait(lambda: ">" in terminal.lines)
                terminal.type(said, b"\r")
                shown += [f"> {said.decode()}", answer]
                terminal.wait(lambda: [line for line in terminal.lines[1:] if line.strip("> ")] == shown)  # noqa: B023
            terminal.wait(lambda: terminal.process.poll() is not None)
            assert terminal.process.returncode == 0
        finally:
            terminal.close()
