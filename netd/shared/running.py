"""Which code of services runs in a worker now, and for which peer, in memory that outlives the worker.

A worker writes a record before it calls code of others, and clears it after that. When the worker has died, the
supervisor reads what is left. A worker under an attacker's control may write anything there.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from netd.shared.memory import SharedMemory

_SLOTS = 64
"""One for the loop, and one for each of so many threads and tasks; of others nothing is known."""
_SLOT = 128  # octets of a slot: the length of the name, and the name; the length of the source, and the source
_LONGEST_NAME = 64  # octets of the name of a service
_LONGEST_SOURCE = _SLOT - _LONGEST_NAME - 2


class Running(NamedTuple):
    """Code that was running."""

    service: str
    source: str
    """The address of the peer; empty: it served none."""
    in_loop: bool


@lru_cache(1024)
def record(service: str, source: str) -> bytes:
    """What a slot has while the code of this service serves this source."""
    return _counted(service, _LONGEST_NAME) + _counted(source, _LONGEST_SOURCE)


def _counted(text: str, most: int) -> bytes:
    octets = text.encode("ascii", "replace")[:most]
    return bytes((len(octets),)) + octets


class RunningMemory(SharedMemory):
    """The memory of one worker. ``descriptor`` refers to that of another process; without it, new memory is made.

    ``thread`` returns the number of the thread that calls it. A worker makes the object in the thread of the loop.
    """

    def __init__(self, descriptor: int | None = None, thread: Callable[[], int] = lambda: 0) -> None:
        super().__init__("netd-running", _SLOTS * _SLOT, descriptor)
        self._thread = thread
        self._loop = thread()
        self._free = list(range(1, _SLOTS))

    def enter(self, what: bytes) -> int:
        """Code with this `record` runs from now on. Returns what `leave` takes."""
        slot = 0
        if self._thread() != self._loop:
            try:
                slot = self._free.pop()
            except IndexError:
                return -1
        start = slot * _SLOT
        self.octets[start : start + len(what)] = what
        return slot

    def leave(self, slot: int) -> None:
        """The code has returned."""
        if slot >= 0:
            self.octets[slot * _SLOT] = 0
            if slot:
                self._free.append(slot)

    def read(self) -> list[Running]:
        """What runs, or ran when the worker died. The texts are printable; any worker can write any of them."""
        found = []
        for slot in range(_SLOTS):
            service, rest = _text(bytes(self.octets[slot * _SLOT : (slot + 1) * _SLOT]))
            if service:
                found.append(Running(service, _text(rest)[0], in_loop=slot == 0))
        return found


def _text(octets: bytes) -> tuple[str, bytes]:
    """The text at the beginning, and what follows it."""
    length = octets[0] if octets else 0
    text = octets[1 : 1 + length].decode("ascii", "replace")
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text), octets[1 + length :]
