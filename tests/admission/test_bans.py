"""Bans: longer each time, forgotten after a while, and bounded in number."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netd.addresses import parse_address
from netd.admission.addresses import parse_source
from netd.admission.bans import MOST, ROOM, BanRules, Bans
from netd.admission.daemon import DaemonAdmission

PEER = parse_source("192.0.2.7")


def test_ban_is_twice_as_long_each_time_up_to_an_hour() -> None:
    bans, now, durations = Bans(BanRules()), 1000.0, []
    for _ in range(9):
        seconds = bans.record_offence(PEER, "echo: rate", now)
        assert seconds is not None
        durations.append(seconds)
        assert bans.until(PEER, now + seconds - 0.1) == now + seconds
        assert bans.until(PEER, now + seconds) is None
        now += seconds + 1
    assert durations == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_doubling_is_undone_by_each_hour_without_a_ban() -> None:
    bans, now = Bans(BanRules()), 1000.0
    for _ in range(3):
        now += (bans.record_offence(PEER, "x", now) or 0) + 1
    assert bans.record_offence(PEER, "x", now + 3600) == 240  # it would be 480
    now += 3600 + 240
    assert bans.record_offence(PEER, "x", now + 10 * 3600) == 60


def test_banned_source_is_not_banned_again() -> None:
    bans = Bans(BanRules())
    assert bans.record_offence(PEER, "x", 10.0) == 60
    assert bans.record_offence(PEER, "x", 20.0) is None
    assert list(bans.active(20.0)) == [PEER]


def test_exempt_source_is_never_banned() -> None:
    bans = Bans(BanRules.model_validate_json('{"exempt": ["local", "192.0.2.0/24", "2001:db8::/32"]}'))
    for text in ("192.0.2.7", "127.0.0.1", "::1", "2001:db8:1:2::3"):
        assert bans.record_offence(parse_source(text), "x", 1.0) is None
        with pytest.raises(ValueError, match=r"bans\.exempt"):
            bans.add(parse_address(text), 5.0, "x", 1.0)
    assert bans.record_offence(parse_source("192.0.3.7"), "x", 1.0) == 60


@pytest.mark.parametrize(("one", "other"), [("64:ff9b::c000:201", "64:ff9b::c000:202"), ("fe80::1", "fe80::2")])
def test_addresses_that_share_a_64_are_banned_one_by_one(one: str, other: str) -> None:
    bans = Bans(BanRules.model_validate_json('{"exempt": ["64:ff9b::192.0.2.9"]}'))
    bans.add(parse_address(one), 5.0, "netd ban add", 1.0)
    assert bans.until(parse_source(one), 2.0) == 6.0
    assert bans.until(parse_source(other), 2.0) is None
    assert bans.record_offence(parse_source("64:ff9b::c000:209"), "x", 1.0) is None


def test_ban_of_the_operator_is_added_and_removed() -> None:
    bans = Bans(BanRules(threshold="off"))  # type: ignore[arg-type]
    bans.add(PEER, 5.0, "netd ban add", 1.0)
    assert bans.until(PEER, 2.0) == 6.0
    assert bans.remove(PEER, 2.0)
    assert not bans.remove(PEER, 2.0)
    bans.add(PEER, 5.0, "netd ban add", 1.0)
    assert not bans.remove(PEER, 7.0), "the ban had ended"


@pytest.mark.slow  # as many bans as there can be
@given(st.lists(st.tuples(st.integers(0, 3 * MOST), st.floats(0, 1000)), max_size=50))
def test_ban_beyond_the_most_replaces_the_one_that_ends_first(script: list[tuple[int, float]]) -> None:
    bans, shared, now = Bans(BanRules()), DaemonAdmission(), 0.0
    for number in range(MOST):
        bans.add(number.to_bytes(4), 5000.0 + number, "x", now)
        shared.ban(number.to_bytes(4), bans.until(number.to_bytes(4), now))
    for number, wait in script:
        now += wait / 50
        bans.record_offence(number.to_bytes(4), "x", now)
        shared.ban(number.to_bytes(4), bans.until(number.to_bytes(4), now))
        assert bans.until(number.to_bytes(4), now) is not None
        assert len(bans._bans) <= MOST
        assert len(shared.banned) <= MOST


def test_forgotten_ban_is_removed_before_any_other() -> None:
    bans = Bans(BanRules())
    bans.add(PEER, 10.0, "x", 0.0)
    for number in range(MOST - 1):
        bans.add(number.to_bytes(4), 5.0, "x", 100.0)
    bans.add(parse_address("198.51.100.1"), 5.0, "x", 101.0)
    assert len(bans.active(101.0)) == MOST, "the ban that had ended was removed"


def test_duration_may_not_be_longer_than_max_duration() -> None:
    with pytest.raises(ValidationError, match="duration is longer than max_duration"):
        BanRules.model_validate_json('{"duration": "2h"}')


def test_bans_survive_new_rules() -> None:
    bans = Bans(BanRules())
    bans.record_offence(PEER, "x", 0.0)
    bans.apply(BanRules.model_validate_json('{"duration": "1s"}'))
    assert bans.until(PEER, 59.0) == 60.0
    assert parse_address("192.0.2.7") == PEER


def test_ban_of_a_source_that_becomes_exempt_ends_at_once() -> None:
    bans = Bans(BanRules())
    bans.record_offence(PEER, "x", 0.0)
    bans.apply(BanRules.model_validate_json('{"exempt": ["192.0.2.0/24"]}'))
    assert bans.until(PEER, 1.0) is None


def test_single_address_of_a_64_may_be_exempt() -> None:
    bans = Bans(BanRules.model_validate_json('{"exempt": ["2001:db8::7"]}'))
    with pytest.raises(ValueError, match=r"bans\.exempt"):
        bans.add(parse_address("2001:db8::7"), 5.0, "x", 0.0)
    bans.add(parse_address("2001:db8::8"), 5.0, "x", 0.0)
    assert bans.until(parse_source("2001:db8::8"), 1.0) == 5.0


def test_threshold_for_udp_is_rejected() -> None:
    with pytest.raises(ValidationError, match="only connections count"):
        BanRules.model_validate_json('{"threshold": "udp 100/m"}')


def test_bans_that_end_first_make_room_for_a_further_one() -> None:
    bans, shared = Bans(BanRules()), DaemonAdmission()
    for number in range(MOST):
        bans.add(number.to_bytes(4), 5000.0 - number, "x", 0.0)
        shared.ban(number.to_bytes(4), 5000.0 - number)
    bans.add(PEER, 10.0, "x", 0.0)
    shared.ban(PEER, 10.0)
    kept = {number.to_bytes(4) for number in range(MOST - ROOM)} | {PEER}
    assert bans.active(0.0).keys() == shared.banned.keys() == kept
