"""`netd top` at a pseudo-terminal with a real netd. Tests read the screen."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until
from tests.terminal import Terminal

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """
services:
  echo: {{listen: [udp://127.0.0.1:0, tcp://127.0.0.1:0]}}
  off: {{type: upper, enabled: false, listen: [tcp://127.0.0.1:0]}}
  upper: {{listen: [tcp://127.0.0.1:0, "unix://{directory}/[bold]x.sock"]}}
"""


class Top(Terminal):
    """A terminal with `netd top` on it."""

    def __init__(self, control: str, *arguments: str, before: Sequence[str] = (), **environment: str) -> None:
        kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLORTERM")}
        settings = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "NETD_CONTROL": control, **environment}
        command = [*before, sys.executable, "-m", "netd", "top", "--interval", "0.1", *arguments]
        super().__init__(command, 90, 24, {**kept, **settings})

    def shows(self, text: str) -> None:
        self.wait(lambda: text in "\n".join(self.lines))

    def press(self, keys: str) -> None:
        self.type(keys.encode())

    def table(self) -> list[list[str]]:
        """The rows of the table, split into words."""
        rows = [line.split() for line in self.lines[4 : self.screen.lines - 3]]
        return [row for row in rows if row]

    def first(self) -> list[str]:
        """The first column."""
        return [row[0] for row in self.table()]

    def cell(self, name: str, head: str) -> str:
        """The cell in the row of this name and the column of this head."""
        heads = self.lines[3].split()
        row = next((row for row in self.table() if row[0] == name), [])
        # The graph has blanks in it, so columns right of it are counted from the end.
        place = heads.index(head) - (len(heads) if "GRAPH" in heads and heads.index(head) > heads.index("GRAPH") else 0)
        return row[place] if row else ""

    def end(self) -> int:
        """Wait for the end, and check that the terminal mode was restored. The exit code."""
        self.read_rest()
        assert termios.tcgetattr(self.terminal) == self.attributes
        assert self.output.rindex(b"\x1b[?25h") > self.output.rindex(b"\x1b[?25l"), "no cursor"
        assert self.output.rindex(b"\x1b[?1049l") > self.output.rindex(b"\x1b[?1049h"), "the other screen"
        return int(self.process.returncode)


@contextlib.contextmanager
def top(control: str, *arguments: str, **environment: str) -> Iterator[Top]:
    """`netd top` with its first picture drawn."""
    terminal = Top(control, *arguments, **environment)
    try:
        terminal.shows("q quit")
        yield terminal
    finally:
        terminal.close()


@contextlib.contextmanager
def running_netd(directory: Path) -> Iterator[Daemon]:
    with daemon(CONFIG.format(directory=directory), directory) as running:
        yield running


def ask_echo(running: Daemon, number: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        for _ in range(number):
            client.sendto(b"x", ("127.0.0.1", running.port("echo", "udp")))
            assert client.recv(9) == b"x"


def connect(running: Daemon, service: str, source: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port(service)), 10, (source, 0))
    connection.sendall(b"x\n")
    assert connection.recv(9)
    return connection


def test_screen_shows_services_and_keys_sort_them(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running, contextlib.ExitStack() as held:
        ask_echo(running, 7)
        for _ in range(3):
            held.enter_context(connect(running, "upper"))
        with top(running.control, "--sort", "requests") as terminal:
            assert terminal.lines[0].startswith(f"netd 0.1.0, pid {running.process.pid}, up ")
            assert terminal.lines[1] == f"config {tmp_path}/netd.yaml, generation 1"[:90].rstrip()
            assert terminal.lines[2].startswith("2 of 3 services on, 3 connections, ")
            assert terminal.first() == ["echo", "upper", "off"]
            assert [terminal.cell("echo", head) for head in ("REQUESTS", "OPEN", "STATE")] == ["7", "0", "on"]
            assert [terminal.cell("upper", head) for head in ("REQUESTS", "OPEN", "STATE")] == ["3", "3", "on"]
            assert terminal.cell("off", "STATE") == "off"
            terminal.press("<")
            terminal.wait(lambda: terminal.first() == ["upper", "echo", "off"])
            terminal.press("r")
            terminal.wait(lambda: terminal.first() == ["echo", "off", "upper"])
            terminal.press("<")
            terminal.wait(lambda: terminal.first() == ["upper", "off", "echo"])
            terminal.press("rj")
            terminal.shows("off (upper) off (by the config)")
            terminal.press("j")
            terminal.shows(f"unix://{tmp_path}/[bold]x.sock"[:40])
            terminal.press("\x1b[A")
            terminal.shows("off (upper) off (by the config)")
            terminal.press("<")
            ask_echo(running, 100)
            terminal.wait(lambda: terminal.cell("echo", "REQUESTS") == "107")
            terminal.wait(lambda: re.search("[▂-█]", "".join(terminal.lines[4:20])))
            terminal.press("q")
            assert terminal.end() == 0


def test_status_shows_the_same_table_without_importing_rich(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running:
        ask_echo(running, 7)
        shown = running.netd("status").stdout.splitlines()
        with top(running.control) as terminal:
            terminal.resize(200, 50)
            terminal.wait(lambda: "ENDPOINT" in terminal.lines[3] and terminal.lines[49].startswith("q quit"))
            heads = terminal.lines[3].split()
            assert [head for head in heads if head not in ("RATE", "OCTETS/S", "GRAPH")] == shown[3].split()
            assert terminal.cell("echo", "REQUESTS") == shown[4].split()[3] == "7"
            assert terminal.lines[1] == shown[1]
    code = "import sys, netd.cli.status, netd.cli.main; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pause_freezes_the_picture(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running, top(running.control) as terminal:
        terminal.press("p")
        terminal.shows("PAUSED")
        before = terminal.lines
        ask_echo(running, 5)
        # A key draws the picture again. By then requests sent before or at the pause have their answers.
        for key, text in (("?", "any key closes this help"), ("?", "PAUSED")):
            now = running.ask("status")["uptime_seconds"]
            until(lambda now=now: running.ask("status")["uptime_seconds"] > now + 1.0)  # type: ignore[misc]
            terminal.press(key)
            terminal.shows(text)
        terminal.wait(lambda: terminal.lines == before)
        terminal.press(" ")
        terminal.wait(lambda: terminal.cell("echo", "REQUESTS") == "5")
        assert terminal.lines[0] != before[0]


def test_keys_disable_and_enable_services(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running, top(running.control, "--sort", "service") as terminal:

        def enabled() -> dict[str, bool]:
            return {service["service"]: service["enabled"] for service in running.ask("status")["services"]}

        terminal.press("d")
        terminal.shows("disable echo (y/n)?")
        terminal.press("n")
        terminal.shows("q quit")
        assert enabled() == {"echo": True, "off": False, "upper": True}
        terminal.press("dy")
        terminal.shows("echo is off, until the next reload")
        terminal.wait(lambda: terminal.cell("echo", "STATE") == "off")
        assert enabled() == {"echo": False, "off": False, "upper": True}
        assert running.event("service_disabled")["service"] == "echo"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port("echo")))
        terminal.press("je")
        terminal.shows("off is on, until the next reload")
        terminal.wait(lambda: terminal.cell("off", "STATE") == "on")
        assert enabled() == {"echo": False, "off": True, "upper": True}


def test_peers_are_listed_by_number_of_connections(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running, contextlib.ExitStack() as held:
        for service, source in [("echo", "127.0.0.3"), *[("echo", "127.0.0.2")] * 3, ("upper", "127.0.0.3")]:
            held.enter_context(connect(running, service, source))
        with top(running.control, "--sort", "service") as terminal:
            terminal.press("\t")
            terminal.wait(lambda: terminal.table() == [["127.0.0.2", "3", "6", "6"], ["127.0.0.3", "2", "4", "4"]])
            terminal.press("r")
            terminal.wait(lambda: terminal.first() == ["127.0.0.3", "127.0.0.2"])
            terminal.press("P")
            terminal.wait(lambda: terminal.first() == ["echo", "off", "upper"])
            terminal.press("jj\r")
            terminal.wait(lambda: terminal.table() == [["127.0.0.3", "1", "2", "2"]])
            assert terminal.lines[2] == "peers of upper: 1 connection"
            # A lone escape octet is the escape key, after a time-out.
            terminal.press("\x1b")
            terminal.shows("services on")


def test_top_continues_after_a_restart_of_netd(tmp_path: Path) -> None:
    control = str(tmp_path / "control.sock")
    (tmp_path / "netd.yaml").write_text(CONFIG.format(directory=tmp_path))
    with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=control) as first:
        first.event("netd_started")
        with top(control) as terminal:
            ask_echo(first, 5)
            terminal.wait(lambda: terminal.cell("echo", "REQUESTS") == "5")
            assert first.stop() == 0
            terminal.shows("no answer since ")
            assert terminal.cell("echo", "REQUESTS") == "5", "the last picture stays"
            terminal.press("d")
            terminal.shows("(y/n)?")
            terminal.press("y")
            with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=control) as second:
                second.event("netd_started")
                terminal.shows(f"pid {second.process.pid}")
                terminal.wait(lambda: terminal.cell("echo", "REQUESTS") == "0")
                terminal.wait(lambda: "no answer" not in terminal.lines[-1])
                assert second.stop() == 0


@pytest.mark.parametrize(
    ("keys", "number", "code"), [("q", 0, 0), ("\x03", 0, 0), ("", signal.SIGTERM, 143), ("", signal.SIGHUP, 129)]
)
def test_terminal_is_restored_at_every_exit(tmp_path: Path, keys: str, number: int, code: int) -> None:
    with running_netd(tmp_path) as running, top(running.control) as terminal:
        assert not termios.tcgetattr(terminal.terminal)[3] & termios.ECHO
        if keys:
            terminal.press(keys)
        else:
            terminal.process.send_signal(number)
        assert terminal.end() == code


@contextlib.contextmanager
def in_place_of_netd(path: str, *arguments: str) -> Iterator[tuple[Top, Callable[[object], None]]]:
    """`netd top` with a fake netd that gives one answer per call of ``serve``."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(20)

        def serve(answer: object) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(99)
                connection.sendall(json.dumps(answer).encode())

        terminal = Top(path, *arguments)
        try:
            yield terminal, serve
        finally:
            terminal.close()


def test_history_of_netd_is_drawn_at_once(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running:
        answer = running.ask("status")
    now = int(time.time())
    counts = [None, 0, 10, 30]
    history = {"times": [now - 15, now - 10, now - 5, now], "services": {"echo": {"requests": counts}}}
    with in_place_of_netd(f"{tmp_path}/fake", "--interval", "5") as (terminal, serve):
        serve(answer)
        serve({"ok": True, **history})
        terminal.shows("q quit")
        assert "▅█" in next(line for line in terminal.lines if line.startswith("echo"))
        terminal.press("q")
        assert terminal.end() == 0


def test_terminal_is_restored_after_an_answer_of_another_program(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running:
        answer = running.ask("status")
    with in_place_of_netd(f"{tmp_path}/fake") as (terminal, serve):
        serve(answer)
        serve({"ok": False, "error": "no history"})
        serve({"ok": True, "no": "status"})
        assert terminal.end() == 69
        assert b"does not answer as netd does" in terminal.output


def test_top_can_be_suspended_by_a_shell_with_job_control(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running:
        terminal = Top(running.control, before=["bash", "-c", 'set -m; "$@"; echo stopped; read x; fg; exit $?', "x"])
        try:
            terminal.shows("q quit")
            terminal.press("\x1a")
            terminal.wait(lambda: b"stopped" in terminal.output)
            assert termios.tcgetattr(terminal.terminal) == terminal.attributes
            assert terminal.output.rindex(b"\x1b[?1049l") > terminal.output.rindex(b"q quit")
            terminal.screen.reset()
            terminal.press("\n")
            terminal.shows("q quit")
            assert not termios.tcgetattr(terminal.terminal)[3] & termios.ECHO
            terminal.press("q")
            assert terminal.end() == 0
        finally:
            terminal.close()


def test_top_without_a_shell_is_not_suspended_and_follows_the_size(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running, top(running.control) as terminal:
        terminal.press("\x1a?")
        terminal.shows("any key closes this help")
        terminal.press("?")
        terminal.resize(120, 30)
        terminal.wait(lambda: "ENDPOINT" in terminal.lines[3] and terminal.lines[29].startswith("q quit"))
        terminal.resize(40, 8)
        terminal.wait(lambda: terminal.lines[7].startswith("q quit") and "services on" in terminal.lines[0])
        terminal.press("q")
        assert terminal.end() == 0


@pytest.mark.parametrize(
    ("environment", "coloured", "blocks"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, False, True),
        ({"TERM": "vt100"}, False, True),
        ({"TERM": "screen"}, True, True),
        ({"TERM": "linux"}, True, False),
        ({"TERM": "none-such"}, False, True),
        ({"LC_ALL": "C"}, True, False),
        ({"LC_ALL": "", "LC_CTYPE": "", "LANG": "C"}, True, False),
        ({"COLUMNS": "200", "LINES": "50"}, True, True),
    ],
)
def test_colours_and_blocks_depend_on_the_terminal(
    tmp_path: Path, environment: dict[str, str], coloured: bool, blocks: bool
) -> None:
    with running_netd(tmp_path) as running, top(running.control, **environment) as terminal:
        terminal.wait(lambda: re.search("[▁_]", terminal.lines[4]))
        assert len(terminal.lines[3]) <= 90
        terminal.press("q")
        assert terminal.end() == 0
        assert bool(re.search(rb"\x1b\[[0-9;]*3\dm", terminal.output)) == coloured
        assert terminal.output.isascii() != blocks
        cleared = terminal.output.rpartition(b"\x1b[?1049l")[2]
        assert (b"\x1b[2J" in cleared) == (environment.get("TERM") in ("vt100", "linux")), (
            "a screen that cannot be restored is cleared"
        )


def test_missing_terminal_or_netd_is_reported_in_one_line(tmp_path: Path) -> None:
    with running_netd(tmp_path) as running:
        done = running.netd("top")
        assert (done.returncode, done.stdout) == (64, "")
        assert (
            done.stderr
            == "netd: netd top needs a terminal, and standard output is none; netd status prints the table\n"
        )
        for control, term, code, text in (
            (running.control, "dumb", 64, "netd: netd top cannot draw on a terminal of the type 'dumb'"),
            (f"{tmp_path}/none", "xterm", 69, "netd: netd is not running; looked at "),
        ):
            terminal = Top(control, TERM=term)
            assert terminal.process.wait(20) == code
            terminal.shows(text)
            assert b"\x1b" not in terminal.output
            terminal.close()
