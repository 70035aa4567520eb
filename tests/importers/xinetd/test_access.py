"""Access lists: both lists refuse, in netd the longest prefix decides."""

import itertools
from pathlib import Path

import pytest

from netd.addresses import pack_address
from netd.admission.access import AccessRules
from netd.admission.access_table import Access, compile_rules
from tests.importers.hosts import KnownHost
from tests.importers.xinetd.reading import imported

ECHO = ("type = INTERNAL UNLISTED",)
CAT = ("user = nobody", "server = /bin/cat")


@pytest.mark.parametrize(
    ("only_from", "no_access", "expected"),
    [
        ("10.0.0.0/8", None, {"allow": ["10.0.0.0/8"]}),
        (None, "10.1.0.0", {"deny": ["10.1.0.0/16"]}),
        ("10.0.0.0/8", "10.1.0.0", {"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}),
        ("10.1.2.3", "10.0.0.0", {"deny": ["10.0.0.0/8", "any"]}),
        ("10.1.2.3 192.0.2.1", "10.0.0.0", {"allow": ["192.0.2.1"], "deny": ["10.0.0.0/8"]}),
        ("10.0.0.0", "10.0.0.0", {"deny": ["10.0.0.0/8", "any"]}),
        ("", None, {"deny": ["any"]}),
        ("2001:db8::1/128", None, {"deny": ["any"]}),
        (".example.net", None, {"deny": ["any"]}),
        ("192.0.2.1 # office", None, {"allow": ["192.0.2.1"]}),
    ],
)
def test_lists_become_rules(
    tmp_path: Path, only_from: str | None, no_access: str | None, expected: dict[str, list[str]]
) -> None:
    lines = [f"only_from = {only_from}"] * (only_from is not None) + [f"no_access = {no_access}"] * bool(no_access)
    result = imported(tmp_path, *CAT, *lines)
    assert result.services["x"]["access"] == expected
    assert "enabled" not in result.services["x"]


def test_rules_decide_as_xinetd_does_for_every_pair_of_networks(tmp_path: Path) -> None:
    """Of these, one is within the other, or they are the same, or apart."""
    networks = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1"]
    peers = ["10.9.9.9", "10.1.9.9", "10.1.2.9", "10.1.2.3", "192.0.2.1", "2001:db8::1", "2001:db8::2", "198.51.100.1"]
    # What xinetd matches, without code of netd: by the text of the first octets.
    starts = dict(
        zip(networks, ["10.", "10.1.", "10.1.2.", "10.1.2.3", "192.0.2.", "2001:db8::", "2001:db8::1"], strict=True)
    )
    for allowed, denied in itertools.product(networks, networks):
        access = imported(tmp_path, *CAT, f"only_from = {allowed}", f"no_access = {denied}").services["x"]["access"]
        rules = Access(compile_rules(AccessRules.model_validate(access)))
        for peer in peers:
            expected = peer.startswith(starts[allowed]) and not peer.startswith(starts[denied])
            assert rules.allows(pack_address(peer)) is expected, (allowed, denied, peer)


def test_a_name_that_was_refused_switches_the_service_off(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "no_access = known.example 10.0.0.1")
    assert result.services["x"]["enabled"] is False
    assert result.services["x"]["access"] == {"deny": ["10.0.0.1"]}
    [line] = result.about("no_access = known.example 10.0.0.1")
    assert line.startswith("not imported: known.example: netd does not look up the names of peers")
    assert "192.0.2.80, 2001:db8::80" in line


def test_a_comma_switches_the_service_off(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "only_from = 10.0.0.1,10.0.0.2", host=KnownHost())
    assert result.services["x"]["enabled"] is False


@pytest.mark.parametrize(
    ("given", "times", "is_on"),
    [
        ("8:00-17:59", ["08:00-18:00"], True),
        ("0:00-23:59", ["00:00-24:00"], True),
        ("8:00-11:59 13:00-16:00", ["08:00-12:00", "13:00-16:01"], True),
        ("22:00-06:00", ["22:00-06:00"], False),
        ("12:00-24:00", ["12:00-24:00"], False),
        ("morning", None, False),
        ("", None, False),
    ],
)
def test_times_include_their_last_minute(tmp_path: Path, given: str, times: list[str] | None, *, is_on: bool) -> None:
    result = imported(tmp_path, *CAT, f"access_times = {given}").services["x"]
    assert result.get("access", {}).get("times") == times
    assert result.get("enabled", True) is is_on
