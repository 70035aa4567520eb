"""The targets of a service that forwards, as the supervisor keeps them: their rows, and what the operator said."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, get_args

from netd.services.forward.options import ForwardOptions
from netd.services.forward.state import Said, Targets, rows_for
from netd.services.forward.target import Target
from netd.shared.targets import SAID, TargetCells

_NUMBER: dict[Said, int] = {said: number for number, said in enumerate(get_args(Said))}


@dataclass(frozen=True)
class Word:
    """What the operator said of a target."""

    said: Said
    by: str
    """The command and its user."""
    at: float
    """CLOCK_MONOTONIC."""


class ServiceTargets:
    """The targets of one service. ``memory`` is their state, in which all workers can write.

    So the words of the operator are kept here, and written there for the workers.
    """

    def __init__(self, memory: TargetCells) -> None:
        self._memory = memory
        self._rows: dict[Target, int] = {}
        self._words: dict[Target, Word] = {}

    def numbers(self, targets: Iterable[Target]) -> list[int]:
        """The number of the row of each of these targets, a free one for those that have none yet."""
        targets = tuple(targets)
        self._rows = rows_for(targets, self._rows, self._memory)
        return [self._rows[target] for target in targets]

    def keep(self, targets: Iterable[Target]) -> None:
        """Forget the other targets."""
        kept = frozenset(targets)
        self._rows = {target: row for target, row in self._rows.items() if target in kept}
        self._words = {target: word for target, word in self._words.items() if target in kept}

    def said(self, target: Target) -> Word | None:
        """What the operator said of a target; None: nothing, so it is enabled."""
        return self._words.get(target)

    def say(self, target: Target, said: Said, by: str) -> bool:
        """Have this hold for the target from now on. Returns whether it did not before."""
        before = self._words.get(target)
        if (before.said if before else "enabled") == said:
            return False
        self._words.pop(target, None)
        if said != "enabled":
            self._words[target] = Word(said, by, time.monotonic())
        self.write()
        return True

    def write(self) -> None:
        """Write what the operator said into the memory: an ended worker may have written something else."""
        for target, row in self._rows.items():
            word = self._words.get(target)
            self._memory.cells[self._memory.row(row) + SAID] = _NUMBER[word.said] if word else 0

    def report(self, options: ForwardOptions, since_1970: float) -> list[dict[str, Any]]:
        """The state of each target, as `netd status` shows it. ``since_1970`` is what makes a time a Unix time."""
        now = time.monotonic()
        targets = Targets(options.to, is_checked=options.check is not None)
        targets.share(self._memory, self.numbers(options.to), 0)
        found = []
        for target, state in zip(options.to, targets.states(now), strict=True):
            word = self._words.get(target)
            since = word.at if word else state.since
            found.append(
                {
                    "target": str(target),
                    "state": word.said if word else state.condition,
                    "since": None if since is None else round(since_1970 + since, 3),
                    "why": word.by if word else state.why,
                    "connections": state.active,
                    "connections_served": state.served,
                    "failures": state.failures,
                }
            )
        return found
