"""A million questions of `netd probe`, and its end by Ctrl-C: all are in the figures, and memory is bounded."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import megabytes
from tests.support.daemon import Daemon, daemon
from tests.support.waiting import until

CONFIG = "services: {echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n"
MILLION = 1_000_000


def _received(running: Daemon) -> int:
    return int(running.ask("status")["services"][0]["counters"].get("datagrams_received", 0))


def test_million_questions(tmp_path: Path, row: Row) -> None:
    table = tmp_path / "table.csv"
    with daemon(CONFIG, tmp_path) as running, table.open("wb") as output:
        command = [sys.executable, "-m", "netd", "probe", running.url("echo")]
        command += ["--count", str(MILLION), "--rate", "30000/s", "--timeout", "10s", "--csv"]
        start = time.monotonic()
        with subprocess.Popen(command, stdout=output) as process:
            try:
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            finally:
                process.kill()
        took = time.monotonic() - start
    lines = table.read_bytes().count(b"\n")
    received = table.read_bytes().count(b",received,")
    row(
        f"{MILLION:,} questions in {took:.0f} s",
        f"{lines - 1:,} rows, {MILLION - received} lost; {megabytes(_peak(usage))} at the peak",
    )
    assert process.returncode == 0
    assert (lines, received) == (MILLION + 1, MILLION)
    assert _peak(usage) < 400e6


def _peak(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss * 1024


def test_interrupt_of_an_endless_probe(tmp_path: Path, row: Row) -> None:
    with daemon(CONFIG, tmp_path) as running:
        command = [sys.executable, "-m", "netd", "probe", running.url("echo", "udp"), "--count", "0"]
        with subprocess.Popen([*command, "--rate", "20000/s", "--json"], stdout=-1, text=True) as process:
            try:
                until(lambda: _received(running) > 100_000, 60)
                start = time.monotonic()
                process.send_signal(signal.SIGINT)
                output, _ = process.communicate(timeout=60)
            finally:
                process.kill()
        [target] = json.loads(output)["targets"]
        row(
            f"{target['sent']:,} questions",
            f"figures {time.monotonic() - start:.1f} s after Ctrl-C: {target['lost']} lost",
        )
        assert target["sent"] >= 100_000
        assert target["received"] + target["lost"] == target["sent"]
