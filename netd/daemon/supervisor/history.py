"""What the services did in the last minutes, for plots: a few numbers of each, every few seconds, in fixed memory."""

from array import array
from collections import deque
from collections.abc import Mapping
from typing import Any

from netd.shared.table import Counts

INTERVAL = 5.0
"""Seconds between two samples, at the least: they are taken when workers are asked for a sign of life."""
SAMPLES = 121
"""How many are kept: ten minutes where workers are asked every five seconds."""

_MOST = 2**63 - 1
_UNKNOWN = -1  # the service was not there
_NUMBERS = ("answered", "connections", "refused", "dropped")


class History:
    """Samples of all services' numbers. It is told the time (CLOCK_MONOTONIC for the distance, the wall's to show)."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=SAMPLES)
        self._rows: dict[str, array[int]] = {}  # by service: SAMPLES times the numbers, round and round
        self._taken = 0
        self._last = float("-inf")

    def note(self, counts: Mapping[str, Counts], now: float, wall: float) -> None:
        """Take a sample, if the last one is old enough. Services that are not in it are forgotten."""
        if now < self._last + INTERVAL * 0.9:
            return
        self._last = now
        width = len(_NUMBERS)
        start = self._taken % SAMPLES * width
        self._taken += 1
        self._times.append(wall)
        for gone in self._rows.keys() - counts.keys():
            del self._rows[gone]
        for service, one in counts.items():
            row = self._rows.get(service)
            if row is None:
                row = self._rows[service] = array("q", [_UNKNOWN]) * (SAMPLES * width)
            numbers = (one.answered, one.active, one.refused.total(), one.dropped.total())
            # A worker that has gone wrong may have counted anything.
            row[start : start + width] = array("q", [min(max(number, 0), _MOST) for number in numbers])

    def report(self) -> dict[str, Any]:
        """When the samples were taken, and for each service its numbers at these times; None where it was not there."""
        width = len(_NUMBERS)
        slots = [number % SAMPLES * width for number in range(self._taken - len(self._times), self._taken)]
        return {
            "times": [round(when, 3) for when in self._times],
            "services": {
                service: {
                    name: [None if row[slot + column] == _UNKNOWN else row[slot + column] for slot in slots]
                    for column, name in enumerate(_NUMBERS)
                }
                for service, row in self._rows.items()
            },
        }
