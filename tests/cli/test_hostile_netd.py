"""Commands at a control socket of a process that is not netd, or is netd of another version."""

import copy
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from netd.cli.main import netd
from netd.errors import OperatorError
from tests.cli.commands import run
from tests.client.fake_netd import FakeNetd
from tests.support.daemon import Daemon, daemon
from tests.terminal import Terminal

HOSTILE = "\x1b]52;c;aGFjaw==\x07\x9b2J\u202e\n\r"
REFUSAL = {"ok": False, "problems": ["no"], "exit_code": 1}

# By the request that each sends.
COMMANDS = {
    "status": ("status",),
    "diff": ("diff",),
    "reload": ("reload",),
    "connections": ("connections",),
    "explain from=127.0.0.1:4000 to=echo/tcp": ("explain", "--from", "127.0.0.1:4000", "--to", "echo/tcp"),
    "ban list": ("ban", "list"),
    "config service=off": ("config", "off"),
}


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """All places in an answer; of a list only the first element."""
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def changed(answer: dict[str, Any], at: tuple[str | int, ...], *values: Any) -> dict[str, Any]:
    """The answer with another value at this place; with none, the place is missing."""
    made: Any = copy.deepcopy(answer)
    inner = made
    for step in at[:-1]:
        inner = inner[step]
    if values:
        inner[at[-1]] = values[0]
    else:
        del inner[at[-1]]
    return made  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    config = """services:
  echo: {listen: [tcp://127.0.0.1:0]}
  off:
    {type: upper, enabled: false, listen: [tcp://*:0], access: {deny: [192.0.2.1,
      192.0.2.2]}}
"""
    with daemon(config, tmp_path_factory.mktemp("n")) as process:
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("request_line", COMMANDS)
def test_answer_with_anything_in_any_place_is_printable_or_an_error(
    place: Path, running: Daemon, request_line: str
) -> None:
    words = COMMANDS[request_line]
    running.ask("ban", "add", "192.0.2.7", "1h")
    with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        answer = running.ask(*request_line.split()).received
    variants = [
        changed(answer, at, *value)
        for at in places(answer)
        if at
        for value in ((), (HOSTILE,), (None,), (10**400,), ([],), ({},), ([HOSTILE],), ({HOSTILE: HOSTILE},), (1e999,))
    ]
    with FakeNetd(place / "control.sock", *variants) as fake:
        for variant in variants:
            try:
                output = run(*words)[1]
            except OperatorError as error:
                assert error.exit_code in (1, 69), variant
                output = "\n".join(error.problems) + "\n"
            assert all(line.isprintable() for line in output.split("\n")), variant
    assert len(fake.requests) == len(variants)


@pytest.mark.parametrize("words", [*COMMANDS.values(), ("trace", "echo"), ("stop",), ("enable", "echo")])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[" * 100_000,
        b'{"ok": true, "pid": 1' + b"0" * 5000 + b"}\n",
        b"[1]\n",
        b'{"ok": 1}\n',
        b'{"ok": false}\n',
        b'{"ok": false, "problems": 7}\n',
        b'{"ok": false, "error": "no", "exit_code": "x"}\n',
        b'{"ok": false, "error": "no", "exit_code": 99999999999}\n',
        b'{"ok": false, "error": "no", "exit_code": 0}\n',
    ],
)
def test_nonsense_is_no_answer_of_netd(place: Path, words: tuple[str, ...], answer: bytes) -> None:
    with FakeNetd(place / "control.sock", answer) as fake, pytest.raises(OperatorError) as caught:
        run(*words)
    [problem] = caught.value.problems
    assert caught.value.exit_code == 69
    assert problem.startswith(f"the process that listens at {fake.path} does not answer as netd does: ")


@pytest.mark.parametrize("words", [("status",), ("stop",), ("explain", "--from", "127.0.0.1:1", "--to", "echo/tcp")])
def test_answer_without_what_the_command_needs_is_no_answer_of_netd(place: Path, words: tuple[str, ...]) -> None:
    with FakeNetd(place / "control.sock", {"ok": True}), pytest.raises(OperatorError, match=": KeyError: ") as caught:
        run(*words)
    assert caught.value.exit_code == 69


@pytest.mark.parametrize("pid", [0, -1, 10**400, "x", None, [1]])
def test_process_that_cannot_be_is_no_answer_of_netd(place: Path, pid: object) -> None:
    with FakeNetd(place / "control.sock", {"ok": True, "pid": pid}), pytest.raises(OperatorError) as caught:
        run("stop")
    assert caught.value.exit_code == 69


def test_message_of_a_trace_with_anything_in_any_place_is_printable_or_an_error(place: Path) -> None:
    message = {"time": 1.5, "what": "in", "peer": "192.0.2.7:5", "size": 1, "data": "78"}
    values: tuple[tuple[Any, ...], ...] = ((), (HOSTILE,), (None,), (10**400,), (1e18,), (-1,), ([],), ({},), (1e999,))
    variants = [changed(message, at, *value) for at in places(message) if at for value in values]
    variants += [{"skipped": HOSTILE}, {}]
    for variant in variants:
        status = {"ok": True, "services": [{"service": "echo", "enabled": True}]}
        trace = b'{"ok": true}\n' + json.dumps(variant).encode() + b"\n"
        with FakeNetd(place / "control.sock", status, trace):
            done = CliRunner().invoke(netd, ["trace", "echo"], standalone_mode=False)
        assert isinstance(done.exception, OperatorError), variant
        assert done.exception.exit_code == 69
        assert all(line.isprintable() for line in done.stdout.split("\n")), variant
        assert str(done.exception).isprintable()


def test_bug_of_a_command_stays_a_bug(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    def broken(*arguments: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr("netd.client.control.ask", broken)
    with pytest.raises(KeyError):
        run("status", "--control", str(place / "none"))


@pytest.mark.parametrize("problem", [HOSTILE, "x" * 100])
def test_refusal_is_printable(place: Path, problem: str) -> None:
    refusal = {"ok": False, "error": problem, "problems": [problem], "exit_code": 1}
    with FakeNetd(place / "control.sock", refusal), pytest.raises(OperatorError) as caught:
        run("reload")
    assert caught.value.problems[0].isprintable()


def test_json_is_as_netd_sent_it(place: Path) -> None:
    answer = {"total": 0, "connections": [], "more": HOSTILE}
    with FakeNetd(place / "control.sock", {"ok": True, **answer}):
        output = run("connections", "--json")[1]
    assert json.loads(output) == answer
    assert output.isascii()


@pytest.mark.parametrize(
    "data", [b"\n" * 4096, b" " * 65536, b"{}\n" * 4096, b"x" * 65536], ids=["lines", "blanks", "objects", "octets"]
)
@pytest.mark.parametrize("words", [("status",), ("trace", "echo"), ("talk", "--service", "echo")])
@pytest.mark.parametrize("first", [b"", b'{"ok": true}\n'], ids=["at once", "later"])
@pytest.mark.slow
def test_endless_nonsense_ends_the_command(place: Path, words: tuple[str, ...], first: bytes, data: bytes) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            try:
                connection.sendall(first)
                while True:
                    connection.sendall(data)
            except OSError:
                pass

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/control.sock")
        listener.listen()
        endless = threading.Thread(target=serve)
        endless.start()
        done = subprocess.run(
            [sys.executable, "-m", "netd", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        endless.join(10)
        assert not endless.is_alive()
    assert done.returncode == 69
    assert "does not answer as netd does" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("key", "hostile"), [("version", HOSTILE), ("log_level", HOSTILE), ("pid", [HOSTILE])])
def test_top_shows_no_control_sequence(place: Path, running: Daemon, key: str, hostile: object) -> None:
    status = running.ask("status").received
    status["services"][0] |= {"service": HOSTILE, "type": HOSTILE, "why": HOSTILE, "endpoints": [HOSTILE]}
    status[key] = hostile
    answers = [status, REFUSAL, *[status] * 200]
    with FakeNetd(place / "control.sock", *answers):
        command = [sys.executable, "-m", "netd", "top", "--interval", "0.1"]
        terminal = Terminal(command, 80, 24, {**os.environ, "TERM": "xterm-256color"})
        try:
            terminal.wait(lambda: any("\\x1b]52" in line for line in terminal.lines))
            terminal.type(b"q")
            terminal.read_rest()
        finally:
            terminal.close()
    assert b"\x1b]52" not in terminal.output
    assert b"\xe2\x80\xae" not in terminal.output


@pytest.mark.slow
def test_top_gives_the_terminal_back_where_an_answer_is_none_of_netd(place: Path) -> None:
    with FakeNetd(place / "control.sock", {"ok": True, "services": 7}):
        command = [sys.executable, "-m", "netd", "top"]
        terminal = Terminal(command, 80, 24, {**os.environ, "TERM": "xterm-256color"})
        try:
            terminal.read_rest()
            assert terminal.process.returncode == 69
            assert "does not answer as netd does" in " ".join(terminal.lines)
        finally:
            terminal.close()
