"""`netd stop`: the request, and the wait for the end of the process."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.support.leftovers import is_gone
from tests.support.programs import need, need_root, started
from tests.support.waiting import until

# Answers a request as a netd that is process 1 of a container, and exits once standard input has ended.
LISTENS = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens", flush=True)
connection = listener.accept()[0]
print(connection.makefile().readline(), end="", flush=True)
connection.sendall(b'{"ok": true, "pid": 1}\\n')
connection.close()
sys.stdin.read()
"""


@pytest.mark.parametrize("is_container", [False, True])
def test_stop_returns_after_the_process_has_exited(place: Path, is_container: bool) -> None:
    found: list[object] = []
    command: list[object] = [sys.executable, "-c", LISTENS, place / "control.sock"]
    if is_container:
        need_root()
        need("unshare")
        command[:0] = ["unshare", "--pid", "--fork", "--kill-child"]
    with started(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "listens\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        pid = int(children[0]) if is_container else process.pid
        waiting = threading.Thread(target=lambda: found.extend((run("stop"), is_gone(pid))))
        waiting.start()
        assert process.stdout.readline() == "stop\n"
        process.stdin.close()
        waiting.join(10)
    assert found == [(0, f"netd has stopped (pid {pid})\n"), True]


def test_stop_of_a_process_that_has_exited_returns_at_once(place: Path) -> None:
    command = [sys.executable, "-c", LISTENS, place / "control.sock"]
    with started(*command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "listens\n"
        assert run("stop", "--now") == (0, f"netd has stopped (pid {process.pid})\n")
        assert process.stdout.readline() == "stop now\n"
    until(lambda: is_gone(process.pid))


def test_stop_does_not_wait_for_a_process_that_it_cannot_see(place: Path) -> None:
    need_root()
    listens: list[object] = [sys.executable, "-c", LISTENS, place / "control.sock"]
    with started(*listens, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "listens\n"
        command = [need("unshare"), "--pid", "--fork", "--kill-child", sys.executable, "-m", "netd", "stop"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "netd is stopping, in another pid namespace\n")
        process.stdin.close()
