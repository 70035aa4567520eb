"""`netd run` as a user runs it: its output, at a terminal and without one."""

import os
import pty
import re
import sys
from pathlib import Path

import pytest

from netd.config.loader import BUILT_IN_FILE
from tests.cli.commands import netd_process
from tests.support.daemon import daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import started
from tests.support.pseudoterminal import read_terminal


@pytest.mark.slow  # a daemon
def test_run_with_a_config_prints_nothing_but_its_log(tmp_path: Path) -> None:
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        pass
    assert running.output == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tcp://127.0.0.1:0",), "URLs are for --service CLASS"),
        (("--service", "x.py:X"), "--service CLASS takes URLs to listen on"),
        (("--service", "x.py:X", "-c", "x.yaml", "tcp://127.0.0.1:0"), "--service CLASS takes URLs to listen on"),
    ],
)
def test_urls_and_a_class_belong_together(arguments: tuple[str, ...], message: str) -> None:
    done = netd_process("run", *arguments)
    assert (done.returncode, done.stderr.startswith(f"netd: {message}")) == (64, True)


def test_problem_of_a_service_without_a_config_names_the_argument(open_path: Path) -> None:
    code = open_path / "x.py"
    code.write_text("class X:\n    def datagram(self, data, peer):\n        return data\n")

    def problems(of: str, *urls: str) -> list[str]:
        done = netd_process("run", "--service", of, *urls)
        assert done.returncode == 78
        return sorted(done.stderr.replace("netd: ", "").splitlines())

    only = "its options.class serves datagrams (udp, unixgram) only"
    wrong = "unknown scheme 'upd'; did you mean 'udp'?"
    assert problems(f"{code}:X", "udp://127.0.0.1:0", "tcp://127.0.0.1:0") == [f"tcp://127.0.0.1:0: {only}"]
    assert problems(f"{code}:X", "upd://[::1]:0") == [f"upd://[::1]:0: {wrong}"]
    [missing] = problems(f"{code}:Y", "udp://127.0.0.1:0")
    assert missing.startswith(f"--service {code}:Y: ")
    code.write_text("class X(:\n")
    [broken] = problems(f"{code}:X", "udp://127.0.0.1:0")
    assert broken.startswith(f"{code}:1:"), "the line of the code"


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


@pytest.mark.slow  # a daemon
def test_run_without_a_config_prints_listeners_and_commands_to_try(tmp_path: Path) -> None:
    endpoints = re.findall(r"\w+://localhost:\d+", BUILT_IN_FILE.read_text())
    # Ports of the built-in config may be in use on this host.
    (tmp_path / "dev.yaml").write_text(re.sub(r"(?<=localhost):\d+", ":0", BUILT_IN_FILE.read_text()))
    text = run_at_a_terminal(tmp_path / "dev.yaml", tmp_path / "none")
    assert "built-in config" in text
    assert len(set(re.findall(r"(?:tcp|udp)://127\.0\.0\.1:\d+", text))) == len(endpoints)


@pytest.mark.slow  # a daemon
def test_built_in_config_listens_on_the_documented_ports(tmp_path: Path) -> None:
    shown: list[str] = []
    in_namespace(lambda: shown.append(run_at_a_terminal(BUILT_IN_FILE, tmp_path / "none")))
    [text] = shown
    for port in (7007, 7009, 7013, 7019, 7037, 7080, 7083, 8888):
        assert f"tcp://127.0.0.1:{port}" in text
        assert f"udp://127.0.0.1:{port}" in text
    assert "tcp://127.0.0.1:7090" in text
    assert "http://localhost:7090/" in text
