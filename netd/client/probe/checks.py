"""Thresholds, and the output for monitoring systems: a state with its exit code, one line, and performance data.

The format is that of the Nagios plugin guidelines, which Icinga, Naemon, Sensu and others read too. Values only.
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
    """The result of a check; the number is the exit code."""

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
    "handshake": lambda summary: summary.handshake.median,
    "offset": lambda summary: None if summary.offset is None else abs(summary.offset),
    "loss": lambda summary: summary.loss,
}
_ALWAYS_REPORTED = (
    "rtt",
    "p99",
    "jitter",
    "connect",
    "handshake",
    "offset",
    "loss",
)  # in performance data, also without a limit

Thresholds = Mapping[str, float]

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%", re.ASCII)
_WORST = (State.OK, State.WARNING, State.UNKNOWN, State.CRITICAL)


def parse_thresholds(text: str) -> Thresholds:
    """Parse ``rtt=5ms,loss=1%``: the highest allowed value of each figure. Raises ValueError."""
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
    """The result for one target."""

    target: str
    state: State
    text: str
    data: tuple[str, ...]
    """``label=value[unit];[warn];[crit];[min];[max]`` of each figure that was measured."""


def evaluate(summary: Summary, warn: Thresholds, crit: Thresholds) -> Verdict:
    """Compare a target with the thresholds. A target without any answer is critical, whatever they are.

    Wrong answers are a warning. A figure that has a threshold and was not measured makes the state unknown.
    """
    state, problems = State.OK, []
    for name, figure in FIGURES.items():
        value = figure(summary)
        if value is None and summary.received and (name in crit or name in warn):
            state = _worse(state, State.UNKNOWN)
            problems.append(f"{name} is not in these answers")
        for level, thresholds in ((State.CRITICAL, crit), (State.WARNING, warn)):
            if value is not None and name in thresholds and value > thresholds[name]:
                state = _worse(state, level)
                problems.append(f"{name} {_shown(name, value)} is above {_shown(name, thresholds[name])}")
                break
    if summary.corrupted:
        state = _worse(state, State.WARNING)
        problems.append(f"{summary.corrupted} wrong answers: {summary.wrong}")
    if not summary.received:
        unresolved = summary.losses[Outcome.UNRESOLVED.word] > 0
        state = State.UNKNOWN if unresolved or not summary.sent else State.CRITICAL
        reasons = [f"{word}: {reason}" for word, reason in summary.reasons.items()]
        problems = [f"no right answer to {summary.sent} questions", *reasons]
    measured = [
        f"{name} {_shown(name, value)}" for name in ("rtt", "loss") if (value := FIGURES[name](summary)) is not None
    ]
    return Verdict(summary.target, state, ", ".join(problems or measured), _data(summary, warn, crit))


def _worse(one: State, other: State) -> State:
    return max(one, other, key=_WORST.index)


def _shown(name: str, value: float) -> str:
    return f"{value * 100:g} %" if name == "loss" else readable(value)


def _data(summary: Summary, warn: Thresholds, crit: Thresholds) -> tuple[str, ...]:
    items = []
    for name, figure in FIGURES.items():
        value = figure(summary)
        if value is None or not (name in _ALWAYS_REPORTED or name in warn or name in crit):
            continue
        unit, scale, most = ("%", 100.0, "100") if name == "loss" else ("s", 1.0, "")
        limits = [_number(levels[name] * scale) if name in levels else "" for levels in (warn, crit)]
        items.append(f"{name}={_number(value * scale)}{unit};{';'.join(limits)};0;{most}")
    items.append(f"wrong={summary.corrupted};;;0;")
    return tuple(items)


def _number(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")


def report(verdicts: Sequence[Verdict]) -> tuple[State, str]:
    """The state of the worst target, and the text: one line, and with several targets one more line for each."""
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
    """The text of a check that could not run."""
    return _line(f"PROBE {State.UNKNOWN.name}", reason, ())


def _line(head: str, text: str, data: Sequence[str]) -> str:
    return f"{head} - {_clean(text)}" + (f" | {' '.join(data)}" if data else "")


def _clean(text: str) -> str:
    return text.replace("|", "/")  # performance data begins at the first ``|``


def _label(target: str) -> str:
    """A target as part of a quoted label: a ``=`` would end the label, a quote is doubled."""
    return _clean(target).replace("=", "-").replace("'", "''")
