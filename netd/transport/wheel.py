"""A timer wheel: many coarse time-outs, cheap to set, to move and to drop. Pure; it is told the time."""

import math
from typing import Protocol

TICK = 0.1
"""Seconds per slot: a time-out comes at most this much late, never early."""


class Timed(Protocol):
    """Something with one time-out."""

    slot: int
    """Where it stands on the wheel; the wheel's to write."""

    def expire(self, now: float) -> float | None:
        """Its time has come. Returns when to call again, or None for never."""


class Wheel:
    """Slots of `TICK` seconds, each with the things to call then. Holds nothing for a thing that was dropped."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self.due = math.inf
        """No time-out comes before this moment."""

    def add(self, thing: Timed, when: float) -> None:
        """Call ``thing.expire`` at ``when``. It must not be on the wheel already."""
        slot = thing.slot = math.ceil(when / TICK)
        members = self._slots.get(slot)
        if members is None:
            self._slots[slot] = {thing}
            self.due = min(self.due, slot * TICK)
        else:
            members.add(thing)

    def drop(self, thing: Timed) -> None:
        """Forget its time-out, if it has one."""
        members = self._slots.get(thing.slot)
        if members is not None:
            members.discard(thing)
            if not members:
                del self._slots[thing.slot]
                if not self._slots:
                    self.due = math.inf

    def advance(self, now: float) -> None:
        """Call what is due at ``now``."""
        for slot in sorted(slot for slot in self._slots if slot * TICK <= now):
            # The set stays in its place meanwhile, since one thing's end may drop another of the same slot.
            members = self._slots.get(slot, set())
            while members:
                thing = members.pop()
                if (again := thing.expire(now)) is not None:
                    self.add(thing, max(again, now + TICK))
            self._slots.pop(slot, None)
        self.due = min(self._slots) * TICK if self._slots else math.inf
