"""The state of targets: which can be reached, and how many connections each has. Pure.

A target that fails rests: 1 second at first, and twice as long after each further failure, up to 30 seconds. Then one
connection tries it, while it goes on resting for all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from netd.services.forward.target import Target

FIRST_REST = 1.0
"""Seconds that a target rests after its first failure."""
LONGEST_REST = 30.0
"""Seconds that it rests at most."""


@dataclass(slots=True)
class TargetState:
    """The state of one target."""

    active: int = 0
    """Its connections or sessions."""
    rest: float = 0.0
    """How long it has to rest since its last failure, in seconds."""
    rests_until: float = 0.0
    is_tried: bool = False
    """Whether a connection tries it after a rest."""
    why: str = ""
    """The reason of the last failure; empty if it can be reached, as far as is known."""


class Targets:
    """The targets of a service, by number, as one process sees them. Times are those of the loop."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = tuple(targets)
        self.states = [TargetState() for _ in targets]

    def take_over(self, before: "Targets") -> None:
        """Continue with the states of the same targets in another object, the connections of which count on."""
        known = dict(zip(before.targets, before.states, strict=True))
        self.states = [known.get(target, state) for target, state in zip(self.targets, self.states, strict=True)]

    def usable(self, now: float, numbers: Sequence[int]) -> list[int]:
        """Those of these targets that do not rest."""
        states = self.states
        return [number for number in numbers if states[number].rests_until <= now]

    def resting(self, now: float, numbers: Sequence[int]) -> list[int]:
        """Those of these targets that rest, in the order in which their rests end."""
        found = [number for number in numbers if self.states[number].rests_until > now]
        return sorted(found, key=lambda number: self.states[number].rests_until)

    def trying(self, number: int, now: float, seconds: float) -> None:
        """A connection tries this target, which takes at most so many seconds. If it has failed before, others wait."""
        state = self.states[number]
        if state.why and state.rests_until <= now:
            state.rests_until = now + seconds
            state.is_tried = True

    def succeeded(self, number: int) -> bool:
        """It can be reached. Returns whether it could not before."""
        state = self.states[number]
        if not state.why:
            return False
        state.rest, state.rests_until, state.is_tried, state.why = 0.0, 0.0, False, ""
        return True

    def failed(self, number: int, why: str, now: float) -> bool:
        """It could not be reached. Returns whether it could before."""
        state = self.states[number]
        if state.why and not state.is_tried:
            return False  # a connection that began before it rested
        is_first = not state.why
        state.rest = min(2 * state.rest, LONGEST_REST) or FIRST_REST
        state.rests_until = now + state.rest
        state.is_tried, state.why = False, why
        return is_first

    def opened(self, number: int) -> None:
        """It has one connection more."""
        self.states[number].active += 1

    def closed(self, number: int) -> None:
        """It has one connection less."""
        self.states[number].active -= 1
