"""The command line as a user runs it: help, usage errors, and exit codes where output fails."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from netd import __version__
from netd.cli.main import netd
from netd.config.loader import BUILT_IN_FILE
from tests.cli.commands import netd_process


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


def test_list_of_commands_has_each_in_a_group_with_a_whole_sentence() -> None:
    overview = CliRunner().invoke(netd, ["--help"], prog_name="netd").output.partition("\n  Exit codes")[0]
    _, *groups = re.split(r"^(?=\S[^:\n]*:$)", overview.partition("Options:")[2], flags=re.M)
    rows = {group.splitlines()[0]: re.findall(r"^  (\S+) +(\S.*)$", group, flags=re.M) for group in groups}
    listed = [name for commands in rows.values() for name, _ in commands]
    assert listed == netd.list_commands(click.Context(netd))
    assert all(text.endswith(".") for commands in rows.values() for _, text in commands)


def test_usage_error_names_the_option_that_helps() -> None:
    assert netd_process("kick").stderr.splitlines()[1] == "Try 'netd kick --help'."
    last = netd_process("check", "netd.yaml").stderr.splitlines()[-1]
    assert last == "netd: Got unexpected extra argument (netd.yaml); -c FILE names the config"
    for words in (("schema", "x"), ("status", "echo", "x")):
        assert netd_process(*words).stderr.splitlines()[-1] == "netd: Got unexpected extra argument (x)"


def test_version_prints_name_and_version() -> None:
    assert netd_process("--version").stdout == f"netd {__version__}\n"


@pytest.mark.slow  # processes
@pytest.mark.parametrize("arguments", [["rnu"], ["run", "--nonsense"], ["run", "extra"], ["check", "-c"]])
def test_usage_errors_exit_with_64_without_a_traceback(arguments: list[str]) -> None:
    done = netd_process(*arguments)
    assert done.returncode == 64
    assert done.stderr.splitlines()[-1].startswith("netd: ")
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # processes
@pytest.mark.parametrize("arguments", [[], ["ban"]])
def test_group_without_a_command_prints_help(arguments: list[str]) -> None:
    done = netd_process(*arguments)
    assert done.stderr.startswith(" ".join(["Usage: netd", *arguments]))
    assert "netd: " not in done.stderr
    assert done.returncode == 64


def _help_texts(command: click.Command, *words: str) -> Iterator[tuple[tuple[str, ...], str]]:
    yield words, CliRunner().invoke(netd, [*words, "--help"], prog_name="netd").output
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if subcommand := command.get_command(context, name):
                yield from _help_texts(subcommand, *words, name)


def test_help_texts_fit_a_terminal_and_cut_no_sentence() -> None:
    texts = dict(_help_texts(netd))
    assert ("ban", "add") in texts
    for words, text in texts.items():
        assert max(map(len, text.splitlines())) <= 80, words
        assert not re.search(r"^  .*\.\.\.$", text.partition("Commands:")[2], flags=re.M), words


def test_help_texts_contain_no_formatting_marks_of_click() -> None:
    names = netd.list_commands(click.Context(netd))
    assert len(names) > 15
    for name in names:
        done = CliRunner().invoke(netd, [name, "--help"])
        assert done.exit_code == 0
        assert "\\b" not in done.output, name


@pytest.mark.slow  # processes
def test_closed_output_pipe_exits_with_141_as_sigpipe_would() -> None:
    for command in (["schema"], ["services"], ["check", "-c", BUILT_IN_FILE]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [sys.executable, "-m", "netd", *command], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
        os.close(writer)
        assert (done.returncode, done.stderr) == (141, ""), command


@pytest.mark.slow  # processes
def test_reader_that_stops_early_causes_no_traceback() -> None:
    done = subprocess.run(
        f"{sys.executable} -m netd schema | head -c 1", shell=True, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{", "")


@pytest.mark.slow  # processes
def test_output_that_cannot_be_written_is_reported_in_one_line() -> None:
    for command in (["schema"], ["services"], ["check", "-c", BUILT_IN_FILE]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "netd", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
            )
        assert (done.returncode, done.stderr) == (71, "netd: [Errno 28] No space left on device\n"), command


@pytest.mark.slow  # processes
def test_short_write_is_an_error_also_without_a_buffer(tmp_path: Path) -> None:
    script = f"ulimit -f 2; exec {sys.executable} -m netd schema > {tmp_path}/schema"
    for environment in ({}, {"PYTHONUNBUFFERED": "1"}):
        done = subprocess.run(
            ["sh", "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (71, "netd: [Errno 27] File too large\n")


@pytest.mark.slow  # processes
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("check -c {good} >&-", 0),
        ("--version >&-", 0),
        ("check -c {none} 2> /dev/full", 78),
        ("check -c {none} 2>&-", 78),
        ("bogus 2> /dev/full", 64),
        ("bogus 2>&- >&- <&-", 64),
        ("talk unix://{none} <&-", 69),
        ("talk unix://{none} <&- >&- 2>&-", 69),
        ("check -c {good} > /dev/full 2> /dev/full", 71),
    ],
)
def test_closed_or_full_output_changes_no_exit_code(tmp_path: Path, command: str, code: int) -> None:
    command = command.format(good=BUILT_IN_FILE, none=tmp_path / "none")
    script = f"exec 3>&1; {sys.executable} -m netd {command}; echo $? >&3"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) == code
