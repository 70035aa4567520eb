"""All commands: exit codes, what they print where, and JSON. A new command has to be in the tables here."""

import gc
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from netd.cli.exit_codes import OF_COMMAND
from netd.cli.main import main, netd
from netd.errors import EXIT_NO, EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE
from tests.support.daemon import Daemon, daemon

CONFIG = """
services:
  echo: {listen: ["tcp://127.0.0.1:0"]}
  cat: {type: echo, listen: ["tcp://127.0.0.1:0"]}
  web: {type: forward, listen: ["tcp://127.0.0.1:0"], options: {to: ["unix:///no/such/socket"]}}
"""
XINETD = """
service echo
{
    type = UNLISTED INTERNAL
    id = echo
    port = 4711
    protocol = tcp
    wait = no
    socket_type = stream
    user = root
}
"""

SERVED = {
    "check": "-c {file}",
    "config": "echo",
    "services": "echo",
    "schema": "",
    "import xinetd": "{place}/xinetd.conf",
    "import inetd": "{place}/inetd.conf --from debian",
    "import systemd": "{place}/x.socket",
    "status": "",
    "connections": "",
    "explain": "--from 192.0.2.7 --to echo/tcp",
    "ban list": "",
    "ban add": "192.0.2.8",
    "ban remove": "192.0.2.8",
    "diff": "",
    "reload": "",
    "disable": "echo",
    "enable": "echo",
    "target": "web",
    "log-level": "",
    "probe": "{url} --count 1 --timeout 20s",
    "help": "kick",
    "completion": "bash",
}
"""Arguments with which each command succeeds, while a netd runs with CONFIG."""
REFUSED = {
    "services": ("no-such-type", EXIT_USAGE),
    "import xinetd": ("/no/such/file", 78),
    "import inetd": ("/no/such/file", 78),
    "import systemd": ("/no/such/file.socket", 78),
    "check": ("-c /no/such/file", 78),
    "run": ("-c /no/such/file", 78),
    "status": ("ehco", EXIT_USAGE),
    "config": ("ehco", EXIT_USAGE),
    "connections": ("--service ehco", EXIT_USAGE),
    "trace": ("ehco", EXIT_USAGE),
    "explain": ("--from 192.0.2.7 --to ehco/tcp", EXIT_USAGE),
    "ban add": ("none", EXIT_USAGE),
    "ban remove": ("192.0.2.9", EXIT_NO),
    "kick": ("none", EXIT_NO),
    "enable": ("ehco", EXIT_USAGE),
    "disable": ("ehco", EXIT_USAGE),
    "target": ("ehco", EXIT_USAGE),
    "log-level": ("loud", EXIT_USAGE),
    "talk": ("--service ehco", EXIT_USAGE),
    "probe": ("unix:///no/such/socket --count 1", EXIT_NO),
    "help": ("kcik", EXIT_USAGE),
    "completion": ("csh", EXIT_USAGE),
}
"""Arguments with which each command fails, and its exit code: the same for a service that there is not, and so on."""
TOLD_ON_STANDARD_ERROR = {"import xinetd", "import inetd", "import systemd"}
"""Commands that have something to say beside the answer, which may go to a file."""
NO_JSON = {
    "run": "its log is JSON",
    "schema": "it is JSON",
    "top": "it is a screen; netd status --json has the same",
    "talk": "its output is what the other end sends",
    "help": "text",
    "completion": "a script",
}
WITHOUT_END = {"run", "top", "trace", "talk", "stop", "kick"}
"""Commands that go on until a signal, end netd, or need a connection: they have tests of their own."""


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


COMMANDS = dict(commands(netd))


class Shell:
    """Runs commands in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch = patch
        self._capture = capture

    def run(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """The exit code, standard output and standard error."""
        self._patch.setattr(sys, "argv", ["netd", *command.split(), *arguments])
        self._capture.readouterr()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with pytest.raises(SystemExit) as end:
            main()
        # `netd run` blocks some at its start, and collects no garbage.
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        gc.enable()
        captured = self._capture.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, captured.out, captured.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon(CONFIG, tmp_path_factory.mktemp("n")) as process:
        yield process


def test_every_command_is_in_the_tables() -> None:
    assert OF_COMMAND.keys() == COMMANDS.keys()
    assert SERVED.keys() | WITHOUT_END == COMMANDS.keys()
    assert REFUSED.keys() | {"schema", "top", "diff", "reload", "stop", "ban list"} == COMMANDS.keys()


def test_every_command_that_can_answer_has_json() -> None:
    without = {name for name, command in COMMANDS.items() if not any("--json" in one.opts for one in command.params)}
    assert without == NO_JSON.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_the_exit_codes_once(name: str, shell: Shell) -> None:
    for _ in range(2):
        code, output, error = shell.run(name, "--help")
        assert (code, error) == (EXIT_OK, "")
        assert output.count("Exit code 0: ") == bool(OF_COMMAND[name])
        text = " ".join(output.split())
        for number, meaning in OF_COMMAND[name].items():
            assert f"{number}: {meaning}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_option_that_there_is_not_is_a_usage_error(name: str, shell: Shell) -> None:
    code, output, error = shell.run(name, "--no-such-option")
    assert (code, output) == (EXIT_USAGE, "")
    assert f"Try 'netd {name} --help'." in error
    assert error.splitlines()[-1].startswith("netd: ")


ASKING = [name for name, command in COMMANDS.items() if any("--control" in one.opts for one in command.params)]


@pytest.mark.parametrize("name", [name for name in ASKING if name != "top"])  # which wants a terminal first
def test_without_a_running_netd_a_command_exits_with_69(name: str, shell: Shell) -> None:
    words = {"talk": "--service echo", "trace": "echo", "kick": "1", "stop": ""}.get(name, SERVED.get(name, ""))
    code, output, error = shell.run(name, *words.split())
    assert (code, output) == (EXIT_UNAVAILABLE, "")
    assert error.startswith("netd: netd is not running")
    assert EXIT_UNAVAILABLE in OF_COMMAND[name]


def arguments(name: str, running: Daemon, place: Path) -> list[str]:
    (place / "xinetd.conf").write_text(XINETD)
    (place / "inetd.conf").write_text("echo stream tcp nowait root internal\n")
    (place / "x.socket").write_text("[Socket]\nListenStream=127.0.0.1:4711\nAccept=yes\n")
    (place / "x@.service").write_text("[Service]\nExecStart=/bin/cat\nStandardInput=socket\n")
    file = running.process.args[-1]  # type: ignore[index]
    return SERVED[name].format(file=file, place=place, url=running.url("cat")).split()


def serve(name: str, running: Daemon, shell: Shell, place: Path, *options: str) -> tuple[int, str, str]:
    """Run a command with arguments that succeed, and leave netd as it was for the commands after it, in any order."""
    if name == "ban remove":
        assert shell.run("ban add", "192.0.2.8")[0] == EXIT_OK
    answer = shell.run(name, *arguments(name, running, place), *options)
    if name == "disable":
        assert shell.run("enable", "echo")[0] == EXIT_OK
    if name == "ban add":
        assert shell.run("ban remove", "192.0.2.8")[0] == EXIT_OK
    return answer


@pytest.mark.parametrize("name", SERVED)
def test_command_that_succeeds_prints_on_standard_output_alone(
    name: str, running: Daemon, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETD_CONTROL", running.control)
    code, output, error = serve(name, running, shell, tmp_path)
    assert code == EXIT_OK, error
    assert output
    assert output.endswith("\n")
    assert bool(error) == (name in TOLD_ON_STANDARD_ERROR), error


@pytest.mark.parametrize("name", [name for name in SERVED if name not in NO_JSON])
def test_json_is_one_object_with_its_version(
    name: str, running: Daemon, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETD_CONTROL", running.control)
    code, output, error = serve(name, running, shell, tmp_path, "--json")
    assert (code, error) == (EXIT_OK, "")
    assert name == "probe" or json.loads(output)["format_version"] == 1


@pytest.mark.parametrize("name", REFUSED)
def test_command_that_fails_says_why_on_standard_error(
    name: str, running: Daemon, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETD_CONTROL", running.control)
    words, expected = REFUSED[name]
    code, output, error = shell.run(name, *words.split())
    assert code == expected, error
    if name in ("probe", "kick"):
        return  # the answer is what they print
    assert output == ""
    assert error.splitlines()[-1].startswith(("netd: ", "/no/such/file"))
