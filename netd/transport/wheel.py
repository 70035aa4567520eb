"""A timer wheel: many coarse time-outs, cheap to set, to move and to drop. Pure: the caller passes the time."""

import math
from typing import Protocol

TICK = 0.1
"""Seconds per slot: a time-out expires at most this much late, never early."""


class Timed(Protocol):
    """An object with one time-out."""

    slot: int
    """Its slot on the wheel, written by the wheel."""

    def expire(self, now: float) -> float | None:
        """Called when the time-out expires. Returns the time of the next call, or None for none."""


class Wheel:
    """Slots of `TICK` seconds, each with the timers that expire in it. A dropped timer takes no memory."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self.due = math.inf
        """No time-out expires before this time; infinite while there is none."""

    def add(self, timer: Timed, when: float) -> None:
        """Call ``timer.expire`` at ``when``. It must not be on the wheel already."""
        slot = timer.slot = math.ceil(when / TICK)
        members = self._slots.get(slot)
        if members is None:
            self._slots[slot] = {timer}
            self.due = min(self.due, slot * TICK)
        else:
            members.add(timer)

    def drop(self, timer: Timed) -> None:
        """Remove its time-out, if it has one."""
        members = self._slots.get(timer.slot)
        if members is not None:
            members.discard(timer)
            if not members:
                del self._slots[timer.slot]
                if not self._slots:
                    self.due = math.inf

    def advance(self, now: float) -> None:
        """Call `expire` of all timers that are due at ``now``."""
        for slot in sorted(slot for slot in self._slots if slot * TICK <= now):
            # The set stays in its slot meanwhile, since one timer may drop another of the same slot.
            members = self._slots.get(slot, set())
            while members:
                timer = members.pop()
                if (again := timer.expire(now)) is not None:
                    self.add(timer, max(again, now + TICK))
            self._slots.pop(slot, None)
        self.due = min(self._slots) * TICK if self._slots else math.inf
