"""Access rules: longest prefix, deny on a tie, users and groups, times."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import parse_address
from netd.admission.access import AccessRules, Entry, Hours
from netd.admission.access_table import Access


def access(**rules: list[str]) -> Access:
    return Access.of(AccessRules(**{key: tuple(value) for key, value in rules.items()}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "address", "allowed", "why"),
    [
        ({}, "192.0.2.7", True, "no rule matches"),
        ({"deny": ["192.0.2.0/24"]}, "192.0.2.7", False, "access.deny: 192.0.2.0/24"),
        ({"deny": ["192.0.2.0/24"]}, "::ffff:192.0.2.7", False, "access.deny: 192.0.2.0/24"),
        ({"deny": ["192.0.2.0/24"]}, "192.0.3.7", True, "no rule matches"),
        ({"allow": ["10.0.0.0/8"]}, "10.1.2.3", True, "access.allow: 10.0.0.0/8"),
        ({"allow": ["10.0.0.0/8"]}, "192.0.2.7", False, "not listed in access.allow"),
        ({"allow": ["10.0.0.0/8"]}, "2001:db8::1", False, "not listed in access.allow"),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.6.6.0/24"]}, "10.6.6.6", False, "access.deny: 10.6.6.0/24"),
        ({"allow": ["10.6.6.6"], "deny": ["10.6.6.0/24"]}, "10.6.6.6", True, "access.allow: 10.6.6.6"),
        ({"allow": ["10.0.0.0/8"], "deny": ["10.0.0.0/8"]}, "10.6.6.6", False, "access.deny: 10.0.0.0/8"),
        ({"allow": ["any"], "deny": ["any"]}, "10.6.6.6", False, "access.deny: any"),
        ({"allow": ["local"], "deny": ["any"]}, "127.9.9.9", True, "access.allow: local"),
        ({"allow": ["local"], "deny": ["any"]}, "::1", True, "access.allow: local"),
        (
            {"deny": ["2001:db8::/32"], "allow": ["2001:db8:1::/48"]},
            "2001:db8:1::9",
            True,
            "access.allow: 2001:db8:1::/48",
        ),
        ({"deny": ["uid:0"]}, "10.6.6.6", True, "no rule matches"),
    ],
)
def test_longest_prefix_decides_and_deny_on_a_tie(
    rules: dict[str, list[str]], address: str, allowed: bool, why: str
) -> None:
    ruling = access(**rules).ruling(parse_address(address))
    assert (ruling.allowed, ruling.why) == (allowed, why)
    assert access(**rules).allows(parse_address(address)) is allowed


@pytest.mark.parametrize(
    ("rules", "user", "groups", "allowed"),
    [
        ({}, 1000, [1000], True),
        ({"allow": ["uid:1000"]}, 1000, [], True),
        ({"allow": ["uid:1000"]}, 1001, [1000], False),
        ({"allow": ["gid:27"]}, 1001, [1001, 27], True),
        ({"allow": ["gid:27"], "deny": ["uid:1001"]}, 1001, [27], False),
        ({"deny": ["gid:27"], "allow": ["uid:1001"]}, 1001, [27], True),
        ({"deny": ["gid:27"], "allow": ["gid:28"]}, 1001, [28, 27], False),
        ({"deny": ["uid:1001"], "allow": ["uid:1001"]}, 1001, [], False),
        ({"allow": ["10.0.0.0/8"]}, 1001, [1001], False),
        ({"allow": ["local"]}, 1001, [1001], True),
        ({"deny": ["local"], "allow": ["any"]}, 1001, [1001], False),
        ({"deny": ["any"], "allow": ["local"]}, 1001, [1001], True),
        ({"deny": ["any"], "allow": ["any"]}, 1001, [1001], False),
        ({"deny": ["local"], "allow": ["local"]}, 1001, [1001], False),
        ({"allow": ["uid:1000"]}, None, [], False),
        ({"deny": ["uid:1000"]}, None, [], True),
    ],
)
def test_unix_peer_is_matched_by_user_and_groups(
    rules: dict[str, list[str]], user: int | None, groups: list[int], allowed: bool
) -> None:
    assert access(**rules).unix_ruling(user, groups).allowed is allowed


def test_groups_are_looked_up_only_for_gid_rules() -> None:
    assert access(allow=["gid:27"]).groups_matter
    assert not access(allow=["uid:27", "any"]).groups_matter


def test_rules_are_open_without_rules_on_addresses() -> None:
    assert access(times=["08:00-18:00"]).open
    assert not access(deny=["192.0.2.7"]).open


@pytest.mark.parametrize("value", ["uid:", "uid:a b", "gid:x" * 20, "user:x", "10.0.0.1/8", "10.0/8", 7, None, [], ""])
def test_entry_rejects_other_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected|did you mean"):
        Entry.parse(value)


BERLIN = ZoneInfo("Europe/Berlin")


def at(day: int, hour: int, minute: int = 0, month: int = 11) -> float:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN).timestamp()  # 16 November 2026 is a Monday


TWICE = datetime(2026, 10, 25, tzinfo=UTC).timestamp()  # 02:00 in Berlin, which comes again an hour later


@pytest.mark.parametrize(
    ("times", "open_at", "closed_at"),
    [
        ("Mon-Fri 08:00-18:00 Europe/Berlin", [at(16, 8), at(20, 17, 59)], [at(16, 7, 59), at(16, 18), at(21, 12)]),
        ("08:00-18:00 Europe/Berlin", [at(21, 8), at(22, 17, 59)], [at(21, 18), at(22, 7)]),
        ("Sat,Sun 00:00-24:00 Europe/Berlin", [at(21, 0), at(22, 23, 59)], [at(20, 23, 59), at(23, 0)]),
        (
            "Fri 22:00-06:00 Europe/Berlin",
            [at(20, 22), at(21, 5, 59)],
            [at(20, 21, 59), at(21, 6), at(20, 5), at(21, 22)],
        ),
        ("Sun-Mon 10:00-11:00 Europe/Berlin", [at(22, 10), at(23, 10)], [at(21, 10), at(24, 10)]),
        ("Sun 23:00-01:00 Europe/Berlin", [at(22, 23), at(23, 0, 30)], [at(23, 23), at(22, 0, 30)]),
        ("00:00-00:00 Europe/Berlin", [at(21, 0), at(21, 13)], []),
        # Local time, with daylight saving.
        ("08:00-09:00 Europe/Berlin", [at(15, 8, 30, month=7), at(15, 8, 30, month=12)], [at(15, 9, 30, month=7)]),
        # On 29 March 2026 the hour from 02:00 is missing, on 25 October that from 02:00 comes twice.
        ("01:30-02:30 Europe/Berlin", [at(29, 1, 59, month=3)], [at(29, 3, 0, month=3), at(29, 3, 29, month=3)]),
        ("02:00-03:00 Europe/Berlin", [], [at(29, 1, 59, month=3), at(29, 3, 0, month=3)]),
        ("02:00-03:00 Europe/Berlin", [TWICE, TWICE + 7199], [TWICE - 1, TWICE + 7200]),
        ("02:15-02:45 Europe/Berlin", [TWICE + 900, TWICE + 4500], [TWICE + 2700, TWICE + 6300]),
    ],
)
def test_times_of_the_week(times: str, open_at: list[float], closed_at: list[float]) -> None:
    assert all(Hours.parse(times).contain(now) for now in open_at)
    assert not any(Hours.parse(times).contain(now) for now in closed_at)
    rules = access(times=[times])
    for now in [*open_at, *closed_at, *open_at]:
        assert rules.in_time(now) is (now in open_at)


@given(st.integers(0, 6), st.integers(0, 1439), st.integers(0, 1440), st.integers(0, 7 * 1440 - 1))
def test_times_agree_with_a_week_written_out(day: int, start: int, end: int, minute: int) -> None:
    clock = [f"{time // 60:02}:{time % 60:02}" for time in (start, end)]
    text = f"{['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][day]} {'-'.join(clock)} UTC"
    length = end - start if end > start else end - start + 1440
    held = {(day * 1440 + start + offset) % (7 * 1440) for offset in range(length)}
    monday = datetime(2026, 11, 16, tzinfo=ZoneInfo("UTC")).timestamp()
    assert Hours.parse(text).contain(monday + 60 * minute) is (minute in held)


@pytest.mark.parametrize(
    "value",
    ["", "Mon", "Mon 8:00-18:00", "Mon 08:00", "Mon 25:00-26:00", "08:61-09:00", "Mo 08:00-09:00", "24:00-01:00", 8],
)
def test_times_reject_other_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected times such as"):
        Hours.parse(value)


def test_unknown_zone_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="unknown time zone 'Europe/Berln'"):
        Hours.parse("08:00-18:00 Europe/Berln")


def test_times_are_alternatives_and_none_means_always() -> None:
    rules = access(times=["Mon 08:00-09:00 Europe/Berlin", "Tue 08:00-09:00 Europe/Berlin"])
    assert [rules.in_time(at(day, 8)) for day in (16, 17, 18)] == [True, True, False]
    assert access().in_time(0)


def test_certificate_rules_are_a_second_condition_apart_from_addresses() -> None:
    allow, texts = (
        ["cn:*.ops.example", "10.0.0.0/8", f"sha256:{'AB' * 32}"],
        ["cn:*.ops.example", f"sha256:{'AB' * 32}"],
    )
    both = access(allow=allow, deny=["10.6.6.6"], times=["08:00-09:00"])
    assert both.certificates.texts == tuple(texts)
    assert both.rules == {"allow": ["10.0.0.0/8", *texts], "deny": ["10.6.6.6"], "times": ["08:00-09:00"]}
    assert [hours.text for hours in both.times] == ["08:00-09:00"]
    assert [both.allows(parse_address(one)) for one in ("10.0.0.1", "10.6.6.6", "11.0.0.1")] == [True, False, False]
    alone = access(allow=texts)
    assert alone.open
    assert alone.allows(parse_address("2001:db8::1"))
    assert access(allow=["any"]).certificates.texts == ()


def test_certificate_rules_are_written_as_given_and_none_is_for_deny() -> None:
    allow = ["cn:*.ops.example", "san:uri:spiffe://example/a"]
    assert AccessRules.model_validate({"allow": allow}).model_dump(mode="json")["allow"] == allow
    for key, value, message in (
        ("deny", "cn:alex", "certificate rules are for access.allow, got 'cn:alex'"),
        ("allow", "cn:a*.example", "one whole label"),
        ("allow", "san:email:alex@example.org", "expected cn:NAME"),
    ):
        with pytest.raises(ValueError, match=message):
            AccessRules.model_validate({key: ["any", value]})
