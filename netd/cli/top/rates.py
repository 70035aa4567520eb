"""Rates of counters, and sparklines of them. Values only: no input, no output."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

KEPT = 600
"""Rates kept for each service: more than the widest terminal shows."""

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = "_.:-=+*#"


class Rates:
    """Requests and octets a second of each service, from one status answer to the next."""

    def __init__(self) -> None:
        self.series: dict[str, deque[float | None]] = {}
        """Requests by service, the newest last; None where the rate is unknown."""
        self.octets: dict[str, float | None] = {}
        """Octets received and sent by service, the newest rate; None where it is unknown."""
        self._before: dict[str, tuple[int, int]] = {}
        self._daemon: str | None = None
        self._when = 0.0

    def add(self, answer: Mapping[str, Any], now: float) -> None:
        """Add the rates up to a status answer that arrived at ``now`` (CLOCK_MONOTONIC).

        After a restart of netd, or a reset of a service's counters, the rate is unknown until the next answer.
        """
        counts = {service["service"]: _counts(service) for service in answer["services"]}
        daemon = str(answer["run"])
        before = self._before if daemon == self._daemon else {}
        seconds = now - self._when
        for name, count in counts.items() if self._daemon else ():
            rates = _rates(before.get(name), count, seconds)
            self.series.setdefault(name, deque(maxlen=KEPT)).append(rates[0])
            self.octets[name] = rates[1]
        self.octets = {name: rate for name, rate in self.octets.items() if name in counts}
        self.series = {name: kept for name, kept in self.series.items() if name in counts}
        self._before, self._daemon, self._when = counts, daemon, now

    def prefill(self, history: Mapping[str, Any], now: float, interval: float) -> None:
        """Insert the rates of netd's history, up to ``now`` (UNIX time), one per interval, before all others."""
        for name, numbers in history["services"].items():
            if name not in self._before:
                continue
            kept = list(self.series.get(name, ()))
            past = resampled(history["times"], numbers["requests"], now, interval)
            self.series[name] = deque([*past, *kept], maxlen=KEPT)

    def last(self, service: str) -> float | None:
        """The newest rate."""
        series = self.series.get(service)
        return series[-1] if series else None

    def total(self, most: int) -> list[float | None]:
        """The newest rates of all services together, at most ``most`` of them, the newest last."""
        length = min(most, max(map(len, self.series.values()), default=0))
        totals: list[float | None] = []
        for back in range(length, 0, -1):
            rates = [one[-back] for one in self.series.values() if len(one) >= back]
            known = [rate for rate in rates if rate is not None]
            totals.append(sum(known) if known else None)
        return totals


def _counts(service: Mapping[str, Any]) -> tuple[int, int]:
    counters = service["counters"]
    return int(service["requests"]), int(counters["received_bytes"]) + int(counters["sent_bytes"])


def _rates(
    before: tuple[int, int] | None, after: tuple[int, int], seconds: float
) -> tuple[float, float] | tuple[None, None]:
    if before is None or seconds <= 0 or after[0] < before[0] or after[1] < before[1]:
        return None, None
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds


def resampled(times: Sequence[float], counts: Sequence[int | None], now: float, interval: float) -> list[float | None]:
    """The rates between samples of a counter, one per interval up to ``now``, whatever the distance of the samples."""
    rates: list[float | None] = []
    step = len(times) - 1
    for back in range(KEPT):
        moment = now - (back + 0.5) * interval
        while step > 0 and times[step - 1] > moment:
            step -= 1
        if step <= 0:
            break
        before, after, seconds = counts[step - 1], counts[step], times[step] - times[step - 1]
        known = before is not None and after is not None and after >= before and seconds > 0
        rates.append((after - before) / seconds if known else None)  # type: ignore[operator]
    return rates[::-1]


def ordered(rows: Iterable[dict[str, Any]], head: str, *, reverse: bool) -> list[dict[str, Any]]:
    """Rows sorted by one cell: numbers with the largest first, texts by alphabet; the opposite with ``reverse``.

    Equal rows are sorted by their first cell, so that they do not change places at each update.
    """
    rows = sorted(rows, key=lambda row: str(next(iter(row.values()))))
    if not rows:
        return rows
    if isinstance(rows[0][head], str):
        return sorted(rows, key=lambda row: str(row[head]), reverse=reverse)
    return sorted(rows, key=lambda row: -1 if row[head] is None else row[head], reverse=not reverse)


def sparkline(values: Sequence[float | None], width: int, *, blocks: bool) -> str:
    """The newest values that fit, a character each, scaled to the largest of them; blank where unknown."""
    shown = values[-width:] if width > 0 else []
    levels = _BLOCKS if blocks else _ASCII
    top = max((value for value in shown if value is not None), default=0.0)
    text = "".join(" " if value is None else levels[_level(value, top, len(levels))] for value in shown)
    return text.rjust(width)


def _level(value: float, top: float, levels: int) -> int:
    """The lowest level is for zero alone: any larger value is at least one above it."""
    return min(1 + int(value / top * (levels - 1)), levels - 1) if value > 0 else 0


def readable_rate(rate: float | None) -> str:
    """A rate in at most six characters."""
    if rate is None:
        return "-"
    return f"{rate:.1f}" if 0 < rate < 99.95 else readable_number(round(rate))


def readable_number(number: float) -> str:
    """A number in at most six characters: in full up to 99999, then with a unit from k to E."""
    if number < 100_000:
        return f"{number:.0f}"
    for unit in "kMGTPE":
        number /= 1000
        if number < 99.95:
            return f"{number:.1f}{unit}"
        if number < 999.5:
            return f"{number:.0f}{unit}"
    return "lots"
