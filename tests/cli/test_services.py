"""`netd services`: the list of service types, and the description of one."""

import json
from pathlib import Path

import pytest

from netd.services import table
from tests.cli.commands import netd_process, run


@pytest.mark.slow  # processes
def test_services_lists_every_type() -> None:
    done = netd_process("services")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TYPE", *table.names()]
    assert "RFC 862   stream, datagram" in done.stdout
    described = json.loads(netd_process("services", "--json").stdout)
    assert described["format_version"] == 1
    assert [one["type"] for one in described["types"]] == table.names()


@pytest.mark.slow  # processes
def test_services_describes_one_type() -> None:
    done = netd_process("services", "time")
    for word in ("RFC 868", "stream, datagram", "encoding:", "timezone:", "format:", "framing:", '"%Y-%m-%d %H:%M:%S"'):
        assert word in done.stdout
    [one] = json.loads(netd_process("services", "time", "--json").stdout)["types"]
    assert (one["rfc"], one["stream"], one["datagram"]) == (868, True, True)
    assert one["options"]["timezone"]["default"] == "UTC"
    assert one["options"]["pause"]["default"] == "300ms", "as in the config, as its JSON Schema demands"
    assert '  pause: "300ms"' in done.stdout.splitlines()
    assert "No options." in netd_process("services", "echo").stdout


def test_options_within_options_have_their_own_lines() -> None:
    lines = netd_process("services", "exec").stdout.splitlines()
    for line in ("command: (required)", "limits:", "limits.cpu: null", 'stop.signal: "TERM"', 'stop.after: "5s"'):
        assert f"  {line}" in lines, line


def test_text_for_a_terminal_has_no_markup() -> None:
    for arguments in ([], *([name] for name in table.BUILT_IN)):
        code, text = run("services", *arguments)
        assert (code, "``" in text) == (0, False)


def test_class_of_a_file_is_described(open_path: Path) -> None:
    (open_path / "x.py").write_text(
        "from netd.values import Model, Size\n"
        "class X:\n    'Says\\x1b[1m x.'\n    class Options(Model):\n        word: str\n        size: Size = 1024\n"
        "        'How much.'\n    def __init__(self, options, context): pass\n"
        "    def datagram(self, data, peer): pass\n"
    )
    done = netd_process("services", f"{open_path}/x.py:X")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        f"{open_path}/x.py:X (datagram)",
        "Says\\x1b[1m x.",
        "  word: (required)",
        '  size: "1KiB"',
        "    How much.",
    ):
        assert line in done.stdout.splitlines()
    done = netd_process("services", f"{open_path}/x.py:X", "--json")
    assert json.loads(done.stdout)["types"][0]["options"]["size"]["default"] == "1KiB"


def test_class_without_a_docstring_leaves_no_gap(open_path: Path) -> None:
    (open_path / "x.py").write_text("class X:\n    def datagram(self, data, peer): pass\n")
    done = netd_process("services", f"{open_path}/x.py:X")
    assert (done.returncode, done.stdout) == (0, f"{open_path}/x.py:X (datagram)\n\nNo options.\n")


def test_class_that_cannot_be_described_is_an_error(open_path: Path) -> None:
    (open_path / "x.py").write_text("import os\n1 / 0\n")
    done = netd_process("services", f"{open_path}/x.py:X")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"netd: {open_path}/x.py:2: ZeroDivisionError: division by zero\n"
    done = netd_process("services", f"{open_path}/none.py:X")
    assert (done.returncode, done.stderr) == (64, f"netd: {open_path}/none.py:X: No such file or directory\n")


def test_unknown_service_type_exits_with_64_and_a_suggestion() -> None:
    done = netd_process("services", "ecoh")
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "netd: unknown service type 'ecoh'; did you mean 'echo'?\n"
