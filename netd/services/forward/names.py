"""The addresses of the targets that are names: resolved in another thread, used for a while, and kept if that fails."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from netd.contract import Resolve

Addresses: TypeAlias = tuple[str, ...]
Then: TypeAlias = Callable[[Addresses], object]

_WITHOUT = 5.0  # seconds until a name without an address is resolved again: netd may start before its name server


class NameEvents(Protocol):
    """What is told about names, once each time that it changes."""

    def name_failed(self, name: str, error: str, /) -> None:
        """A name cannot be resolved. Its old addresses are used, if there are some."""

    def name_resolved(self, name: str, /) -> None:
        """A name can be resolved again."""


@dataclass(slots=True)
class _Name:
    addresses: Addresses = ()
    """The last ones that were found, in the order of RFC 6724."""
    until: float = 0.0
    """When it is resolved again."""
    is_asked: bool = False
    is_failing: bool = False
    waiting: list[Then] = field(default_factory=list)


class Names:
    """Resolves names with ``resolve``, each at most once in so many seconds, and only when it is asked for.

    A name that has no address at all is resolved again after five seconds, if that is sooner. Times are those of the
    loop, in the thread of which everything is called.
    """

    def __init__(self, resolve: Resolve, every: float) -> None:
        self._resolve = resolve
        self._every = every
        self._names: dict[str, _Name] = {}

    def take_over(self, before: "Names", names: frozenset[str]) -> None:
        """Begin with the addresses that another object has found for these names."""
        for name in names & before._names.keys():
            old = before._names[name]
            self._names[name] = _Name(old.addresses, old.until, is_failing=old.is_failing)

    def addresses(self, name: str, now: float, events: NameEvents, then: Then) -> Addresses | None:
        """The addresses of a name, maybe some that are old; or None, and ``then`` is called once they are known.

        It gets none where the name cannot be resolved.
        """
        one = self._names.setdefault(name, _Name())
        if now >= one.until and not one.is_asked:
            one.is_asked = True
            self._resolve(name, lambda addresses, error: self._on_answer(one, name, now, events, addresses, error))
        if one.addresses:
            return one.addresses
        if not one.is_asked:
            return ()  # it has failed a moment ago
        one.waiting.append(then)
        return None

    def _on_answer(
        self, one: _Name, name: str, asked: float, events: NameEvents, addresses: Addresses, error: str
    ) -> None:
        one.is_asked = False
        if addresses:
            one.addresses = addresses
        one.until = asked + (self._every if one.addresses else min(self._every, _WITHOUT))
        if one.is_failing != (not addresses):
            one.is_failing = not addresses
            if addresses:
                events.name_resolved(name)
            else:
                events.name_failed(name, error)
        waiting, one.waiting = one.waiting, []
        for then in waiting:
            then(one.addresses)
