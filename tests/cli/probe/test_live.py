"""The live table of a run: its figures, the process that draws it, and updates that would block."""

import os
import pty
import select
import signal
import sys

import pytest

from netd.cli.probe.live import Live, _figures, _table
from netd.client.probe.outcomes import Outcome
from tests.client.probe.probes import probe_of

MS = 10**6


def test_figures_are_counts_and_times_so_far() -> None:
    asked = probe_of("unix:///x/s", 4 * MS, Outcome.TIMED_OUT, 2 * MS, Outcome.WAITING)
    assert _figures(asked) == (4, 2, 1, 2 * MS, 3 * MS, 4 * MS)
    assert _figures(probe_of("unix:///x/s")) == (0, 0, 0, None, None, None)


def test_row_has_readable_times_and_no_markup_of_its_name() -> None:
    table = _table([["unix:///[bold]x", 4, 2, 1, 2 * MS, 3 * MS, 4 * MS], ["b", 0, 0, 0, None, None, None]])
    cells = [list(column.cells) for column in table.columns]
    assert [column.header for column in table.columns] == ["target", "sent", "received", "lost", "last", "mean", "max"]
    assert [row[0] for row in cells] == [r"unix:///\[bold]x", "4", "2", "[red]1[/]", "2.00 ms", "3.00 ms", "4.00 ms"]
    assert [row[1] for row in cells] == ["b", "0", "0", "0", "-", "-", "-"]


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
        while select.select([primary], [], [], 0)[0]:
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
