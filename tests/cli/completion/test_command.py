"""`netd completion`: the scripts, and the shells that they are for, at a running netd."""

import os
import socket
import stat
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from netd.cli.completion.command import SCRIPTS
from tests.cli.commands import run
from tests.source_tree import ROOT
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need
from tests.terminal import Terminal

CONFIG = """
services:
  echo: {listen: ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]}
  web: {type: forward, listen: ["tcp://127.0.0.1:0"], options: {to: ["tcp://[::1]:9"]}}
  time: {enabled: false, listen: ["tcp://127.0.0.1:0"]}
"""

# What is typed, with a tab for each completion, and the arguments that netd gets.
TYPED = {
    "netd stat\t": "status",
    "netd disable ech\t": "disable|echo",
    "netd enable \t": "enable|time",
    "netd connections --service=ech\t--js\t": "connections|--service=echo|--json",
    "netd target w\tdr\ttcp://\t": "target|web|drain|tcp://[::1]:9",
    "netd target web drain tcp://\\[:\t": "target|web|drain|tcp://[::1]:9",
    "netd ban remove 2001:d\t": "ban|remove|2001:db8:1::/64",
    "netd ban li\t": "ban|list",
    "netd help ban rem\t": "help|ban|remove",
    "netd explain --from 192.0.2.7 --to echo/u\t": "explain|--from|192.0.2.7|--to|echo/udp",
    "netd log-level war\t": "log-level|warning",
    "netd check -c netd.y\t": "check|-c|netd.yaml",
    "netd kick \t": "kick|{id}",
}

START = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": [
        "fish",
        "--private",
        "--init-command",
        "set -g fish_autosuggestion_enabled 0; function fish_prompt; echo '{}'; end",
    ],
}
LOAD = {
    "bash": "source {place}/netd.bash",
    "zsh": "fpath=({place} $fpath); autoload -U compinit; compinit -u -D",
    "fish": "source {place}/netd.fish",
}
PROMPT = "ready> "


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(CONFIG, tmp_path_factory.mktemp("n")) as process:
        assert process.netd("ban", "add", "2001:db8:1::7").returncode == 0
        yield process


def shell(name: str, place: Path, control: str) -> Terminal:
    """A shell at a terminal, in an empty directory, with a `netd` that writes its arguments to the file `arguments`."""
    command = place / "bin" / "netd"
    command.parent.mkdir()
    command.write_text(
        f'#!/bin/sh\ntest -z "$_NETD_COMPLETE" || exec {sys.executable} -m netd "$@"\n'
        f"IFS='|'; echo \"$*\" >> {place}/arguments\n"
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "HOME": str(place),
        "NETD_CONTROL": control,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PS1": PROMPT,
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "XDG_CACHE_HOME": str(place),
        "XDG_CONFIG_HOME": str(place),
        "XDG_DATA_HOME": str(place),
    }
    (place / "fish" / "generated_completions").mkdir(parents=True)  # else fish makes them of all man pages
    files = place / "files"
    files.mkdir()
    (files / "netd.yaml").write_text(CONFIG)
    return Terminal([one.replace("{}", PROMPT) for one in START[name]], 150, 50, environment, str(files))


def leave(terminal: Terminal) -> None:
    """End the shell, and so what it has started."""
    terminal.type(b"exit\r")
    terminal.wait(lambda: terminal.process.poll() is not None)


def has_lines(file: Path, number: int) -> bool:
    return len(file.read_text().splitlines()) >= number


@pytest.mark.slow  # processes
@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_completes_what_the_running_netd_has(name: str, tmp_path: Path, running: Daemon) -> None:
    need(name)
    arguments = tmp_path / "arguments"
    arguments.touch()
    with socket.create_connection(("127.0.0.1", running.port("echo"))) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        [connection] = running.ask("connections")["connections"]
        terminal = shell(name, tmp_path, running.control)
        try:
            terminal.wait(lambda: PROMPT.strip() in "\n".join(terminal.lines))
            terminal.type(LOAD[name].format(place=ROOT / "netd" / "cli" / "completion").encode() + b"\r")
            expected = [line.replace("{id}", connection["id"]) for line in TYPED.values()]
            for number, typed in enumerate(TYPED, 1):
                terminal.type(typed.encode())
                terminal.type(b"\r")
                terminal.wait(partial(has_lines, arguments, number))
            leave(terminal)
            assert arguments.read_text().splitlines() == expected
            assert "Traceback" not in terminal.output.decode()
        finally:
            terminal.close()


@pytest.mark.slow  # processes
@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_completes_nothing_and_shows_no_error_where_no_netd_runs(name: str, tmp_path: Path) -> None:
    need(name)
    arguments = tmp_path / "arguments"
    terminal = shell(name, tmp_path, f"{tmp_path}/nothing.sock")
    try:
        terminal.wait(lambda: PROMPT.strip() in "\n".join(terminal.lines))
        terminal.type(LOAD[name].format(place=ROOT / "netd" / "cli" / "completion").encode() + b"\r")
        terminal.type(b"netd disable x\t\r")
        terminal.wait(arguments.exists)
        leave(terminal)
        assert arguments.read_text() == "disable|x\n"
        assert "not running" not in terminal.output.decode()
    finally:
        terminal.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_the_file_that_is_installed(name: str) -> None:
    code, output = run("completion", name)
    assert code == 0
    assert output == (ROOT / "netd" / "cli" / "completion" / SCRIPTS[name]).read_text()
