"""The terminal of `netd top`: keys, signals, its mode and capabilities."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from netd.cli.top.terminal import Keyboard, has_blocks, keys, require_terminal
from netd.errors import UsageError


@contextlib.contextmanager
def descriptor_is(number: int, file: int) -> Iterator[None]:
    """Let a standard descriptor be this file."""
    kept = os.dup(number)
    os.dup2(file, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)


@pytest.fixture
def primary() -> Iterator[int]:
    """The primary end of a pseudo-terminal, which is standard input."""
    primary, terminal = pty.openpty()
    with descriptor_is(0, terminal):
        yield primary
    os.close(primary)
    os.close(terminal)


@contextlib.contextmanager
def keyboard() -> Iterator[Keyboard]:
    made = Keyboard()
    try:
        with made:
            yield made
    finally:
        os.close(made._reader)
        os.close(made._writer)


def test_keys_are_recognised_however_the_octets_are_split() -> None:
    data = b"jq\x1b[A\x1bOB\x1b[5~\x1b[1;5C\t\r\n\x03\xff\x1b[Z?"
    names = ["j", "q", "up", "down", "page up", "unknown", "tab", "enter", "enter", "\x03", "ÿ", "tab", "?"]
    assert keys(data, complete=False) == (names, b"")
    for cut in range(len(data)):
        first, rest = keys(data[:cut], complete=False)
        second, rest = keys(rest + data[cut:], complete=False)
        assert (first + second, rest) == (names, b"")
    assert keys(b"\x1b", complete=False) == ([], b"\x1b")
    assert keys(b"\x1b", complete=True) == (["escape"], b"")
    assert keys(b"\x1b[", complete=True) == (["escape", "["], b"")


def test_keys_are_returned_at_once_and_not_echoed(primary: int) -> None:
    before = termios.tcgetattr(0)
    with keyboard() as opened:
        assert not termios.tcgetattr(0)[3] & (termios.ICANON | termios.ECHO)
        os.write(primary, b"j\x1b[A")
        assert list(opened.wait(10)) == ["j", "up"]
        assert list(opened.wait(0)) == []
    assert termios.tcgetattr(0) == before


def test_lone_escape_is_a_key_after_a_time_out(primary: int) -> None:
    with keyboard() as opened:
        os.write(primary, b"\x1b")
        assert list(opened.wait(10)) == []
        assert list(opened.wait(10)) == ["escape"]


def test_signals_are_returned_like_keys_and_wake_is_no_key(primary: int) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with keyboard() as opened:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGWINCH)
        opened.wake()
        assert list(opened.wait(10)) == ["SIGTERM", "SIGWINCH"]
        opened.wake()
        assert list(opened.wait(10)) == []
    assert signal.getsignal(signal.SIGTERM) is handler


def test_closed_terminal_is_a_hangup() -> None:
    primary, terminal = pty.openpty()
    with descriptor_is(0, terminal):
        os.close(terminal)
        with keyboard() as opened:
            os.close(primary)
            assert list(opened.wait(10)) == ["SIGHUP"]


def test_top_needs_a_terminal_that_can_be_drawn_on(primary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as null:
        with descriptor_is(1, null.fileno()), pytest.raises(UsageError, match="standard output is none"):
            require_terminal()
        with descriptor_is(1, 0):
            for term in ("", "dumb", "unknown"):
                monkeypatch.setenv("TERM", term)
                with pytest.raises(UsageError, match=f"of the type '{term}'"):
                    require_terminal()
            monkeypatch.setenv("TERM", "xterm")
            require_terminal()
            with descriptor_is(0, null.fileno()), pytest.raises(UsageError, match="standard input is none"):
                require_terminal()


@pytest.mark.parametrize(
    ("encoding", "term", "blocks"),
    [("UTF-8", "xterm", True), ("utf8", "xterm", True), ("UTF-8", "linux", False), ("ANSI_X3.4-1968", "xterm", False)],
)
def test_blocks_need_an_encoding_and_a_font_that_have_them(
    monkeypatch: pytest.MonkeyPatch, encoding: str, term: str, blocks: bool
) -> None:
    monkeypatch.setattr("locale.getencoding", lambda: encoding)
    monkeypatch.setenv("TERM", term)
    assert has_blocks() == blocks


@pytest.mark.parametrize(
    ("term", "colours", "alternate_screen"),
    [("xterm-256color", True, True), ("vt100", False, False), ("linux", True, False), ("none-such", False, True)],
)
def test_capabilities_are_those_of_terminfo(term: str, colours: bool, alternate_screen: bool) -> None:
    # curses reads terminfo once in a process.
    code = "from netd.cli.top.terminal import Capabilities as C; print(C().colours >= 8, C().alternate_screen)"
    environment = {**os.environ, "TERM": term}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"{colours} {alternate_screen}\n"
