"""`netd import`: output, files and exit codes."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from netd.cli.main import netd
from netd.errors import ConfigError, OpenError
from tests.cli.commands import netd_process

ECHO = "service echo\n{\ntype = INTERNAL UNLISTED\nport = 1025\nwait = no\nsocket_type = stream\n}\n"
YAML = "services:\n  echo:\n    type: echo\n    listen: [tcp://*:1025]\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "xinetd.conf"
    found.write_text(ECHO)
    return found


def run(*arguments: str) -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""
    done = CliRunner().invoke(netd, ("import", *arguments), standalone_mode=False, catch_exceptions=False)
    return int(done.return_value), done.stdout, done.stderr


def test_config_is_on_standard_output_and_the_account_on_standard_error(file: Path) -> None:
    code, output, account = run("xinetd", str(file), "--from", "debian")
    assert (code, output) == (0, YAML)
    lines = account.splitlines()
    assert lines[0] == f"{file}:1: imported: service echo"
    assert lines[-1] == "1 service (1 on), 5 lines imported, 0 notes, 0 not imported"


def test_a_line_that_is_not_imported_is_the_exit_code(file: Path) -> None:
    file.write_text(ECHO.replace("}", "log_on_failure = USERID\n}"))
    code, output, account = run("xinetd", str(file), "--from", "suse")
    assert (code, output) == (1, YAML)
    assert f"{file}:7: not imported: log_on_failure = USERID: USERID: netd asks no ident server" in account


def test_json_has_the_config_and_the_account(file: Path) -> None:
    code, output, account = run("xinetd", str(file), "--from", "rhel", "--json")
    answer = json.loads(output)
    assert (code, account) == (0, "")
    assert answer["config"] == YAML.replace("*", "0.0.0.0")
    assert answer["services"] == [{"service": "echo", "enabled": True}]
    assert answer["counts"] == {"imported": 5, "note": 0, "left_out": 0}
    assert answer["account"][1] == {
        "file": str(file),
        "line": 3,
        "outcome": "imported",
        "subject": "type = INTERNAL UNLISTED",
        "text": None,
    }
    assert (answer["unit"], answer["format_version"]) == ([], 1)


def test_a_file_is_written_in_one_step_and_none_is_replaced_without_being_told(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "netd.yaml"
    arguments = ("xinetd", str(file), "--from", "debian", "-o", str(target))
    umask = os.umask(0o027)
    try:
        code, output, account = run(*arguments)
    finally:
        os.umask(umask)
    assert (code, output) == (0, "")
    assert "5 lines imported" in account
    assert target.read_text() == YAML
    assert target.stat().st_mode & 0o777 == 0o640
    target.write_text("mine\n")
    with pytest.raises(OpenError, match="exists; --force replaces it"):
        run(*arguments)
    assert target.read_text() == "mine\n"
    assert run(*arguments, "--force")[0] == 0
    assert target.read_text() == YAML
    assert sorted(path.name for path in tmp_path.iterdir()) == ["netd.yaml", "xinetd.conf"]
    with pytest.raises(OpenError, match="cannot write .*No such file"):
        run("xinetd", str(file), "-o", str(tmp_path / "none" / "netd.yaml"))


def test_a_source_that_xinetd_refuses_writes_nothing(file: Path, tmp_path: Path) -> None:
    file.write_text("defaults\n{\numask = 9\n}\n" + ECHO)
    with pytest.raises(ConfigError, match=r"xinetd.conf:3: umask: 9 is no mask"):
        run("xinetd", str(file), "-o", str(tmp_path / "netd.yaml"))
    assert not (tmp_path / "netd.yaml").exists()


def test_files_of_inetd_are_read_in_their_order(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    first.write_text("127.0.0.1:\n1025 stream tcp nowait root /bin/sh sh\n")
    second.write_text("1026 stream tcp nowait root /bin/cat cat\n")
    code, output, account = run("inetd", str(first), str(second), "--from", "openbsd")
    assert code == 0
    assert "listen: [tcp://127.0.0.1:1025]" in output
    assert "listen: [tcp://0.0.0.0:1026]" in output
    assert account.splitlines()[-1] == "2 services (2 on), 3 lines imported, 1 note, 0 not imported"
    _, _, account = run("inetd", str(second))
    assert ": note: --from " in account.splitlines()[0]


def test_units_of_systemd_are_read_by_path(tmp_path: Path) -> None:
    (tmp_path / "a.socket").write_text("[Socket]\nListenStream=1025\nAccept=yes\n")
    (tmp_path / "a@.service").write_text("[Service]\nStandardInput=socket\nExecStart=/bin/sh\n")
    code, output, account = run("systemd", str(tmp_path / "a.socket"))
    assert code == 0
    assert output.startswith(f"# Imported from {tmp_path}/a.socket.\n")
    assert "listen: [tcp://*:1025]" in output
    assert f"{tmp_path}/a@.service:3: imported: ExecStart=/bin/sh" in account
    with pytest.raises(ConfigError, match=r"b.socket: there is no such unit"):
        run("systemd", str(tmp_path / "b.socket"))


@pytest.mark.slow  # processes
def test_exit_codes_are_those_of_other_commands(file: Path, tmp_path: Path) -> None:
    done = netd_process("import", "xinetd", str(tmp_path / "\x1b none"))
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == f"{tmp_path}/\\x1b none: cannot be read: No such file or directory\n"
    done = netd_process("import")
    assert (done.returncode, "Usage: netd import" in done.stderr) == (64, True)
    done = netd_process("import", "xinetd", str(file), "-o", str(file))
    assert (done.returncode, done.stderr) == (71, f"netd: {file} exists; --force replaces it\n")
