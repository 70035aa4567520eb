"""The start of netd: a supervisor with workers that serve."""

import socket
from pathlib import Path

from tests.support.daemon import daemon


def test_started_supervisor_has_workers_that_serve(tmp_path: Path) -> None:
    with daemon(f'services:\n  echo: {{listen: ["unix://{tmp_path}/s"]}}\n', tmp_path) as running:
        stat = Path(f"/proc/{running.worker}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) == running.process.pid, "the parent of the worker"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(f"{tmp_path}/s")
            client.sendall(b"x")
            assert client.recv(1) == b"x"
