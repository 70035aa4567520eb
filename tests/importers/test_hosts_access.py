"""Rules of tcp wrappers as those of netd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.hosts_access import NoAddressesError, access


@pytest.mark.parametrize(
    ("allow", "deny", "expected"),
    [
        ("", "", {}),
        ("# a comment\n", "other: ALL\n", {}),
        ("", "ALL: ALL\n", {"deny": ["any"]}),
        ("x: 10.0.0.0/8, 192.0.2.7\n", "ALL: ALL", {"allow": ["10.0.0.0/8", "192.0.2.7"]}),
        ("x: 192.168.\n", "ALL: ALL", {"allow": ["192.168.0.0/16"]}),
        ("x: 10.0.0.0/255.0.0.0\n", "ALL: ALL", {"allow": ["10.0.0.0/8"]}),
        ("x: [2001:db8::]/32 [::1]\n", "ALL: ALL", {"allow": ["2001:db8::/32", "::1"]}),
        ("", "x: 10.0.0.0/8\n", {"deny": ["10.0.0.0/8"]}),
        ("x: 10.1.0.0/16\n", "x: 10.0.0.0/8\n", {"allow": ["10.1.0.0/16", "any"], "deny": ["10.0.0.0/8"]}),
        # The first rule decides, so the narrow one in hosts.deny has no effect.
        ("x: 10.0.0.0/8\n", "x: 10.1.0.0/16\n", {"allow": ["10.0.0.0/8", "any"]}),
        ("ALL: ALL\n", "x: ALL\n", {}),
        ("x: 10.0.0.1 : deny\nALL: ALL\n", "", {"allow": ["any"], "deny": ["10.0.0.1"]}),
        ("x: \\\n 10.0.0.1\n", "ALL: ALL\n", {"allow": ["10.0.0.1"]}),
    ],
)
def test_the_first_rule_that_matches_decides(allow: str, deny: str, expected: dict[str, list[str]]) -> None:
    assert access(allow, deny, "x") == expected


@pytest.mark.parametrize(
    "rule",
    [
        "x: .example.net",
        "x: LOCAL",
        "ALL EXCEPT xy: ALL",
        "x: ALL: spawn /bin/a",
        "x@192.0.2.1: ALL",
        "x: 10.0.0.1/8",
        "x",
    ],
)
def test_a_rule_that_decides_by_other_than_addresses_is_refused(rule: str) -> None:
    with pytest.raises(NoAddressesError, match="x"):
        access(f"{rule}\n", "", "x")


@given(st.text(st.sampled_from("xAL: ,10./[]\\\n#EXCEPT@\udc80"), max_size=60))
def test_any_text_has_rules_or_is_refused(text: str) -> None:
    try:
        found = access(text, text, "x")
    except NoAddressesError:
        return
    assert set(found) <= {"allow", "deny"}
