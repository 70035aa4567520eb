"""The start of netd: a supervisor with workers that serve."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netd.config import loader
from netd.daemon.messages import from_supervisor, to_launcher
from netd.daemon.messages.coding import validator
from netd.daemon.start import make_validators
from tests.daemon.programs import config, said
from tests.support.daemon import Daemon, daemon
from tests.support.users import as_unprivileged_user

# Tries to open the memory and the descriptors of its launcher, the supervisor and the worker, and says what it could.
INTRUDE = """
supervisor=$(cut -d' ' -f4 /proc/$PPID/stat)
for process in $supervisor $(cat /proc/$supervisor/task/$supervisor/children); do
    (exec 3</proc/$process/mem) 2>/dev/null && echo memory
    ls /proc/$process/fd/ >/dev/null 2>&1 && echo descriptors
    echo tried
done
"""


@pytest.mark.slow  # a daemon
def test_started_supervisor_has_workers_that_serve(tmp_path: Path) -> None:
    with daemon(f'services:\n  echo: {{listen: ["unix://{tmp_path}/s"]}}\n', tmp_path) as running:
        stat = Path(f"/proc/{running.worker}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) == running.process.pid, "the parent of the worker"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{tmp_path}/s")
            client.sendall(b"x")
            assert client.recv(1) == b"x"


@pytest.mark.slow
@pytest.mark.parametrize("core", [False, True])
def test_program_of_the_user_of_netd_reads_no_process_of_netd_unless_there_may_be_core_files(
    open_path: Path, core: bool
) -> None:
    (open_path / "netd.yaml").write_text(config(INTRUDE, daemon=f"{{workers: 1, core: {str(core).lower()}}}"))
    if os.geteuid() == 0:
        os.chown(open_path, 65534, 65534)
    place = {"NETD_CONTROL": f"{open_path}/control.sock", "RUNTIME_DIRECTORY": f"{open_path}/run"}
    with Daemon("-c", str(open_path / "netd.yaml"), command=as_unprivileged_user(), **place) as running:
        worker = running.event("worker_started")["pid"]
        running.event("netd_started")
        scores = [Path(f"/proc/{pid}/oom_score_adj").read_text() for pid in (running.process.pid, worker)]
        assert int(scores[1]) - int(scores[0]) == 500, "it may not open its own files in /proc"
        words = said(running).split()
        assert words.count("tried") == 3
        # With the right to read all files, which a test may give it, the supervisor is closed in any case.
        assert set(words) == ({"memory", "descriptors", "tried"} if core else {"tried"})
        assert running.stop() == 0


LOADED = """
import sys, netd.cli.run
from netd import docstrings
from netd.config import loader
from netd.daemon.messages import coding
from netd.services import table
from netd.services.service_type import ServiceType
loader.load(sys.argv[1])
options = {ServiceType.of(service, name).options for name, service in table.BUILT_IN.items()}
print(docstrings._own.cache_info().currsize, coding.validator.cache_info().currsize)
print(*sorted(one.__name__ for one in options if one.__pydantic_complete__))
print(*sorted(sys.modules.keys() & sys.argv[2:]))
"""

LEFT_OUT = ("asyncio", "daemon", "greenlet", "http.server", "prometheus_client", "prompt_toolkit", "rich", "ssl")
"""Modules that a netd does without that has neither TLS nor metrics."""


def test_start_loads_nothing_that_is_not_used_makes_no_validators_of_it_and_reads_no_docstrings(
    tmp_path: Path,
) -> None:
    (tmp_path / "netd.yaml").write_text(f'services: {{echo: {{listen: ["unix://{tmp_path}/s"]}}}}\n')
    command = [sys.executable, "-c", LOADED, str(tmp_path / "netd.yaml"), *LEFT_OUT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "0 0\nNoOptions\n\n"


@pytest.mark.parametrize("starts_programs", [False, True])
def test_validators_of_messages_at_the_start_are_made_before_the_first_fork(
    tmp_path: Path, starts_programs: bool
) -> None:
    program = f"{{type: exec, options: {{command: [/bin/cat]}}, listen: ['unix://{tmp_path}/s']}}"
    (tmp_path / "netd.yaml").write_text(f"services: {{cat: {program}}}\n" if starts_programs else "# nothing\n")
    validator.cache_clear()
    make_validators(loader.load(tmp_path / "netd.yaml"))
    made = validator.cache_info().currsize
    assert made == len(from_supervisor.AT_START) + len(to_launcher.AT_START) * starts_programs
    for message in from_supervisor.AT_START:
        validator(message)
    assert validator.cache_info().currsize == made
