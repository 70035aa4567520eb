"""A hostile server or a hostile control socket, and a person at a terminal: nothing but colours comes through."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attack.conftest import Row
from tests.attack.processes import megabytes, memory
from tests.client.fake_netd import FakeNetd
from tests.terminal import Terminal

STRINGS = [
    b"\x1b]0;title\x07", b"\x1b]52;c;aGFjaw==\x07", b"\x1bP$q q\x1b\\", b"\x1b[c", b"\x1b[6n", b"\x1b[?1049h",
    b"\x1b[2J",
    b"\x1b[200~paste\x1b[201~", b"\x9b31m", b"\xc2\x9b31m", b"\x90q\x9c", b"\x01\x02", bytes(10), b"a\rb", b"a\bb",
    "\u202egnp.exe".encode(), "a\u200db".encode(), "\U000e0041".encode(), b"a" + "\u0301".encode() * 5000, b"\x1b",
    b"\x1b[", b"\x1b]0;", b"\x1b[38;2;999;999;999mlogin: ", b"\x1b[48;2;256;0;0mx", b"\x1b[31mred\x1b[0m", b"\x1b#8",
    b"\x1b(0", b"\x0e\x0f", b"\x7f", b"\xff\xfe", b"\x1b[5i", b"\x1b[?2004h", b"\x1b_G\x1b\\", b"\x1b^pm\x1b\\",
]  # fmt: skip
_ALLOWED = re.compile(rb"\x1b\[[0-9;]*m")
_HIDDEN = re.compile("[\u0080-\u009f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
# What netd's own line editor writes: cursor movement, erasing, modes of the cursor and of pasting (prompt_toolkit).
_EDITOR = re.compile(rb"\x1b\[(?:\?(?:1|7|12|25|2004)[hl]|\d*(?:;\d*)?[ABCDGHJK]|6n)|\x1b\[0? ?q|[\r\n\b\x07]")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.settimeout(20)
        yield sock


def test_strings_for_a_terminal(listener: socket.socket, tmp_path: Path, row: Row) -> None:
    """Each between two words, since a string may be cut anywhere."""
    shown = 0
    for string in STRINGS:
        thread = threading.Thread(target=_send, args=(listener, b"before" + string + b"after\nEND\n"))
        thread.start()
        terminal = _talk(listener)
        try:
            terminal.wait(lambda terminal=terminal: b"END" in terminal.output)  # type: ignore[misc]
            shown += 1
            rest = _EDITOR.sub(b"", _ALLOWED.sub(b"", terminal.output))
            assert not re.search(rb"[\0-\x1f\x7f]", rest), (string, terminal.output)
            assert not _HIDDEN.search(rest.decode(errors="replace")), (string, terminal.output)
            terminal.wait(lambda terminal=terminal: terminal.process.poll() is not None)  # type: ignore[misc]
            assert terminal.process.returncode in (0, 1)
        finally:
            terminal.close()
            thread.join(20)
    row(f"{len(STRINGS)} strings", f"{shown} shown, none of them but colours reached the terminal")


def _send(listener: socket.socket, data: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(data)


def _talk(listener: socket.socket) -> Terminal:
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    return Terminal(
        [sys.executable, "-m", "netd", "talk", url], 80, 24, {**os.environ, "TERM": "xterm-256color", "PAGER": "cat"}
    )


@pytest.mark.parametrize("data", [bytes(100_000), b"\x1b]0;x\x07" * 20_000, b"x" * 100_000, b"line\n" * 20_000])
def test_interrupt_of_an_endless_server(listener: socket.socket, row: Row, data: bytes) -> None:
    thread = threading.Thread(target=_flood, args=(listener, data))
    thread.start()
    terminal = _talk(listener)
    try:
        terminal.wait(lambda: len(terminal.output) > 1000)
        terminal.type(b"\x03")
        terminal.wait(lambda: terminal.process.poll() is not None)
        assert terminal.process.returncode == 130
    finally:
        terminal.close()
        thread.join(20)
    row(f"without end: {data[:8]!r}", "the first Ctrl-C ended it")


@pytest.mark.parametrize(
    "answer",
    [
        b'{"ok": true, "version": "\\u001b]52;c;aGFjaw==\\u0007", "why": "\\u001b[2J", "pid": "\\u009b31m"}\n',
        b'{"ok": false, "problems": ["\\u001b]0;x\\u0007"]}\n',
        b"[" * 100_000 + b"\n",
        b'{"ok": true}\n',
        b"\x1b]0;x\x07\n",
        b"",
    ],
)
def test_control_socket_of_a_stranger(tmp_path: Path, row: Row, answer: bytes) -> None:
    codes = []
    for words in (["status"], ["reload"], ["connections"], ["ban", "list"], ["diff"], ["trace", "echo"], ["explain"]):
        more = ["--from", "127.0.0.1", "--to", "echo"] if words == ["explain"] else []
        with FakeNetd(tmp_path / "c", answer):
            command = [sys.executable, "-m", "netd", *words, *more]
            environment = {**os.environ, "NETD_CONTROL": f"{tmp_path}/c", "TERM": "xterm-256color"}
            terminal = Terminal(command, 80, 24, environment)
            try:
                terminal.read_rest()
                assert b"\x1b]" not in terminal.output
                assert b"\x9b" not in terminal.output.replace("…".encode(), b"")
                assert b"Traceback" not in terminal.output
                codes.append(terminal.process.returncode)
            finally:
                terminal.close()
    row(f"answer {answer[:30]!r} to {len(codes)} commands", f"exit codes {sorted(set(codes))}")
    assert 70 not in codes


@pytest.mark.parametrize("data", [b"x" * 100_000, b"line\n" * 20_000, b"\x1b]0;x\x07" * 20_000])
def test_endless_server_in_a_pipe(listener: socket.socket, tmp_path: Path, row: Row, data: bytes) -> None:
    """To a file that takes all: memory stays, and the first Ctrl-C ends it."""
    thread = threading.Thread(target=_flood, args=(listener, data))
    thread.start()
    url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    with subprocess.Popen(
        [sys.executable, "-m", "netd", "talk", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout
            for _ in range(1000):
                assert process.stdout.read(100_000)
            held = memory(process.pid)
            process.send_signal(signal.SIGINT)
            while process.stdout.read(100_000):
                pass
            assert process.wait(20) == 130
        finally:
            process.kill()
            thread.join(20)
    row(f"100 MB of {data[:8]!r}", f"{megabytes(held)}; the first Ctrl-C ended it")
    assert held < 60e6


def _flood(listener: socket.socket, data: bytes) -> None:
    """Send this for as long as the client takes it."""
    connection, _ = listener.accept()
    with connection:
        try:
            while True:
                connection.sendall(data)
        except OSError:
            pass
