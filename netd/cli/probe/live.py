"""The table on standard error while a run is going on, where that is a terminal.

Another process draws it: drawing takes milliseconds, which would be in the times of answers.
"""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any, NoReturn

from rich.console import Console
from rich.live import Live as Display
from rich.markup import escape
from rich.table import Table

from netd.client.probe.figures import readable
from netd.client.probe.probing import Probe
from netd.text import shortened

_MESSAGE_LIMIT = 2**20  # octets of a message with a table; the kernel refuses longer ones
_HEADS = ("sent", "loss", "last", "median", "max")
_RECENT = 100  # answers that the median is of: as it is now, and sorted in microseconds
_WIDTH = 7  # characters of a column of figures
_GAP = 2
_MARGIN = 2  # columns that stay free: the terminal puts ^C there, and a line more would not be erased
_NARROWEST = 12  # columns for the target


class Live:
    """The table, as a context manager that starts and ends the process which draws it."""

    def __enter__(self) -> "Live":
        self._updates, updates = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = os.fork()
        if not self._process:
            self._updates.close()
            _draw_and_exit(updates)
        updates.close()
        self._updates.setblocking(False)
        return self

    def update(self, probes: Sequence[Probe]) -> None:
        """Show the figures so far. An update that would block is skipped."""
        rows = [(probe.target.name, *_figures(probe)) for probe in probes]
        with contextlib.suppress(OSError):
            self._updates.send(json.dumps(rows).encode())

    def __exit__(self, *exception: object) -> None:
        self._updates.close()
        os.waitpid(self._process, 0)


def _figures(probe: Probe) -> tuple[float | None, ...]:
    tally, rtt = probe.tally, probe.tally.rtt
    recent = sorted(rtt.recent(_RECENT))
    times = (rtt.last, recent[len(recent) // 2], rtt.most) if rtt.number else (None, None, None)
    ended = rtt.number + tally.lost.total()
    return (tally.sent, tally.lost.total() / ended if ended else None, *times)


def _draw_and_exit(updates: socket.socket) -> NoReturn:
    """Draw every update until the other end closes; the main function of the child process."""
    code = 1
    try:
        # The parent handles Ctrl-C, and then closes its end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.nice(10)
        console = Console(stderr=True)
        with Display(console=console, transient=True, auto_refresh=False) as display:
            while update := updates.recv(_MESSAGE_LIMIT):
                display.update(_table(json.loads(update), console.width), refresh=True)
        code = 0
    finally:
        os._exit(code)


def _table(rows: list[list[Any]], width: int) -> Table:
    """A table that fits into ``width`` columns: the targets are cut in the middle."""
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    drawn.add_column("target", no_wrap=True)
    for head in _HEADS:
        drawn.add_column(head, no_wrap=True, justify="right", min_width=_WIDTH)
    left = max(_NARROWEST, width - _MARGIN - len(_HEADS) * (_WIDTH + _GAP))
    for name, sent, loss, *times in rows:
        share = "-" if loss is None else f"{loss * 100:.3g} %"
        cells = [readable(None if time is None else time / 1e9) for time in times]
        drawn.add_row(escape(shortened(name, left)), str(sent), f"[red]{share}[/]" if loss else share, *cells)
    return drawn
