"""The access rules of a config: looked up, put over the defaults, bounded, and compiled once for all processes."""

from collections.abc import Callable
from typing import Any, TypeVar

from netd import accounts
from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessPlace, AccessTables
from netd.config.bounds import RULES, TIMES, Bound
from netd.values import Model

M = TypeVar("M", bound=Model)

Room = Callable[[Bound, int], bool]
"""Whether a config may have so many more of something."""


def numbered(rules: AccessRules, note: Callable[[str, int, str], None]) -> AccessRules:
    """The rules with numbers for names of users and groups, which a worker may not be able to look up.

    ``note`` hears the key and position of a name that there is not, and why.
    """
    found: dict[str, Any] = {}
    for key in ("allow", "deny"):
        entries = list(getattr(rules, key))
        for number, entry in enumerate(entries):
            if entry.kind:
                try:
                    entries[number] = entry.numbered(accounts.find_id)
                except ValueError as error:
                    note(key, number, str(error))
        if key in rules.model_fields_set:
            found[key] = tuple(entries)
    return rules.model_copy(update=found)


class RuleBook:
    """The rules of all services. What a service has none of is that of ``defaults``."""

    def __init__(self, defaults: AccessRules) -> None:
        self.tables = AccessTables()
        self._defaults = defaults
        self._places: dict[object, AccessPlace] = {}

    def place(self, own: AccessRules, room: Room) -> AccessPlace:
        """Where the rules of a service with these of its own are to be found; where there is no room, they are none.

        What many services have in common, such as the defaults, is compiled and counted once.
        """
        key = frozenset((name, tuple(entry.text for entry in getattr(own, name))) for name in own.model_fields_set)
        place = self._places.get(key)
        if place is None:
            rules = layered(self._defaults, own)
            if not room(RULES, len(rules.allow) + len(rules.deny)) or not room(TIMES, len(rules.times)):
                rules = AccessRules()
            place = self._places[key] = self.tables.add(rules)
        return place


def layered(base: M, own: M) -> M:
    """What is given in ``own``, and the rest from ``base``."""
    return base.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
