"""The wall clock of the host is set while netd runs: to the eras of rfc868, and before and after all that is usual."""

import datetime
import mmap
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.attack.conftest import Row
from tests.attack.processes import failures
from tests.daemon.clients import ask, echoed, echoes, talking
from tests.support.daemon import Daemon
from tests.support.programs import need
from tests.support.waiting import until

DAY = 86_400
ERA = 2_208_988_800  # seconds from 1900 to 1970 (RFC 868)
CONFIG = (
    "daemon: {heartbeat: 500ms}\nlog: {connections: off}\nservices:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"
    "  time: {listen: [tcp://127.0.0.1:0], options: {encoding: rfc868}}\n  metrics: {listen: [tcp://127.0.0.1:0]}\n"
    "  office: {type: echo, listen: [tcp://127.0.0.1:0], access: {times: [Mon-Fri 08:00-18:00 UTC]}}\n"
)
MONDAY, SUNDAY = "2026-11-02 12:00:00", "2026-11-01 12:00:00"
CLOCKS = (
    *(MONDAY, SUNDAY, "2036-02-07 06:28:14", "2036-02-07 06:28:16", "2038-01-19 03:14:08", "2106-02-07 06:28:16"),
    *("1970-01-01 00:00:10", "2232-06-02 12:00:00", MONDAY),
)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The library that steps the wall clock."""
    made = tmp_path / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([need("cc"), "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], check=True)
    return made


def test_clock_is_set(tmp_path: Path, library: Path, row: Row) -> None:
    file, step = tmp_path / "netd.yaml", tmp_path / "step"
    file.write_text(CONFIG)
    step.write_bytes(bytes(8))
    with (
        step.open("r+b") as opened,
        mmap.mmap(opened.fileno(), 8) as shared,
        Daemon("-c", str(file), LD_PRELOAD=str(library), CLOCK_STEP=str(step)) as running,
    ):
        running.event("netd_started")
        worker = running.worker
        with talking(running.port("echo")) as held:
            for text in CLOCKS:
                clock = datetime.datetime.fromisoformat(f"{text}+00:00")
                shared[:] = struct.pack("=q", int(clock.timestamp() - time.time()))
                # What is cached for a second has to go.
                until(lambda wanted=clock: _open(wanted) == echoes(running.port("office")))  # type: ignore[misc]
                [told] = struct.unpack("!I", ask(running.port("time"), b""))
                assert (told - int(clock.timestamp()) - ERA + 1) % 2**32 < 60, (
                    text
                )  # one less, as the step is whole seconds
                assert ask(running.port("metrics"), b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 200"), text
                echoed(held, b"still\n")
            beats = running.ask("status")
        row(f"{len(CLOCKS)} clocks, from {min(CLOCKS)} to {max(CLOCKS)}", "same worker, held connection lives")
        assert beats["ready"]
        assert [one["pid"] for one in beats["workers"]] == [worker]
        assert failures(running) == []
        assert running.stop() == 0


def _open(clock: datetime.datetime) -> bool:
    return clock.weekday() < 5 and 8 <= clock.hour < 18
