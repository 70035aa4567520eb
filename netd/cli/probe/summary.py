"""The figures of a run as text."""

from collections.abc import Iterator, Sequence

from netd.cli.output import table
from netd.client.probe.figures import Summary, Times, histogram, readable
from netd.client.probe.outcomes import Outcome
from netd.client.probe.probing import Probe, Probing
from netd.text import shortened

_BAR = 40  # characters
_SHORTEST_BAR = 8
_BESIDE_BAR = 26  # characters of the time and the number
_HEADS = ("MIN", "MEAN", "MEDIAN", "P90", "P99", "MAX", "JITTER")


def summary_text(run: Probing, summaries: Sequence[Summary], width: int | None = None) -> str:
    """All figures of all targets, and a table to compare several. ``width``: columns of the terminal, if it is one."""
    parts = [_target_text(probe, summary, width) for probe, summary in zip(run.probes, summaries, strict=True)]
    return "\n\n".join([*parts, _comparison(summaries, width)] if len(summaries) > 1 else parts)


def _target_text(probe: Probe, summary: Summary, width: int | None) -> str:
    address = f" ({summary.address})" if summary.address and summary.address not in summary.target else ""
    counts = ("duplicated", "reordered", "corrupted")
    lines = [
        f"{summary.target}{address}, {summary.service}",
        f"sent {summary.sent}, received {summary.received}, lost {summary.lost}{_share(summary, ' ({})')}, "
        + ", ".join(f"{count} {getattr(summary, count)}" for count in counts),
    ]
    lines += [
        f"{number} {word.replace('_', ' ')}: {summary.reasons[word]}"
        for word, number in summary.losses.items()
        if number
    ]
    if summary.wrong and not summary.losses[Outcome.WRONG.word]:
        lines.append(f"corrupted: {summary.wrong}")
    if summary.late:
        lines.append(f"{summary.late} right answers came after the time-out")
    if summary.offset is not None and summary.offset_margin is not None:
        ahead = "ahead" if summary.offset >= 0 else "behind"
        lines.append(f"the clock is {abs(summary.offset):.3f} s {ahead}, +/- {summary.offset_margin:.3f} s")
    measured = [
        ("rtt", summary.rtt),
        ("connect", summary.connect),
        ("handshake", summary.handshake),
        ("sent late", summary.sent_late),
    ]
    rows = [(name, *_cells(times)) for name, times in measured if times.max is not None]
    if rows:
        lines += ["", _times_table(rows, width)]
    if summary.received > 1:
        longest = _BAR if width is None else max(_SHORTEST_BAR, min(_BAR, width - _BESIDE_BAR))
        lines += ["", *_bars([result for _, result in probe.tally.results() if result >= 0], longest)]
    return "\n".join(lines)


def _share(summary: Summary, form: str = "{}") -> str:
    return "" if summary.loss is None else form.format(f"{summary.loss * 100:.3g} %")


def _times_table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """A row for each series, or on a narrow terminal a row for each figure."""
    wide = table(("", *_HEADS), rows, _HEADS)
    if width is None or max(map(len, wide.splitlines())) <= width:
        return wide
    names, *figures = zip(*rows, strict=True)
    return table(("", *names), [(head, *cells) for head, cells in zip(_HEADS, figures, strict=True)], names)


def _comparison(summaries: Sequence[Summary], width: int | None) -> str:
    heads = ("SENT", "LOSS", "MEDIAN", "P99", "MAX")
    rows = [
        (str(one.sent), _share(one) or "-", *(readable(time) for time in (one.rtt.median, one.rtt.p99, one.rtt.max)))
        for one in summaries
    ]
    beside = max(map(len, table(heads, rows).splitlines())) + 2
    names = [one.target if width is None else shortened(one.target, max(12, width - beside)) for one in summaries]
    return table(("TARGET", *heads), [(name, *row) for name, row in zip(names, rows, strict=True)], heads)


def _cells(times: Times) -> list[str]:
    return [readable(getattr(times, head.lower())) for head in _HEADS]


def _bars(values: Sequence[int], width: int = _BAR) -> Iterator[str]:
    rows = histogram(values)
    longest = max(number for _, number in rows)
    for bound, number in rows:
        eighths = round(number / longest * width * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        yield f"up to {readable(bound / 1e9):>8}  {bar or '▏' * bool(number)} {number}"
