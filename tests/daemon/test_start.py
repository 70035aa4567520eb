"""The start of netd: a supervisor with workers that serve."""

import os
import socket
from pathlib import Path

import pytest

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
