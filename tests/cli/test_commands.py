"""The command line as a user runs it: help, exit codes, check, services, schema and the introduction of run."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from netd import __version__
from netd.cli.main import netd
from netd.config.loader import BUILT_IN_FILE
from netd.config.schema import json_schema
from netd.services import table
from tests.support.daemon import daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import started
from tests.support.pseudoterminal import read_terminal


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "netd", *arguments], capture_output=True, text=True, check=False)


def test_every_command_has_help_with_an_example() -> None:
    commands = netd.list_commands(click.Context(netd))
    assert {"run", "check", "services", "schema", "status", "reload", "stop"} <= set(commands)
    for name in commands:
        done = CliRunner().invoke(netd, [name, "--help"], prog_name="netd")
        assert done.exit_code == 0
        assert f"Example: netd {name}" in done.output
    overview = CliRunner().invoke(netd, ["--help"], prog_name="netd").output
    assert "Exit codes:" in overview
    for code in (0, 1, 64, 69, 70, 71, 78):
        assert f"{code} " in overview.partition("Exit codes:")[2]


def test_version_prints_name_and_version() -> None:
    assert run("--version").stdout == f"netd {__version__}\n"


@pytest.mark.parametrize("arguments", [["rnu"], ["run", "--nonsense"], ["run", "extra"], ["check", "-c"]])
def test_usage_errors_exit_with_64_without_a_traceback(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 64
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [[], ["ban"]])
def test_group_without_a_command_prints_help(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.stderr.startswith(" ".join(["Usage: netd", *arguments]))
    assert "Error" not in done.stderr
    assert done.returncode == 64


@pytest.mark.parametrize("command", ["add", "list", "remove"])
def test_every_command_about_bans_has_help_with_an_example(command: str) -> None:
    done = CliRunner().invoke(netd, ["ban", command, "--help"], prog_name="netd")
    assert done.exit_code == 0
    assert f"Example: netd ban {command}" in done.output


def test_check_lists_services_or_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://*:7]}\n  time: {enabled: false, listen: [tcp://*:37]}\n")
    done = run("check", "-c", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: good; on: echo; off: time\n", "")
    done = run("check", "-c", str(file), "--json")
    assert json.loads(done.stdout) == {
        "file": str(file),
        "ok": True,
        "enabled": ["echo"],
        "disabled": ["time"],
        "notices": [],
    }

    file.write_text("services:\n  ecoh: {listen: [tcp://*:7]}\n  time: {listen: []}\n")
    done = run("check", "-c", str(file))
    assert done.returncode == 78
    assert done.stdout == ""
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [f"{file}:2:3", f"{file}:3:18"]
    done = run("check", "-c", str(file), "--json")
    assert done.returncode == 78
    assert (json.loads(done.stdout)["ok"], len(json.loads(done.stdout)["problems"])) == (False, 2)


def test_check_tells_of_a_key_that_has_another_name_now(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    text = "daemon: {beat: 9s}\nservices:\n  echo: {listen: [tcp://*:7]}\n"
    notice = f"{file}:1:10: daemon.beat: deprecated key, renamed to daemon.heartbeat"
    file.write_text(text)
    done = run("check", "-c", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: good; on: echo\n", notice + "\n")
    answer = json.loads(run("check", "-c", str(file), "--json").stdout)
    assert (answer["ok"], answer["notices"]) == (True, [notice])

    file.write_text(text + "x: 1\n")
    done = run("check", "-c", str(file))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines()[0] == notice
    assert done.stderr.splitlines()[1].startswith(f"{file}:4:1: x: unknown key")
    answer = json.loads(run("check", "-c", str(file), "--json").stdout)
    assert (answer["ok"], answer["notices"], len(answer["problems"])) == (False, [notice], 1)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\x00\x01", ":1:1: invalid character '\\x7f'"),
        (b"\xff\xfe\x00", ":1:1: invalid UTF-8"),
        (b"- a\n", ":1:1: expected a mapping of sections such as services:"),
        (b"a: [", ": invalid YAML: "),
        (b"x" * (2**20 + 1), ":1:1: the file is larger than 1 MiB"),
        (
            b"a: &a [" + b"x," * 9 + b"]\nb: &b [" + b"*a," * 9 + b"]\nc: &c [" + b"*b," * 9999 + b"]\n",
            "more than 50000 values",
        ),
    ],
)
def test_file_that_is_no_config_is_reported_in_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "netd.yaml"
    file.write_bytes(content)
    for command in ("check", "run"):
        done = run(command, "-c", str(file))
        assert done.returncode == 78
        assert problem in done.stderr
        assert done.stderr.count("\n") == 1


def test_unreadable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    done = run("check", "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 78
    assert done.stderr == f"{tmp_path}/none.yaml:1:1: cannot be read: No such file or directory\n"


def test_services_lists_every_type() -> None:
    done = run("services")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == table.names()
    assert "RFC 862  stream, datagram" in done.stdout
    described = json.loads(run("services", "--json").stdout)
    assert [one["type"] for one in described] == table.names()


def test_services_describes_one_type() -> None:
    done = run("services", "time")
    for word in ("RFC 868", "stream, datagram", "encoding:", "timezone:", "format:", "framing:", '"%Y-%m-%d %H:%M:%S"'):
        assert word in done.stdout
    one = json.loads(run("services", "time", "--json").stdout)
    assert (one["rfc"], one["stream"], one["datagram"]) == (868, True, True)
    assert one["options"]["timezone"]["default"] == "UTC"
    assert "No options." in run("services", "echo").stdout


def test_unknown_service_type_exits_with_1_and_a_suggestion() -> None:
    done = run("services", "ecoh")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "netd: unknown service type 'ecoh'; did you mean 'echo'?\n"


def test_schema_prints_the_json_schema() -> None:
    assert json.loads(run("schema").stdout) == json_schema()


def test_closed_output_pipe_exits_with_141_as_sigpipe_would() -> None:
    for command in (["schema"], ["services"], ["check", "-c", BUILT_IN_FILE]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "netd", *command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, ""), command


def test_reader_that_stops_early_causes_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m netd schema | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{", "")


def test_output_that_cannot_be_written_is_reported_in_one_line() -> None:
    for command in (["schema"], ["services"], ["check", "-c", BUILT_IN_FILE]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "netd", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (71, "netd: [Errno 28] No space left on device\n"), command


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("check -c {good} >&-", 0),
        ("--version >&-", 0),
        ("check -c {none} 2> /dev/full", 78),
        ("check -c {none} 2>&-", 78),
        ("bogus 2> /dev/full", 64),
        ("bogus 2>&- >&- <&-", 64),
        ("check -c {good} > /dev/full 2> /dev/full", 71),
    ],
)
def test_closed_or_full_output_changes_no_exit_code(tmp_path: Path, command: str, code: int) -> None:
    command = command.format(good=BUILT_IN_FILE, none=tmp_path / "none")
    script = f"exec 3>&1; {sys.executable} -m netd {command}; echo $? >&3"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) == code


def test_run_with_a_config_prints_nothing_but_its_log(tmp_path: Path) -> None:
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        pass
    assert running.output == ""


# `netd run` with other paths for the config of the host and the built-in one.
RUN = """
import sys
from pathlib import Path
from netd.cli import main
from netd import default_paths
from netd.config import loader
default_paths.CONFIG_FILE, loader.BUILT_IN_FILE = map(Path, sys.argv[1:])
sys.argv[1:] = ["run"]
main.main()
"""


def run_at_a_terminal(built_in: Path, default: Path) -> str:
    """The output of `netd run` at a terminal, until the end of its introduction. Then Ctrl-C stops it."""
    primary, terminal = pty.openpty()
    command = ["setsid", "--ctty", sys.executable, "-c", RUN, default, built_in]
    text = ""
    try:
        with started(*command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
            os.close(terminal)
            while "Ctrl-C stops it." not in text:
                text += read_terminal(primary, text).decode()
            os.write(primary, b"\x03")
            assert process.wait(20) == 0
    finally:
        os.close(primary)
    return text


def test_run_without_a_config_prints_listeners_and_commands_to_try(tmp_path: Path) -> None:
    endpoints = re.findall(r"\w+://localhost:\d+", BUILT_IN_FILE.read_text())
    # Ports of the built-in config may be in use on this host.
    (tmp_path / "dev.yaml").write_text(re.sub(r"(?<=localhost):\d+", ":0", BUILT_IN_FILE.read_text()))
    text = run_at_a_terminal(tmp_path / "dev.yaml", tmp_path / "none")
    assert "built-in config" in text
    assert len(set(re.findall(r"(?:tcp|udp)://127\.0\.0\.1:\d+", text))) == len(endpoints)


def test_built_in_config_listens_on_the_documented_ports(tmp_path: Path) -> None:
    shown: list[str] = []
    in_namespace(lambda: shown.append(run_at_a_terminal(BUILT_IN_FILE, tmp_path / "none")))
    [text] = shown
    for port in (7007, 7009, 7013, 7019, 7037, 7080, 7083, 8888):
        assert f"tcp://127.0.0.1:{port}" in text
        assert f"udp://127.0.0.1:{port}" in text
    assert "tcp://127.0.0.1:7090" in text
    assert "http://localhost:7090/" in text


@pytest.mark.parametrize("command", ["connections", "kick", "trace"])
@pytest.mark.parametrize("peer", ["foo", "300.1.1.1", "192.0.2.7/33", "192.0.2.7:x", "[::1]:y", ""])
def test_peer_that_is_no_address_is_a_usage_error(command: str, peer: str) -> None:
    done = CliRunner().invoke(netd, [command, *(["echo"] if command == "trace" else []), "--peer", peer])
    assert done.exit_code != 0
    assert "expected an address, a network or a peer as netd connections shows it" in done.output


def test_help_texts_contain_no_formatting_marks_of_click() -> None:
    names = netd.list_commands(click.Context(netd))
    assert len(names) > 15
    for name in names:
        done = CliRunner().invoke(netd, [name, "--help"])
        assert done.exit_code == 0
        assert "\\b" not in done.output, name
