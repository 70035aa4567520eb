"""The plot of a run: the times of answers over the run, and their distribution.

This needs matplotlib, which the extra `netd[plot]` installs.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from netd.client.probe.probing import Probe

_MAX_POINTS = 20_000  # of a target; more cannot be distinguished, and make an SVG of many megabytes
_BINS = 60
_LOG_RATIO = 20  # of the longest to the shortest time; above it the axis is logarithmic
_PER_LINE = 2  # targets in a line of the legend


def draw(probes: Sequence[Probe], path: str, epoch: int) -> None:
    """Draw into a file with a name in .svg or .png. ``epoch``: the wall clock minus the monotonic one, nanoseconds."""
    took = [np.array([result for _, result in probe.tally.results() if result >= 0]) for probe in probes]
    everything = np.concatenate(took)
    least, most = (max(1, int(everything.min())), max(2, int(everything.max()))) if everything.size else (1, 2)
    unit, size = _unit(most)
    wide = most > _LOG_RATIO * least
    # Text stays text in an SVG.
    with mpl.rc_context({"svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 4.5), layout="constrained")
        over_time, distribution = figure.subplots(1, 2, width_ratios=(3, 1), sharey=True)
        bins = np.geomspace(least, most, _BINS) if wide else np.linspace(0, most, _BINS)
        first = min(probe.began for probe in probes)
        for place, (probe, values) in enumerate(zip(probes, took, strict=True)):
            colour = f"C{place % 10}"
            step = -(-probe.tally.asked // _MAX_POINTS) or 1
            points = [((probe.due(number) - first) / 1e9, result) for number, result in probe.tally.results()][::step]
            answered = [(when, result / size) for when, result in points if result >= 0]
            lost = [when for when, result in points if result < 0]
            label = f"{probe.target.name} ({probe.tally.received} of {probe.tally.sent})"
            over_time.plot(
                [when for when, _ in answered],
                [result for _, result in answered],
                ".",
                color=colour,
                markersize=3,
                label=label,
            )
            # Lost questions have no time, so they are drawn on the lower edge, where the layout would leave a margin.
            marks = over_time.plot(
                lost,
                [0.0] * len(lost),
                "x",
                color=colour,
                markersize=5,
                clip_on=False,
                transform=over_time.get_xaxis_transform(),
            )
            marks[0].set_in_layout(False)
            if values.size:
                distribution.hist(
                    values / size, bins=bins / size, orientation="horizontal", color=colour, histtype="step"
                )
        if wide:
            over_time.set_yscale("log")
            over_time.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            over_time.yaxis.set_minor_formatter(NullFormatter())
        else:
            over_time.set_ylim(bottom=0)
        over_time.set_xlabel("seconds since the first question (x: no right answer)")
        over_time.set_ylabel(f"answer took [{unit}]")
        over_time.yaxis.set_major_formatter("{x:g}")
        distribution.set_xlabel("answers")
        distribution.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=2))
        began = datetime.fromtimestamp((first + epoch) / 1e9, UTC)
        figure.suptitle(f"netd probe, {began:%Y-%m-%d %H:%M:%S} UTC")
        figure.legend(
            *over_time.get_legend_handles_labels(), loc="outside lower center", ncols=_PER_LINE, markerscale=3
        )
        for axes in (over_time, distribution):
            axes.grid(color="0.9")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, dpi=120)


def _unit(most: int) -> tuple[str, float]:
    if most >= 10**9:
        return "s", 1e9
    return ("ms", 1e6) if most >= 10**6 else ("us", 1e3)
