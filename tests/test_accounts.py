"""Users and groups by name or number."""

import grp
import os
import pwd
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.accounts import find_id, find_user, groups_of, is_of_a_service, parse_id

UNKNOWN = next(n for n in range(60000, 2**31) if n not in {user.pw_uid for user in pwd.getpwall()})


def test_accounts_of_this_host_are_found_by_name_and_number() -> None:
    for user in pwd.getpwall():
        assert find_id("uid", user.pw_name) == find_user(user.pw_name).pw_uid == pwd.getpwnam(user.pw_name).pw_uid
        assert find_id("uid", str(user.pw_uid)) == find_user(str(user.pw_uid)).pw_uid == user.pw_uid
        assert groups_of(user.pw_uid) == os.getgrouplist(find_user(str(user.pw_uid)).pw_name, user.pw_gid)
    for group in grp.getgrall():
        assert find_id("gid", group.gr_name) == grp.getgrnam(group.gr_name).gr_gid
        assert find_id("gid", str(group.gr_gid)) == group.gr_gid


def test_a_number_needs_no_account() -> None:
    assert find_id("uid", str(UNKNOWN)) == find_id("gid", str(UNKNOWN)) == UNKNOWN
    assert (groups_of(UNKNOWN), groups_of(UNKNOWN, 7)) == ([], [7])
    with pytest.raises(ValueError, match=f"there is no user '{UNKNOWN}'"):
        find_user(str(UNKNOWN))


def test_the_group_of_a_process_counts_in_place_of_that_of_its_account() -> None:
    user = pwd.getpwnam("nobody")
    assert user.pw_gid in groups_of(user.pw_uid)
    assert UNKNOWN in groups_of(user.pw_uid, UNKNOWN)
    assert user.pw_gid not in groups_of(user.pw_uid, UNKNOWN)


@pytest.mark.parametrize(
    "name", ["", "no-such-one", "²", "٣", "-1", "+1", "1 ", "4294967295", "99999999999", "a\0b", "\udc80"]
)
def test_unknown_account_is_reported_with_the_same_message_everywhere(name: str) -> None:
    assert parse_id(name) is None
    with pytest.raises(ValueError, match="^" + re.escape(f"there is no user {name!r}")):
        find_id("uid", name)
    with pytest.raises(ValueError, match="^" + re.escape(f"there is no user {name!r}")):
        find_user(name)
    with pytest.raises(ValueError, match="^" + re.escape(f"there is no group {name!r}")):
        find_id("gid", name)


@given(st.integers(0, 2**32 - 2))
def test_number_is_returned_as_it_is(one: int) -> None:
    assert parse_id(str(one)) == find_id("uid", str(one)) == find_id("gid", str(one)) == one


def test_accounts_of_services_are_those_that_log_in_nowhere() -> None:
    assert all(map(is_of_a_service, (1, 999, 61184, 65519, 65534)))
    assert not any(map(is_of_a_service, (0, 1000, 60000, 65520, 100000)))
