"""The access rules of a config: account numbers, defaults, bounds, and equal rule sets."""

from netd.admission.access import AccessRules
from netd.config.bounds import CERTIFICATE_RULES, RULES, TIMES, Bound
from netd.config.rules import RuleSets, merge, resolve_accounts


def rules(**given: list[str]) -> AccessRules:
    return AccessRules.model_validate(given)


def unbounded(bound: Bound, number: int) -> bool:
    return True


def test_own_keys_override_the_defaults() -> None:
    merged = merge(rules(allow=["10.0.0.0/8"], deny=["any"]), rules(allow=[], times=["08:00-09:00"]))
    assert merged.allow == ()
    assert [entry.text for entry in merged.deny] == ["any"]
    assert [hours.text for hours in merged.times] == ["08:00-09:00"]


def test_names_of_accounts_become_numbers_and_unknown_ones_are_problems() -> None:
    problems: list[tuple[str, int, str]] = []
    given = rules(allow=["local", "uid:root", "gid:no-such"], deny=["uid:no-such", "gid:root", "uid:7"])
    resolved = resolve_accounts(given, lambda *problem: problems.append(problem))
    assert [entry.account for entry in resolved.allow] == ["", "0", "no-such"]
    assert [entry.account for entry in resolved.deny] == ["no-such", "0", "7"]
    assert problems == [
        ("allow", 2, "there is no group 'no-such'"),
        ("deny", 0, "there is no user 'no-such'"),
    ]


def test_key_that_is_not_given_stays_that_of_the_defaults() -> None:
    resolved = resolve_accounts(rules(deny=["any"]), lambda *problem: None)
    assert resolved.model_fields_set == {"deny"}


def test_equal_rule_sets_are_compiled_and_counted_once() -> None:
    counted: list[tuple[Bound, int]] = []

    def within(bound: Bound, number: int) -> bool:
        counted.append((bound, number))
        return True

    sets = RuleSets(rules(deny=["10.0.0.0/8", "192.0.2.0/24"]))
    first, second = (sets.add(rules(), within) for _ in range(2))
    assert first is second
    assert counted == [(RULES, 2), (TIMES, 0), (CERTIFICATE_RULES, 0)]
    other = sets.add(rules(times=["08:00-09:00"]), within)
    assert counted[3:] == [(RULES, 2), (TIMES, 1), (CERTIFICATE_RULES, 0)]
    sets.tables.seal()
    assert first.read().rules == {"allow": [], "deny": ["10.0.0.0/8", "192.0.2.0/24"], "times": []}
    assert other.read().rules == {**first.read().rules, "times": ["08:00-09:00"]}


def test_rule_set_above_a_bound_is_empty() -> None:
    for bound in (RULES, TIMES):
        sets = RuleSets(AccessRules())
        place = sets.add(rules(deny=["any"]), lambda exceeded, number, bound=bound: exceeded is not bound)  # type: ignore[misc]
        sets.tables.seal()
        assert place.read().rules == {"allow": [], "deny": [], "times": []}


def test_gid_rules_are_noted_in_the_place() -> None:
    sets = RuleSets(AccessRules())
    assert sets.add(rules(deny=["gid:0"]), unbounded).asks_groups
    assert not sets.add(rules(deny=["uid:0"]), unbounded).asks_groups
