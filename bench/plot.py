"""Plots: SVG from results, written directly, since it needs only bars, dots and lines. Values only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from operator import attrgetter

from bench.peers import PEERS
from bench.report import lost_share, number
from bench.results import LIMIT, Cell, Results, Spread, counts, ratio, spread
from bench.workloads import COST, WORKLOADS, Workload

_WIDTH = 760
_LEFT = 130  # for names
_RIGHT = 190  # for figures
_ROW = 26
_TOP = 64
_OURS, _LIMIT, _THEIRS = "#1f6feb", "#57606a", "#afb8c1"
_SERIES = ("#8250df", "#bf8700", "#1a7f37", "#cf222e", "#00acc1", "#bc4c00", "#e377c2", "#9e9d24", "#6d4c41", "#7986cb")
_GREY = "#8c959f"


def pictures(results: Results) -> dict[str, str]:
    """A plot for each workload that was measured, and one for all workloads of the group COST; by name."""
    drawn = {}
    for workload in WORKLOADS:
        cells = results.cells.get(workload.name)
        if cells and workload.group != COST:
            drawn[workload.name] = _delays(workload, cells) if workload.measure == "delay" else _bars(workload, cells)
    costs = [w for w in WORKLOADS if w.group == COST and w.name in results.cells]
    if len(costs) > 1:
        drawn["cost"] = _lines(results, costs)
    return drawn


def _color(peer: str) -> str:
    if peer.startswith("netd"):
        return _OURS
    return _LIMIT if peer == LIMIT else _THEIRS


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13, color: str = "#1f2328") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    halo = 'stroke="white" stroke-width="3" paint-order="stroke"'  # readable across a line
    return f'<text {place} font-size="{size}" fill="{color}" {halo}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str = "#1f2328", width: float = 1) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}" stroke-width="{width}"/>'


def _document(title: str, subtitle: str, height: float, parts: Sequence[str]) -> str:
    head = [_text(16, 26, title, size=16), _text(16, 46, subtitle, size=12, color=_GREY)]
    size = f'width="{_WIDTH}" height="{height:.0f}"'
    shape = f'{size} viewBox="0 0 {_WIDTH} {height:.0f}" font-family="system-ui, sans-serif"'
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" {shape}>', f'<rect {size} fill="white"/>', *head]
    return "\n".join([*head, *parts, "</svg>\n"])


def _bars(workload: Workload, cells: dict[str, Cell]) -> str:
    """A bar for each server: its rate as a share of the limit's, its rate, or the memory of a connection."""
    of = counts(workload)
    beside = workload.measure != "idle" and LIMIT in cells and bool(cells[LIMIT].figures)
    if workload.measure == "idle":
        shown = {peer: spread(cell, of) for peer, cell in cells.items()}
        subtitle = "octets of memory for each connection; less is better"
    elif beside:
        shown = {peer: ratio(cell, cells[LIMIT], of) for peer, cell in cells.items()}
        subtitle = f"rate beside that of {LIMIT}: median, least and greatest of the rounds; more is better"
    else:
        shown = {peer: spread(cell, of) for peer, cell in cells.items()}
        unit = "a second of the server's processor time" if workload.measure == "cost" else "a second"
        subtitle = f"{unit}: median, least and greatest of the rounds; more is better"
    greatest = max((one.most for one in shown.values() if one), default=1) or 1
    across = (_WIDTH - _LEFT - _RIGHT) / greatest
    height = _TOP + len(shown) * _ROW + 14
    parts = [_line(_LEFT, _TOP - 2, _LEFT, height - 12)]
    if beside:
        parts.append(_line(_LEFT + across, _TOP - 2, _LEFT + across, height - 12, _GREY, 0.7))
    for row, (peer, one) in enumerate(shown.items()):
        y = _TOP + row * _ROW
        parts.append(_text(_LEFT - 8, y + 16, peer, anchor="end"))
        parts += _bar(y, across, one, _color(peer)) if one else [_text(_LEFT + 4, y + 16, "failed", color=_GREY)]
    return _document(workload.title, subtitle, height, parts)


def _bar(y: float, across: float, one: Spread, color: str) -> list[str]:
    end, least, most = (_LEFT + max(0.0, x) * across for x in (one.median, one.least, one.most))
    drawn = [f'<rect x="{_LEFT}" y="{y + 3}" width="{end - _LEFT:.1f}" height="{_ROW - 8}" fill="{color}"/>']
    if one.least != one.most:
        drawn += [
            _line(least, y + 12, most, y + 12),
            _line(least, y + 8, least, y + 16),
            _line(most, y + 8, most, y + 16),
        ]
    text = (
        number(one.median)
        if one.least == one.most
        else f"{number(one.median)} ({number(one.least)} to {number(one.most)})"
    )
    return [*drawn, _text(max(end, most) + 6, y + 16, text, size=12)]


@dataclass(frozen=True)
class _Scale:
    """A logarithmic scale: from a value to a coordinate."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (math.log10(max(value, self.low)) - math.log10(self.low)) / (
            math.log10(self.high) - math.log10(self.low)
        )
        return self.start + share * (self.end - self.start)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> "_Scale":
        """A scale of whole decades around these values."""
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        return cls(10.0**low, 10.0 ** max(high, low + 1), start, end)


def _delays(workload: Workload, cells: dict[str, Cell]) -> str:
    """A line for each server from the median to the 99.9th percentile, on a logarithmic scale."""
    fields = ("p50", "p99", "p999")
    found = {
        peer: [one.median for name in fields if (one := spread(cell, attrgetter(name)))] for peer, cell in cells.items()
    }
    values = [value for of_one in found.values() for value in of_one if value > 0]
    end = _WIDTH - 270  # the space right of it is for figures
    scale = _Scale.over(values or [1, 10], _LEFT, end)
    height = _TOP + len(found) * _ROW + 30
    parts = []
    for decade in scale.decades():
        parts.append(_line(scale(decade), _TOP - 2, scale(decade), height - 28, "#d1d9e0", 0.7))
        parts.append(_text(scale(decade), height - 12, f"{decade:,.0f} us", anchor="middle", size=11, color=_GREY))
    for row, (peer, percentiles) in enumerate(found.items()):
        y = _TOP + row * _ROW + 11
        parts.append(_text(_LEFT - 8, y + 5, peer, anchor="end"))
        if not percentiles:
            parts.append(_text(_LEFT + 4, y + 5, "failed", color=_GREY))
            continue
        parts.append(_line(scale(percentiles[0]), y, scale(percentiles[-1]), y, _color(peer), 3))
        parts += [f'<circle cx="{scale(value):.1f}" cy="{y}" r="5" fill="{_color(peer)}"/>' for value in percentiles]
        text = " / ".join(number(value) for value in percentiles)
        lost = spread(cells[peer], lost_share)
        if lost and lost.median >= 0.001:
            text += f", {lost.median:.0%} lost"
        parts.append(_text(end + 16, y + 5, text, size=12))
    subtitle = "time of an answer from when its request was due: p50, p99, p99.9; less is better"
    return _document(workload.title, subtitle, height, parts)


def _lines(results: Results, workloads: Sequence[Workload]) -> str:
    """A curve for each server over the number of connections."""
    top, bottom, left, right = _TOP + 6, 400.0, 80.0, _WIDTH - 150.0
    series: dict[str, list[tuple[int, float]]] = {}
    for peer in [peer.name for peer in PEERS]:
        for workload in workloads:
            cell = results.cells[workload.name].get(peer)
            if cell and (one := spread(cell, counts(workload))):
                series.setdefault(peer, []).append((workload.connections, one.median))
    greatest = max((value for points in series.values() for _, value in points), default=1.0)
    step = _step(greatest)
    ceiling = math.ceil(greatest / step) * step
    across = _Scale.over([workload.connections for workload in workloads], left, right)
    parts = []
    for tick in range(round(ceiling / step) + 1):
        y = bottom - (bottom - top) * tick * step / ceiling
        parts += [
            _line(left, y, right, y, "#d1d9e0", 0.7),
            _text(left - 8, y + 4, f"{tick * step:,.0f}", anchor="end", size=11, color=_GREY),
        ]
    for decade in across.decades():
        parts.append(_text(across(decade), bottom + 18, f"{decade:,.0f}", anchor="middle", size=11, color=_GREY))
    parts.append(_text((left + right) / 2, bottom + 38, "connections", anchor="middle", size=12, color=_GREY))
    others = [peer for peer in series if _color(peer) == _THEIRS]
    for row, (peer, points) in enumerate(series.items()):
        color = _SERIES[others.index(peer) % len(_SERIES)] if peer in others else _color(peer)
        places = [(across(x), bottom - (bottom - top) * y / ceiling) for x, y in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dashes = ' stroke-dasharray="6 4"' if peer.startswith("netd ") else ""
        stroke = f'fill="none" stroke="{color}" stroke-width="{3 if color == _OURS else 1.5}"{dashes}'
        parts.append(f'<path d="M{path}" {stroke}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
        y = top + 8 + 20 * row
        parts += [f'<path d="M{right + 20} {y}h24" {stroke}/>', _text(right + 52, y + 4, peer, size=12)]
    subtitle = "answers for a second of the server's processor time; more is better"
    return _document("TCP 64 B, by connections", subtitle, bottom + 52, parts)


def _step(greatest: float) -> float:
    """A round number, of which about five multiples reach the greatest value."""
    power: float = 10.0 ** math.floor(math.log10(greatest))
    return next(power * part for part in (0.1, 0.2, 0.25, 0.5, 1, 2) if greatest / (power * part) <= 6)
