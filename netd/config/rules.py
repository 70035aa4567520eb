"""The access rules of a config: with account numbers, merged with the defaults, and compiled once for all processes."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from netd import accounts
from netd.admission.access import AccessRules
from netd.admission.access_memory import AccessPlace, AccessTables
from netd.config.bounds import CERTIFICATE_RULES, RULES, TIMES, Bound
from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.tls.options import TlsOptions
from netd.values import Model

M = TypeVar("M", bound=Model)

Within = Callable[[Bound, int], bool]
"""Counts so many more of something, and returns whether the bound holds."""


def resolve_accounts(rules: AccessRules, add_problem: Callable[[str, int, str], None]) -> AccessRules:
    """The rules with numbers for the names of users and groups, since a worker may be unable to look them up.

    ``add_problem`` is called for each unknown name, with its key, its position and a message.
    """
    found: dict[str, Any] = {}
    for key in ("allow", "deny"):
        entries = list(getattr(rules, key))
        for number, entry in enumerate(entries):
            if entry.kind:
                try:
                    entries[number] = entry.numbered(accounts.find_id)
                except ValueError as error:
                    add_problem(key, number, str(error))
        if key in rules.model_fields_set:
            found[key] = tuple(entries)
    return rules.model_copy(update=found)


class RuleSets:
    """The compiled rules of all services. Keys that a service does not give are those of ``defaults``."""

    def __init__(self, defaults: AccessRules) -> None:
        self.tables = AccessTables()
        self._defaults = defaults
        self._places: dict[object, AccessPlace] = {}

    def add(self, own: AccessRules, within: Within) -> AccessPlace:
        """Compile the rules of a service, given its own ones; return their place in the tables.

        Equal rule sets, such as the defaults, are compiled and counted once. Above a bound, the set is empty.
        """
        key = frozenset((name, tuple(entry.text for entry in getattr(own, name))) for name in own.model_fields_set)
        place = self._places.get(key)
        if place is None:
            rules = self.merged(own)
            for bound, number in (
                (RULES, len(rules.allow) + len(rules.deny)),
                (TIMES, len(rules.times)),
                (CERTIFICATE_RULES, sum(bool(entry.certificate) for entry in rules.allow)),
            ):
                if not within(bound, number):
                    rules = AccessRules()
                    break
            place = self._places[key] = self.tables.add(rules)
        return place

    def merged(self, own: AccessRules) -> AccessRules:
        """The rules of a service, given its own ones."""
        return merge(self._defaults, own)


def merge(base: M, own: M) -> M:
    """The keys that are given in ``own``, and the other ones from ``base``."""
    return base.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})


def certificate_findings(rules: AccessRules, listen: tuple[Endpoint, ...], tls: TlsOptions) -> Iterator[Finding]:
    """Why the certificate rules of a service cannot hold, given its endpoints and its options of TLS."""
    found = next((number for number, entry in enumerate(rules.allow) if entry.certificate), None)
    if found is None or not listen:  # of one without endpoints, tcpmux is asked (`netd.config.tcpmux`)
        return
    rule = rules.allow[found].text
    for number, endpoint in enumerate(listen):
        if endpoint.transport != "tls":
            message = f"access.allow has {rule}, and a peer over {endpoint.transport}:// has no certificate"
            hint = "listen on tls://, give this endpoint to a service of its own, or set access.allow without it"
            yield Finding(("listen", number), message, hint)
            return
    if tls.client == "none" or not tls.client_ca:
        hint = "set tls.client_ca to the file of their authority, and tls.client to required"
        yield Finding(("access", "allow", found), f"{rule} needs clients with certificates", hint)
