"""The live table of a run: its figures, the process that draws it, and updates that would block."""

import io
import os
import pty
import select
import signal
import sys

import pytest
from rich.console import Console

from netd.cli.probe.live import Live, _figures, _table
from netd.client.probe.outcomes import Outcome
from tests.client.probe.probes import probe_of

MS = 10**6


def test_figures_are_counts_and_times_so_far() -> None:
    asked = probe_of("unix:///x/s", 4 * MS, Outcome.TIMED_OUT, 2 * MS, Outcome.WAITING)
    assert _figures(asked) == (4, 1 / 3, 2 * MS, 4 * MS, 4 * MS)
    assert _figures(probe_of("unix:///x/s")) == (0, None, None, None, None)


def test_row_has_readable_times_and_no_markup_of_its_name() -> None:
    table = _table([["unix:///[bold]x", 4, 1 / 3, 2 * MS, 3 * MS, 4 * MS], ["b", 0, None, None, None, None]], 80)
    cells = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == ["target", "sent", "loss", "last", "median", "max"]
    assert [row[0] for row in cells] == [r"unix:///\[bold]x", "4", "[red]33.3 %[/]", "2.00 ms", "3.00 ms", "4.00 ms"]
    assert [row[1] for row in cells] == ["b", "0", "-", "-", "-", "-"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_table_fits_the_terminal_with_room_for_a_key_and_shows_both_ends_of_a_target(width: int) -> None:
    name = "tcp://a-name-of-a-host.in.a.domain.example:7007"
    rows = [[name, 123_456, 0.0123, 2 * MS, 300 * MS, 4 * MS], ["udp://a:7", 7, 1.0, 1, 2, 3]]
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(_table(rows, width))
    lines = capture.get().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width - 2
    assert lines[1].split()[0].startswith("tcp://")
    assert lines[1].split()[0].endswith(":7007")
    assert lines[1].split()[1:] == ["123456", "1.23", "%", "2.00", "ms", "300", "ms", "4.00", "ms"]


def test_table_is_drawn_by_a_process_that_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    primary, terminal = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    output = b""
    with open(terminal, "w") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        with Live() as live:
            live.update([probe_of("unix:///x/s", 2 * MS)])
            while b"2.00 ms" not in output:
                assert select.select([primary], [], [], 10)[0]
                output += os.read(primary, 65536)
            process = live._process
        with pytest.raises(ChildProcessError):
            os.waitpid(process, 0)
        monkeypatch.undo()
        screen.write("the end")  # a pseudoterminal delivers late, but in order
        screen.flush()
        while not output.endswith(b"the end"):
            assert select.select([primary], [], [], 10)[0]
            output += os.read(primary, 65536)
    os.close(primary)
    assert b"unix:///x/s" in output
    assert b"\x1b[2K" in output, "the table is erased"


def test_update_that_would_block_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as null:
        monkeypatch.setattr(sys, "stderr", null)
        with Live() as live:
            os.kill(live._process, signal.SIGSTOP)
            for _ in range(5000):
                live.update([])
            os.kill(live._process, signal.SIGCONT)
        monkeypatch.undo()
