"""Access rules as a table: the same rulings as a linear search, and no work for each rule when it is loaded."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import parse_address
from netd.admission.access import AccessRules, Entry
from netd.admission.access_table import Access, Ruling, compile_rules
from netd.admission.addresses import ANY, LOCAL


def rules(**given: list[str]) -> AccessRules:
    return AccessRules.model_validate(given)


def many(number: int) -> AccessRules:
    return rules(
        deny=[f"10.{n >> 8}.{n & 255}.0/24" for n in range(number)] + [f"2001:db8:{n:x}::/48" for n in range(number)]
    )


_BITS = st.sampled_from(["0", "1", "127", "128", "255"])
_ENTRIES = st.one_of(
    st.sampled_from(
        ["any", "local", "10.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "2001:db8::/32", "2001:db8::1", "::/1"]
    ),
    st.sampled_from(["uid:0", "uid:1000", "uid:99999999999", "gid:27", "gid:1000", "gid:99999999999"]),
    st.builds("{}.{}.0.0/16".format, _BITS, _BITS),
    st.builds("{}.{}.{}.{}".format, _BITS, _BITS, _BITS, _BITS),
)
_RULES = st.fixed_dictionaries(
    {}, optional={"allow": st.lists(_ENTRIES, max_size=8), "deny": st.lists(_ENTRIES, max_size=8)}
).map(AccessRules.model_validate)
_ADDRESSES = st.one_of(
    st.builds("{}.{}.{}.{}".format, _BITS, _BITS, _BITS, _BITS),
    st.sampled_from(["::", "::1", "::2", "2001:db8::1", "2001:db8::2", "2001:db7:ffff::", "8000::", "ffff::ffff"]),
).map(parse_address)


def slow(checked: AccessRules, fits: Any) -> tuple[Entry, bool] | None:
    """The rule that decides: of those that fit, the one with the largest number, of equals the first that denies."""
    best: tuple[int, Entry, bool] | None = None
    for entries, allowed in ((checked.deny, False), (checked.allow, True)):
        for entry in entries:
            length = fits(entry)
            if length is not None and (best is None or length > best[0]):
                best = (length, entry, allowed)
    return best and best[1:]


def expected(checked: AccessRules, found: tuple[Entry, bool] | None) -> Ruling:
    if found:
        entry, allowed = found
        return Ruling(allowed, f"access.{'allow' if allowed else 'deny'}: {entry.text}")
    return Ruling(False, "not listed in access.allow") if checked.allow else Ruling(True, "no rule matches")


@given(_RULES, st.lists(_ADDRESSES, min_size=1))
def test_table_rules_on_addresses_as_a_linear_search_does(checked: AccessRules, addresses: list[bytes]) -> None:
    access = Access.of(checked)
    assert access.open is not bool(checked.allow or checked.deny)
    # The first and last addresses of each network, and their neighbours.
    for network in (one for entry in (*checked.allow, *checked.deny) for one in entry.networks):
        edges = (network.first - 1, network.first, network.last, network.last + 1)
        addresses = addresses + [edge.to_bytes(network.bits // 8) for edge in edges if 0 <= edge < 1 << network.bits]
    for address in addresses:

        def length(entry: Entry, address: bytes = address) -> int | None:
            number, bits = int.from_bytes(address), 8 * len(address)
            inside = [one for one in entry.networks if one.bits == bits and one.first <= number <= one.last]
            return max((one.length for one in inside), default=None)

        ruling = access.ruling(address)
        assert ruling == expected(checked, slow(checked, length))
        assert access.allows(address) is ruling.allowed


@given(_RULES, st.sampled_from([None, 0, 1000, 4242]), st.lists(st.sampled_from([0, 27, 1000]), max_size=3))
def test_table_rules_on_unix_peers_as_a_linear_search_does(
    checked: AccessRules, user: int | None, groups: Sequence[int]
) -> None:
    def rank(entry: Entry) -> int | None:
        if entry.kind == "uid":
            return 3 if int(entry.account) == user else None
        if entry.kind == "gid":
            return 2 if int(entry.account) in groups else None
        return 1 if entry.networks == LOCAL else 0 if entry.networks == ANY else None

    access = Access.of(checked)
    found = slow(checked, rank)
    ruling = access.unix_ruling(user, groups)
    # Of several groups that are denied, the ruling names the peer's first one.
    if found and found[0].kind == "gid":
        assert ruling.allowed is found[1]
    else:
        assert ruling == expected(checked, found)
    assert access.groups_matter is checked.asks_groups


@given(_RULES, _RULES)
def test_tables_are_equal_if_and_only_if_their_rules_are(one: AccessRules, other: AccessRules) -> None:
    copy = AccessRules.model_validate({"allow": [e.text for e in one.allow], "deny": [e.text for e in one.deny]})
    assert compile_rules(copy) == compile_rules(one)
    same = (one.allow, one.deny) == (other.allow, other.deny)
    assert (compile_rules(one) == compile_rules(other)) is same


def test_rules_can_be_read_from_their_table() -> None:
    given = {
        "allow": ["any", "gid:27", "::ffff:10.0.0.0/104"],
        "deny": ["uid:0", "2001:db8::/32"],
        "times": ["Mon-Fri 08:00-18:00 Europe/Berlin", "12:00-13:00"],
    }
    access = Access.of(rules(**given))
    assert access.rules == given
    assert [hours.text for hours in access.times] == given["times"]


def test_table_tells_where_another_rule_decides() -> None:
    access = Access.of(rules(allow=["10.0.0.0/8", "2001:db8::/32"], deny=["10.1.0.0/16"]))
    assert list(access.starts(4)) == [0, 10 << 24, 10 << 24 | 1 << 16, 10 << 24 | 2 << 16, 11 << 24]
    assert list(access.starts(16)) == [0, 0x20010DB8 << 96, 0x20010DB9 << 96]


def test_user_is_shown_by_name_and_matched_by_number() -> None:
    checked = rules(deny=["uid:root"])
    entries = tuple(entry.numbered(lambda kind, name: 0) for entry in checked.deny)
    access = Access.of(checked.model_copy(update={"deny": entries}))
    assert access.unix_ruling(0, []) == Ruling(False, "access.deny: uid:root")
    assert access.rules["deny"] == ["uid:0"]


TABLE = compile_rules(rules(allow=["10.0.0.0/8", "uid:0", "gid:27"], deny=["any", "::1"], times=["08:00-18:00"]))


@given(st.integers(0, len(TABLE) - 1))
def test_truncated_table_is_rejected(length: int) -> None:
    for octets in (TABLE[:length], TABLE[length + 1 :], TABLE + TABLE[: length + 1]):
        with pytest.raises(ValueError, match="not a table of access rules"):
            Access(octets)


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda octets: TABLE[:8] + octets)))
def test_arbitrary_octets_are_rejected(octets: bytes) -> None:
    with pytest.raises(ValueError, match="not a table of access rules"):
        Access(octets)


@given(st.lists(st.tuples(st.integers(0, len(TABLE) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_corrupt_table_raises_no_worse_than_a_value_error(changes: list[tuple[int, int]]) -> None:
    octets = bytearray(TABLE)
    for place, octet in changes:
        octets[place] = octet
    try:
        access = Access(bytes(octets))
        for address in ("10.0.0.1", "192.0.2.7", "::1", "2001:db8::1"):
            assert isinstance(access.ruling(parse_address(address)).allowed, bool)
        access.unix_ruling(0, [27])
        assert set(access.rules) == {"allow", "deny", "times"}
    except ValueError:
        pass


def test_loading_a_table_takes_no_memory_for_each_rule() -> None:
    def grown(table: bytes) -> int:
        Access(table)  # one-time allocations are not measured
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            access = Access(table)
            access.allows(bytes(4))
            access.unix_ruling(0, [27])
            return tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()

    few, thousands = compile_rules(many(2)), compile_rules(many(3000))
    assert len(thousands) > 300 * len(few)
    assert grown(thousands) < grown(few) + 200
