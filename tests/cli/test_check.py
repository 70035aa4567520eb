"""`netd check` and `netd schema`: output and exit codes."""

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from netd.config.schema import json_schema
from tests.cli.commands import netd_process
from tests.terminal import Terminal


@pytest.mark.slow  # processes
def test_check_lists_services_or_every_problem_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://*:7]}\n  time: {enabled: false, listen: [tcp://*:37]}\n")
    done = netd_process("check", "-c", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: valid; on: echo; off: time\n", "")
    done = netd_process("check", "-c", str(file), "--json")
    assert json.loads(done.stdout) == {
        "format_version": 1,
        "file": str(file),
        "ok": True,
        "enabled": ["echo"],
        "disabled": ["time"],
        "notices": [],
    }

    file.write_text("services:\n  ecoh: {listen: [tcp://*:7]}\n  time: {listen: []}\n")
    done = netd_process("check", "-c", str(file))
    assert done.returncode == 78
    assert done.stdout == ""
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == [f"{file}:2:3", f"{file}:3:18"]
    done = netd_process("check", "-c", str(file), "--json")
    assert done.returncode == 78
    assert (json.loads(done.stdout)["ok"], len(json.loads(done.stdout)["problems"])) == (False, 2)


@pytest.mark.slow  # processes
def test_check_reports_a_renamed_key(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    text = "daemon: {beat: 9s}\nservices:\n  echo: {listen: [tcp://*:7]}\n"
    notice = f"{file}:1:10: notice: daemon.beat: deprecated key, renamed to daemon.heartbeat"
    file.write_text(text)
    done = netd_process("check", "-c", str(file))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}: valid, 1 notice; on: echo\n", notice + "\n")
    answer = json.loads(netd_process("check", "-c", str(file), "--json").stdout)
    fields = {
        "file": str(file),
        "line": 1,
        "column": 10,
        "path": "daemon.beat",
        "message": "deprecated key, renamed to daemon.heartbeat",
        "hint": None,
    }
    assert (answer["ok"], answer["notices"]) == (True, [fields])

    file.write_text(text + "x: 1\n")
    done = netd_process("check", "-c", str(file))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.splitlines()[0] == notice
    assert done.stderr.splitlines()[1].startswith(f"{file}:4:1: x: unknown key")
    answer = json.loads(netd_process("check", "-c", str(file), "--json").stdout)
    assert (answer["ok"], answer["notices"], len(answer["problems"])) == (False, [fields], 1)


@pytest.mark.slow  # processes
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\x7fELF\x00\x01", ":1:1: invalid character '\\x7f'"),
        (b"\xff\xfe\x00", ":1:1: invalid UTF-8"),
        (b"- a\n", ":1:1: expected a mapping of sections such as services:"),
        (b"a: [", ":1:4: this [ is not closed"),
        (b"x" * (2**20 + 1), ": the file is larger than 1 MiB"),
        (b"", ": the file is empty; a comment makes a file without services valid"),
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
        done = netd_process(command, "-c", str(file))
        assert done.returncode == 78
        assert problem in done.stderr
        assert done.stderr.count("\n") == 1


def test_unreadable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    done = netd_process("check", "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 78
    assert done.stderr == f"{tmp_path}/none.yaml: cannot be read: No such file or directory\n"


@pytest.mark.slow  # processes
@pytest.mark.parametrize(("command", "no_color"), [("check", ""), ("run", "1")])
def test_problems_on_a_terminal_have_an_excerpt_and_a_count(tmp_path: Path, command: str, no_color: str) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("daemon: {drain: 30}\nservices:\n  echo: {listen: [tcp://*:7], enabled: 'no'}\n")
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": no_color}
    terminal = Terminal([sys.executable, "-m", "netd", command, "-c", str(file)], 160, 20, environment)
    try:
        terminal.wait(lambda: "2 problems" in terminal.lines)
        assert terminal.process.wait() == 78
    finally:
        terminal.close()
    assert terminal.lines[:7] == [
        f"{file}:1:17: daemon.drain: expected a duration such as 30s, 5m or 1h, got 30",
        "    1 | daemon: {drain: 30}",
        "                        ^^ did you mean '30s'?",
        f"{file}:3:40: services.echo.enabled: expected true or false, got 'no'",
        "    3 |   echo: {listen: [tcp://*:7], enabled: 'no'}",
        "                                               ^^^^ write it without quotes",
        "2 problems",
    ]
    assert (b"\x1b[31m" in terminal.output) is (no_color == "")


@pytest.mark.slow  # processes
def test_notices_on_a_terminal_have_their_word_and_color_and_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("daemon: {beat: 9s}\nbans: {after: off}\nservices: {echo: {listen: [tcp://*:7]}}\n")
    terminal = Terminal(
        [sys.executable, "-m", "netd", "check", "-c", str(file)],
        160,
        20,
        {**os.environ, "TERM": "xterm", "NO_COLOR": ""},
    )
    try:
        terminal.wait(lambda: any("valid" in line for line in terminal.lines))
        assert terminal.process.wait() == 0
    finally:
        terminal.close()
    assert terminal.lines[:7] == [
        f"{file}:1:10: notice: daemon.beat: deprecated key, renamed to daemon.heartbeat",
        "    1 | daemon: {beat: 9s}",
        "                 ^^^^",
        f"{file}:2:8: notice: bans.after: deprecated key, renamed to bans.threshold",
        "    2 | bans: {after: off}",
        "               ^^^^^",
        f"{file}: valid, 2 notices; on: echo",
    ]
    assert (b"\x1b[33m" in terminal.output, b"\x1b[31m" in terminal.output) == (True, False)


@pytest.mark.slow  # processes
def test_refusals_of_the_system_on_a_terminal_have_an_excerpt_and_a_count(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://192.0.2.1:7]}\ndaemon: {beat: 9s}\n")
    terminal = Terminal(
        [sys.executable, "-m", "netd", "check", "--system", "-c", str(file)], 200, 20, {**os.environ, "TERM": "xterm"}
    )
    try:
        terminal.wait(lambda: "1 problem, 1 notice" in terminal.lines)
        assert terminal.process.wait() == 71
    finally:
        terminal.close()
    assert terminal.lines[0] == f"{file}:3:10: notice: daemon.beat: deprecated key, renamed to daemon.heartbeat"
    assert terminal.lines[3].startswith(f"{file}:2:19: services.echo.listen[0]: cannot listen")
    at = terminal.lines.index("    2 |   echo: {listen: [tcp://192.0.2.1:7]}")
    assert terminal.lines[at + 1] == " " * 26 + "^" * 17


@pytest.mark.slow  # processes
def test_check_of_the_system_tries_what_a_start_would_do(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        file.write_text(
            f"services:\n  echo: {{listen: [tcp://127.0.0.1:{taken.getsockname()[1]}, 'unix://{tmp_path}/s']}}\n"
            "  upper: {enabled: false, listen: [tcp://192.0.2.1:7]}\n  time: {listen: [systemd://x]}\n"
        )
        done = netd_process("check", "-c", str(file), "--system")
    assert (done.returncode, done.stderr) == (0, ""), "an address in use may be that of the netd that runs"
    assert not (tmp_path / "s").exists()

    file.write_text(f"services:\n  echo: {{listen: [tcp://192.0.2.1:7, 'unix://{tmp_path}/none/s']}}\n")
    assert netd_process("check", "-c", str(file)).returncode == 0
    done = netd_process("check", "-c", str(file), "--system")
    assert done.returncode == 71
    first, second = done.stderr.splitlines()
    assert first.startswith(f"{file}:2:19: services.echo.listen[0]: cannot listen on tcp://192.0.2.1:7: ")
    assert f"make the directory {tmp_path}/none first" in second
    done = netd_process("check", "-c", str(file), "--system", "--json")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["left_out"], len(answer["refused"])) == (71, 0, 2)
    del answer["refused"][0]["message"]
    assert answer["refused"][0] == {
        "file": str(file),
        "line": 2,
        "column": 19,
        "path": "services.echo.listen[0]",
        "hint": None,
    }


@pytest.mark.slow  # processes
@pytest.mark.parametrize(
    ("section", "place", "problem"),
    [
        ("daemon: {control_group: nosuchgrp}", "1:25", "daemon.control_group: there is no group 'nosuchgrp'"),
        ("daemon: {pid_file: {tmp}/none/g.pid}", "1:20", "daemon.pid_file: cannot open {tmp}/none/g.pid: "),
        ("log: {file: /proc/none}", "1:13", "log.file: cannot open /proc/none: "),
    ],
)
def test_check_of_the_system_tries_each_key_that_a_start_uses(
    tmp_path: Path, section: str, place: str, problem: str
) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(section.replace("{tmp}", str(tmp_path)) + "\nservices:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    assert netd_process("check", "-c", str(file)).returncode == 0
    done = netd_process("check", "-c", str(file), "--system")
    assert done.returncode == 71
    assert f"{file}:{place}: {problem.replace('{tmp}', str(tmp_path))}" in done.stderr


@pytest.mark.slow  # processes
def test_check_of_the_system_tries_the_address_from_which_a_forward_connects(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    options = f"{{to: ['unix://{tmp_path}/s'], bind: 127.0.0.1}}"
    file.write_text(f"services:\n  web: {{type: forward, listen: ['tcp://127.0.0.1:0'], options: {options}}}\n")
    assert netd_process("check", "-c", str(file), "--system").returncode == 0
    file.write_text(file.read_text().replace("bind: 127.0.0.1", "bind: 192.0.2.1"))
    done = netd_process("check", "-c", str(file), "--system")
    assert done.returncode == 71
    assert "services.web.options.bind: cannot bind to 192.0.2.1: Cannot assign requested address" in done.stderr


@pytest.mark.slow  # processes
@pytest.mark.parametrize("text", ["# nothing\n", "services:\n  echo: {enabled: false, listen: [tcp://*:7]}\n"])
def test_config_that_serves_nothing_is_a_notice(tmp_path: Path, text: str) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    done = netd_process("check", "-c", str(file))
    assert (done.returncode, done.stderr) == (0, f"{file}: notice: no service is on; netd would serve nothing\n")
    assert done.stdout.startswith(f"{file}: valid, 1 notice; on: nothing")
    [notice] = json.loads(netd_process("check", "-c", str(file), "--json").stdout)["notices"]
    assert (notice["line"], notice["message"]) == (None, "no service is on")


@pytest.mark.slow  # processes
def test_schema_prints_the_json_schema() -> None:
    assert json.loads(netd_process("schema").stdout) == json_schema()
