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

_MESSAGE_LIMIT = 2**20  # octets of a message with a table; the kernel refuses longer ones
_HEADS = ("sent", "received", "lost", "last", "mean", "max")


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
    times = (rtt.last, rtt.sum / rtt.number, rtt.most) if rtt.number else (None, None, None)
    return (tally.sent, tally.received, tally.lost.total(), *times)


def _draw_and_exit(updates: socket.socket) -> NoReturn:
    """Draw every update until the other end closes; the main function of the child process."""
    code = 1
    try:
        # The parent handles Ctrl-C, and then closes its end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.nice(10)
        with Display(console=Console(stderr=True), transient=True, auto_refresh=False) as display:
            while update := updates.recv(_MESSAGE_LIMIT):
                display.update(_table(json.loads(update)), refresh=True)
        code = 0
    finally:
        os._exit(code)


def _table(rows: list[list[Any]]) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("target", no_wrap=True)
    for head in _HEADS:
        drawn.add_column(head, no_wrap=True, justify="right", min_width=8)
    for name, sent, received, lost, *times in rows:
        cells = [readable(None if time is None else time / 1e9) for time in times]
        drawn.add_row(escape(name), str(sent), str(received), f"[red]{lost}[/]" if lost else "0", *cells)
    return drawn
