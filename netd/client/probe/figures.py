"""What a run comes to: percentiles, means, shares, a histogram. Only values; times are seconds here."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from netd.client.probe.outcomes import LOSSES, MESSAGES
from netd.client.probe.probing import Probe
from netd.client.probe.tally import Series, Tally
from netd.client.probe.targets import address_as_text


@dataclass(frozen=True, slots=True)
class Times:
    """How a series is distributed, in seconds; None where nothing was measured."""

    min: float | None = None
    mean: float | None = None
    median: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None
    jitter: float | None = None
    """The mean of how far each answer's time is from the one before (RFC 3393)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one target."""

    target: str
    service: str
    address: str
    """The first of its addresses; empty where its name has none."""
    sent: int
    received: int
    lost: int
    """Sent without a right answer: `losses` says why."""
    loss: float | None
    """The share of those that were sent; None where nothing was."""
    late: int
    duplicated: int
    reordered: int
    corrupted: int
    losses: dict[str, int]
    reasons: dict[str, str]
    rtt: Times
    connections: int
    connect: Times
    sent_late: Times
    """How late the probe itself was with the questions; this is not in `rtt`."""
    offset: float | None
    """How far the target's clock is ahead."""
    offset_margin: float | None

    @property
    def good(self) -> bool:
        """Whether it answered, and only rightly."""
        return self.received > 0 and self.corrupted == 0


def percentile(ordered: Sequence[int], share: float) -> int:
    """The least value that at least this share of all does not exceed (the nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def times(series: Series) -> Times:
    """The distribution of a series: percentiles of the values that are kept, the others of all there were."""
    if not series.number:
        return Times()
    ordered = sorted(series.kept())
    jitter = series.steps / (series.number - 1) if series.number > 1 else None
    found = (
        series.least,
        series.sum / series.number,
        statistics.median(ordered),
        percentile(ordered, 0.9),
        percentile(ordered, 0.99),
        series.most,
        jitter,
    )
    return Times(*(None if value is None else round(value / 1e9, 9) for value in found))


def summarise(probe: Probe) -> Summary:
    """The figures of one target."""
    tally: Tally = probe.tally
    lost = tally.sent - tally.received
    addresses = probe.target.addresses
    return Summary(
        target=probe.target.name,
        service=probe.service,
        address=address_as_text(addresses[0]) if addresses else "",
        sent=tally.sent,
        received=tally.received,
        lost=lost,
        loss=lost / tally.sent if tally.sent else None,
        late=tally.late,
        duplicated=tally.duplicated,
        reordered=tally.reordered,
        corrupted=tally.corrupted,
        losses={outcome.word: tally.lost[outcome] for outcome in LOSSES},
        reasons={
            outcome.word: tally.reasons.get(outcome) or MESSAGES[outcome] for outcome in LOSSES if tally.lost[outcome]
        },
        rtt=times(tally.rtt),
        connections=tally.connect.number,
        connect=times(tally.connect),
        sent_late=times(tally.lag),
        offset=tally.offset.seconds,
        offset_margin=tally.offset.margin,
    )


def histogram(values: Sequence[int], rows: int = 8) -> list[tuple[float, int]]:
    """Upper bounds and numbers of the values up to each: ``rows`` steps of one ratio, since a tail is long."""
    if not values:
        return []
    least, most = max(1, min(values)), max(1, *values)
    if least == most:
        return [(float(most), len(values))]
    ratio = (most / least) ** (1 / rows)
    bounds = [*(least * ratio**step for step in range(1, rows)), float(most)]
    numbers = [0] * rows
    for value in values:
        place = int(math.log(max(1, value) / least) / math.log(ratio)) if value > least else 0
        numbers[min(place, rows - 1)] += 1
    return list(zip(bounds, numbers, strict=True))


def readable(seconds: float | None) -> str:
    """A time for people: three digits at least, and a unit."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size * 0.9995 or unit == "us":
            value = seconds / size
            return f"{value:.{max(0, 2 - int(math.log10(max(1, abs(value)))))}f} {unit}"
    raise AssertionError
