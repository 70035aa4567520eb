"""The command line as a process, and in this one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from netd.cli.main import netd
from tests.client.fake_netd import FakeNetd


def netd_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command, and wait for its end."""
    return subprocess.run([sys.executable, "-m", "netd", *arguments], capture_output=True, text=True, check=False)


def run(*arguments: str) -> tuple[int, str]:
    """Run a command in this process: its exit code, and standard output. Its errors are raised."""
    done = CliRunner().invoke(netd, arguments, standalone_mode=False, catch_exceptions=False)
    return int(done.return_value), done.stdout


def run_with_answer(place: Path, answer: dict[str, Any], *arguments: str) -> tuple[int, str, str]:
    """Run a command with this answer of netd: the exit code, standard output, and the request.

    ``place``: the directory of the test, in which $NETD_CONTROL is.
    """
    with FakeNetd(place / "control.sock", {"ok": True, **answer}) as fake:
        code, output = run(*arguments)
    [request] = fake.requests
    return code, output, request
