"""The figures of a run: percentiles, means, shares, a histogram. Values only; times are seconds here."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from netd.client.probe.outcomes import LOSSES, MESSAGES
from netd.client.probe.probing import Probe
from netd.client.probe.tally import Series, Tally
from netd.client.probe.targets import address_as_text

_BINS = 8  # of a histogram


@dataclass(frozen=True, slots=True)
class Times:
    """The distribution of a series, in seconds; None where nothing was measured."""

    min: float | None = None
    mean: float | None = None
    median: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None
    jitter: float | None = None
    """The mean difference between the time of an answer and of the one before (RFC 3393)."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one target."""

    target: str
    service: str
    address: str
    """The address that answered, or the last one that was tried; empty where the name cannot be resolved."""
    sent: int
    received: int
    lost: int
    """Sent without a right answer; `losses` has the reasons."""
    loss: float | None
    """`lost` as a share of `sent`, from 0 to 1; None where nothing was sent."""
    late: int
    duplicated: int
    reordered: int
    corrupted: int
    wrong: str
    """What was expected and what came, of the last answer that was not right."""
    losses: dict[str, int]
    reasons: dict[str, str]
    rtt: Times
    connections: int
    connect: Times
    handshake: Times
    """Of TLS, after the connection was made."""
    sent_late: Times
    """The delay of questions by this process alone, which is not in `rtt`."""
    offset: float | None
    """How far the target's clock is ahead."""
    offset_margin: float | None

    @property
    def good(self) -> bool:
        """Whether there was an answer, and none was wrong."""
        return self.received > 0 and self.corrupted == 0


def percentile(ordered: Sequence[int], share: float) -> int:
    """The least value that at least this share of all values does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def times(series: Series) -> Times:
    """The distribution of a series: percentiles of the values that are kept, the other figures of all values."""
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
    return Summary(
        target=probe.target.name,
        service=probe.service,
        address=address_as_text(probe.address) if probe.address else "",
        sent=tally.sent,
        received=tally.received,
        lost=lost,
        loss=lost / tally.sent if tally.sent else None,
        late=tally.late,
        duplicated=tally.duplicated,
        reordered=tally.reordered,
        corrupted=tally.corrupted,
        wrong=tally.wrong,
        losses={outcome.word: tally.lost[outcome] for outcome in LOSSES},
        reasons={
            outcome.word: tally.reasons.get(outcome) or MESSAGES[outcome] for outcome in LOSSES if tally.lost[outcome]
        },
        rtt=times(tally.rtt),
        connections=tally.connect.number,
        connect=times(tally.connect),
        handshake=times(tally.handshake),
        sent_late=times(tally.lag),
        offset=tally.offset.seconds,
        offset_margin=tally.offset.margin,
    )


def histogram(values: Sequence[int]) -> list[tuple[float, int]]:
    """Upper bounds, and the number of values up to each: eight bins of the same ratio, as tails are long."""
    if not values:
        return []
    least, most = max(1, min(values)), max(1, *values)
    if least == most:
        return [(float(most), len(values))]
    ratio = (most / least) ** (1 / _BINS)
    bounds = [*(least * ratio**step for step in range(1, _BINS)), float(most)]
    numbers = [0] * _BINS
    for value in values:
        place = int(math.log(max(1, value) / least) / math.log(ratio)) if value > least else 0
        numbers[min(place, _BINS - 1)] += 1
    return list(zip(bounds, numbers, strict=True))


def readable(seconds: float | None) -> str:
    """A time as text: three digits at least, and a unit."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size * 0.9995 or unit == "us":
            value = seconds / size
            return f"{value:.{max(0, 2 - int(math.log10(max(1, abs(value)))))}f} {unit}"
    raise AssertionError
