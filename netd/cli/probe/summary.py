"""The figures of a run as text."""

from collections.abc import Iterator, Sequence

from netd.cli.output import table
from netd.client.probe.figures import Summary, Times, histogram, readable
from netd.client.probe.probing import Probe, Probing

_BAR = 40  # characters
_HEADS = ("MIN", "MEAN", "MEDIAN", "P90", "P99", "MAX", "JITTER")


def summary_text(run: Probing, summaries: Sequence[Summary]) -> str:
    """All figures of all targets."""
    return "\n\n".join(_target_text(probe, summary) for probe, summary in zip(run.probes, summaries, strict=True))


def _target_text(probe: Probe, summary: Summary) -> str:
    address = f" ({summary.address})" if summary.address and summary.address not in summary.target else ""
    share = "" if summary.loss is None else f" ({summary.loss * 100:.3g} %)"
    counts = ("duplicated", "reordered", "corrupted")
    lines = [
        f"{summary.target}{address}, {summary.service}",
        f"sent {summary.sent}, received {summary.received}, lost {summary.lost}{share}, "
        + ", ".join(f"{count} {getattr(summary, count)}" for count in counts),
    ]
    lines += [
        f"{number} {word.replace('_', ' ')}: {summary.reasons[word]}"
        for word, number in summary.losses.items()
        if number
    ]
    if summary.late:
        lines.append(f"{summary.late} right answers came after the time-out")
    if summary.offset is not None and summary.offset_margin is not None:
        ahead = "ahead" if summary.offset >= 0 else "behind"
        lines.append(f"the clock is {abs(summary.offset):.3f} s {ahead}, +/- {summary.offset_margin:.3f} s")
    rows = [("rtt", summary.rtt), ("connect", summary.connect), ("sent late", summary.sent_late)]
    cells = [[name, *_cells(times)] for name, times in rows if times.max is not None]
    if cells:
        lines += ["", table(("", *_HEADS), cells, _HEADS)]
    if summary.received > 1:
        lines += ["", *_bars([result for _, result in probe.tally.results() if result >= 0])]
    return "\n".join(lines)


def _cells(times: Times) -> list[str]:
    return [readable(getattr(times, head.lower())) for head in _HEADS]


def _bars(values: Sequence[int]) -> Iterator[str]:
    rows = histogram(values)
    longest = max(number for _, number in rows)
    for bound, number in rows:
        eighths = round(number / longest * _BAR * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        yield f"up to {readable(bound / 1e9):>8}  {bar or '▏' * bool(number)} {number}"
