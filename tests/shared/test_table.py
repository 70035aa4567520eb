"""The numbers kept for each service."""

import os

from netd.shared.sources import Sources
from netd.shared.table import CELL, SUPERVISOR, Table

MINE = bytes([192, 0, 2, 7])


def test_a_table_holds_the_sources_beside_the_counters() -> None:
    table = Table()
    table.workers = 2
    assert Table(os.dup(table.descriptor)).workers == 2
    sources = Sources(table.sources, 1)
    assert sources.enter(MINE, 1, 2)
    column = table.column(1)
    for name in ("accepted", "accepted", "accepted", "closed.done"):
        column[CELL[name]] += 1
    column[CELL["active"]] = 3  # it died between the end of one and the count of who is there
    assert table.settle(1) == 2
    assert sources.enter(MINE, 1, 2)
    counts = table.read()
    assert (counts.accepted, counts.active, counts.closed) == (3, 0, {"done": 1, "lost": 2})
    assert table.settle(0) == 0


def test_the_supervisor_has_a_column_of_its_own() -> None:
    table = Table()
    table.column(SUPERVISOR)[0] += 5
    assert table.read().accepted == 5
    assert table.workers == 0
