"""`netd stop`: the request, and the wait for the end of the process."""

import os
import subprocess
import threading
from pathlib import Path

from tests.cli.commands import run, run_with_answer
from tests.client.fake_netd import FakeNetd
from tests.support.leftovers import is_gone
from tests.support.programs import started
from tests.support.waiting import until


def test_stop_returns_after_the_process_has_exited(place: Path) -> None:
    found: list[object] = []
    with (
        started("cat", stdin=subprocess.PIPE) as process,
        FakeNetd(place / "control.sock", {"ok": True, "pid": process.pid}) as fake,
    ):
        waiting = threading.Thread(target=lambda: found.extend((run("stop"), is_gone(process.pid))))
        waiting.start()
        until(lambda: fake.requests)
        assert process.stdin
        process.stdin.close()
        waiting.join(10)
    assert fake.requests == ["stop"]
    assert found == [(0, f"netd has stopped (pid {process.pid})\n"), True]


def test_stop_of_a_process_that_has_exited_returns_at_once(place: Path) -> None:
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
    assert run_with_answer(place, {"pid": pid}, "stop", "--now") == (0, f"netd has stopped (pid {pid})\n", "stop now")
