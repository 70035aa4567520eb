"""What a person sees of a run while it goes on: a table on standard error, where that is a terminal.

A process of its own draws it: to draw takes milliseconds, in which no answer would be heard.
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

_LONGEST = 2**20  # octets of a picture; the kernel takes no message so long
_HEADS = ("sent", "received", "lost", "last", "mean", "max")


class Live:
    """The table, for as long as it is entered."""

    def __enter__(self) -> "Live":
        self._pictures, pictures = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = os.fork()
        if not self._process:
            self._pictures.close()
            _draw_and_exit(pictures)
        pictures.close()
        self._pictures.setblocking(False)
        return self

    def look(self, probes: Sequence[Probe]) -> None:
        """Show how it goes. A picture that would have to wait is left out."""
        picture = [(probe.target.name, *_figures(probe)) for probe in probes]
        with contextlib.suppress(OSError):
            self._pictures.send(json.dumps(picture).encode())

    def __exit__(self, *exception: object) -> None:
        self._pictures.close()
        os.waitpid(self._process, 0)


def _figures(probe: Probe) -> tuple[float | None, ...]:
    tally, rtt = probe.tally, probe.tally.rtt
    times = (rtt.last, rtt.sum / rtt.number, rtt.most) if rtt.number else (None, None, None)
    return (tally.sent, tally.received, tally.lost.total(), *times)


def _draw_and_exit(pictures: socket.socket) -> NoReturn:
    """Draw what comes until there is no more; the whole life of this process."""
    code = 1
    try:
        # Ctrl-C is for the one who asks; this one ends with it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.nice(10)
        with Display(console=Console(stderr=True), transient=True, auto_refresh=False) as display:
            while picture := pictures.recv(_LONGEST):
                display.update(_table(json.loads(picture)), refresh=True)
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
