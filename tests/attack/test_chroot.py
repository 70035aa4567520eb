"""Workers in a chroot: each service is served, also by workers that are forked later, and the log is reopened."""

import os
import shutil
import signal
import socket
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import ready
from tests.daemon.clients import ask
from tests.daemon.processes import workers
from tests.support.daemon import Daemon
from tests.support.programs import need_root
from tests.support.sockets import free_port
from tests.support.waiting import until

QUESTIONS = {
    "echo": b"hello",
    "discard": b"",
    "daytime": b"",
    "time": b"",
    "upper": b"hello\n",
    "pingpong": b"ping 1\n",
    "reply": b"hello\n",
    "qotd": b"",
    "whoami": b"",
    "chat": b"q\n",
    "metrics": b"GET /metrics HTTP/1.0\r\n\r\n",
}


def test_services_and_log_of_a_chroot(tmp_path: Path, open_path: Path, row: Row) -> None:
    """Two workers are killed, the log is rotated, and the directory of the chroot is removed and made again."""
    need_root()
    jail, log = open_path / "jail", tmp_path / "netd.log"
    jail.mkdir()
    free: set[int] = set()  # a set: of so many at random, two may be one
    while len(free) < len(QUESTIONS) + 2:
        free.add(free_port())
    ports = {name: free.pop() for name in (*QUESTIONS, "chargen")}
    file = tmp_path / "netd.yaml"
    file.write_text(
        f"daemon: {{chroot: {jail}, workers: 2, heartbeat: 1s}}\nlog: {{file: {log}}}\nservices:\n"
        + "".join(f"  {name}: {{listen: [tcp://127.0.0.1:{port}]}}\n" for name, port in ports.items())
        + f"  zone: {{type: daytime, listen: [tcp://127.0.0.1:{free.pop()}], options: {{timezone: Asia/Tokyo}}}}\n"
    )
    served = 0

    def serve() -> int:
        for name, question in QUESTIONS.items():
            answer = ask(ports[name], question)
            assert answer or name == "discard", name
        with socket.create_connection(("127.0.0.1", ports["chargen"]), 20) as connection:
            assert connection.recv(100)
        return len(ports)

    with Daemon("-c", str(file)) as running:
        until(lambda: running.process.poll() is not None or ready(running), 30)
        assert running.process.poll() is None, running.stop() and running.lines
        served += serve()
        for pid in workers(running):
            assert os.readlink(f"/proc/{pid}/root") == str(jail)
            os.kill(pid, signal.SIGKILL)
            until(lambda gone=pid: gone not in workers(running) and len(workers(running)) == 2, 30)  # type: ignore[misc]
            served += serve()
        log.rename(tmp_path / "old.log")
        running.process.send_signal(signal.SIGUSR1)
        until(log.exists)
        ask(ports["echo"], b"after")
        until(lambda: '"connection_closed"' in log.read_text())
        shutil.rmtree(jail)
        [first, second] = workers(running)
        for pid in (first, second):
            os.kill(pid, signal.SIGKILL)
        until(lambda: "worker_failed" in log.read_text(), 30)
        jail.mkdir()
        until(lambda: len(workers(running)) == 2, 90)
        served += serve()
        row(
            f"{len(ports)} services, 2 workers killed, the log rotated, the directory removed and made again",
            f"{served} of {served} served; log reopened",
        )
        assert "Traceback" not in log.read_text() + (tmp_path / "old.log").read_text()
        assert running.stop() == 0
