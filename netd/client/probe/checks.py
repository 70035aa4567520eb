"""Thresholds, and what a monitoring system is told: a state with its exit code, one line, and performance data.

The format is that of the Nagios plugin guidelines, which Icinga, Naemon, Sensu and others read too. Only values.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from netd.client.probe.figures import Summary, readable
from netd.client.probe.outcomes import Outcome
from netd.text import shown, suggestion
from netd.values import parse_duration


class State(IntEnum):
    """What a check comes to; the number is its exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


FIGURES: Mapping[str, Callable[[Summary], float | None]] = {
    "rtt": lambda summary: summary.rtt.median,
    "mean": lambda summary: summary.rtt.mean,
    "p90": lambda summary: summary.rtt.p90,
    "p99": lambda summary: summary.rtt.p99,
    "max": lambda summary: summary.rtt.max,
    "jitter": lambda summary: summary.rtt.jitter,
    "connect": lambda summary: summary.connect.median,
    "offset": lambda summary: None if summary.offset is None else abs(summary.offset),
    "loss": lambda summary: summary.loss,
}
_TOLD = ("rtt", "p99", "jitter", "connect", "offset", "loss")  # in performance data, whether asked for or not

Thresholds = Mapping[str, float]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)
_WORST = (State.OK, State.WARNING, State.UNKNOWN, State.CRITICAL)


def parse_thresholds(text: str) -> Thresholds:
    """``rtt=5ms,loss=1%``: each figure with what it may be at most; ValueError says what is wrong."""
    found: dict[str, float] = {}
    for item in text.split(","):
        name, equals, value = item.strip().partition("=")
        if name not in FIGURES:
            raise ValueError(f"unknown figure {shown(name)}{suggestion(name, FIGURES)}")
        if not equals or name in found:
            raise ValueError(f"{name} is given " + ("twice" if name in found else "without a value"))
        found[name] = _parse_loss(value) if name == "loss" else parse_duration(value)
    return found


def _parse_loss(value: str) -> float:
    match = _PERCENT.fullmatch(value)
    if not match or float(match[1]) > 100:
        raise ValueError(f"expected a loss such as 1%, got {shown(value)}")
    return float(match[1]) / 100


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the thresholds say of one target."""

    target: str
    state: State
    text: str
    data: tuple[str, ...]
    """``label=value[unit];[warn];[crit];[min];[max]``, for what was measured."""


def judge(summary: Summary, warn: Thresholds, crit: Thresholds) -> Verdict:
    """Hold a target against the thresholds. One that does not answer at all is critical whatever they are.

    Wrong answers are worth a warning, and a figure that was asked for and cannot be told makes the state unknown.
    """
    state, complaints = State.OK, []
    for name, figure in FIGURES.items():
        value = figure(summary)
        if value is None and summary.received and (name in crit or name in warn):
            state = _worse(state, State.UNKNOWN)
            complaints.append(f"{name} cannot be told of these answers")
        for level, thresholds in ((State.CRITICAL, crit), (State.WARNING, warn)):
            if value is not None and name in thresholds and value > thresholds[name]:
                state = _worse(state, level)
                complaints.append(f"{name} {_shown(name, value)} is above {_shown(name, thresholds[name])}")
                break
    if summary.corrupted:
        state = _worse(state, State.WARNING)
        complaints.append(f"{summary.corrupted} wrong answers")
    if not summary.received:
        unresolved = summary.losses[Outcome.UNRESOLVED.word] > 0
        state = State.UNKNOWN if unresolved or not summary.sent else State.CRITICAL
        reasons = [f"{word}: {reason}" for word, reason in summary.reasons.items()]
        complaints = [f"no right answer to {summary.sent} questions", *reasons]
    told = [
        f"{name} {_shown(name, value)}" for name in ("rtt", "loss") if (value := FIGURES[name](summary)) is not None
    ]
    return Verdict(summary.target, state, ", ".join(complaints or told), _data(summary, warn, crit))


def _worse(one: State, other: State) -> State:
    return max(one, other, key=_WORST.index)


def _shown(name: str, value: float) -> str:
    return f"{value * 100:g} %" if name == "loss" else readable(value)


def _data(summary: Summary, warn: Thresholds, crit: Thresholds) -> tuple[str, ...]:
    items = []
    for name, figure in FIGURES.items():
        value = figure(summary)
        if value is None or not (name in _TOLD or name in warn or name in crit):
            continue
        unit, scale, most = ("%", 100.0, "100") if name == "loss" else ("s", 1.0, "")
        limits = [_number(levels[name] * scale) if name in levels else "" for levels in (warn, crit)]
        items.append(f"{name}={_number(value * scale)}{unit};{';'.join(limits)};0;{most}")
    items.append(f"wrong={summary.corrupted};;;0;")
    return tuple(items)


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def report(verdicts: Sequence[Verdict]) -> tuple[State, str]:
    """The state of the worst, and the text: one line, and where there are several targets one more for each."""
    worst = max(verdicts, key=lambda verdict: _WORST.index(verdict.state))
    if len(verdicts) == 1:
        return worst.state, _line(f"PROBE {worst.state.name}", f"{worst.target} {worst.text}", worst.data)
    bad = [verdict for verdict in verdicts if verdict.state]
    head = f"{len(bad)} of {len(verdicts)} targets: {worst.target} {worst.text}" if bad else f"{len(verdicts)} targets"
    data = []
    for verdict in verdicts:
        items = [item.partition("=") for item in verdict.data]
        data += [f"'{_label(verdict.target)} {name}'={value}" for name, _, value in items]
    lines = [f"{verdict.state.name}: {verdict.target} {verdict.text}" for verdict in verdicts]
    first = _line(f"PROBE {worst.state.name}", head, data)
    return worst.state, "\n".join([first, *map(_clean, lines)])


def unknown(reason: str) -> str:
    """The text of a check that nothing came of."""
    return _line(f"PROBE {State.UNKNOWN.name}", reason, ())


def _line(head: str, text: str, data: Sequence[str]) -> str:
    return f"{head} - {_clean(text)}" + (f" | {' '.join(data)}" if data else "")


def _clean(text: str) -> str:
    return text.replace("|", "/")  # what stands behind it would be taken for data


def _label(target: str) -> str:
    """A target in a label, which stands in quotes for its blank, and which an equals sign would end."""
    return _clean(target).replace("=", "-").replace("'", "''")
