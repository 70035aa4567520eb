"""The counters of the services over the last minutes, for plots: six numbers each, in memory of fixed size."""

from array import array
from collections import deque
from collections.abc import Mapping
from typing import Any

from netd.shared.table import Counts

INTERVAL = 5.0
"""The shortest time between two samples, in seconds. Samples are taken with the heartbeats."""
SAMPLES = 121
"""The number of samples kept: ten minutes with a heartbeat of five seconds."""

_MOST = 2**63 - 1
_UNKNOWN = -1  # the service did not exist
_NUMBERS = ("requests", "connections", "refused", "dropped", "received_bytes", "sent_bytes")


class History:
    """Samples of all services' numbers. Times are CLOCK_MONOTONIC, which a step of the clock does not change."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=SAMPLES)
        self._rows: dict[str, array[int]] = {}  # by service: a ring buffer of SAMPLES times the numbers
        self._taken = 0
        self._last = float("-inf")

    def take_sample(self, counts: Mapping[str, Counts], now: float) -> None:
        """Take a sample if the last one is old enough. Samples of services that are not in it are removed."""
        if now < self._last + INTERVAL * 0.9:
            return
        self._last = now
        width = len(_NUMBERS)
        start = self._taken % SAMPLES * width
        self._taken += 1
        self._times.append(now)
        for removed in self._rows.keys() - counts.keys():
            del self._rows[removed]
        for service, one in counts.items():
            row = self._rows.get(service)
            if row is None:
                row = self._rows[service] = array("q", [_UNKNOWN]) * (SAMPLES * width)
            numbers = (
                one.all_requests,
                one.active,
                one.refused.total(),
                one.dropped.total(),
                one.bytes_in,
                one.bytes_out,
            )
            # A faulty worker may have written any number.
            row[start : start + width] = array("q", [min(max(number, 0), _MOST) for number in numbers])

    def report(self, since_1970: float) -> dict[str, Any]:
        """The times of the samples, and the numbers of each service at these times; None if it did not exist.

        Times are Unix times by the clock as it is now: ``since_1970`` is the difference to CLOCK_MONOTONIC.
        """
        width = len(_NUMBERS)
        slots = [number % SAMPLES * width for number in range(self._taken - len(self._times), self._taken)]
        return {
            "times": [round(when + since_1970, 3) for when in self._times],
            "services": {
                service: {
                    name: [None if row[slot + column] == _UNKNOWN else row[slot + column] for slot in slots]
                    for column, name in enumerate(_NUMBERS)
                }
                for service, row in self._rows.items()
            },
        }
