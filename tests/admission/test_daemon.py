"""The admission state that all services share: bans, and a new config."""

from netd.addresses import parse_address
from netd.admission.addresses import source_of
from netd.admission.bans import MOST, ROOM, BanRules
from netd.admission.daemon import DaemonAdmission, DaemonBounds

A, B = map(parse_address, ("192.0.2.7", "2001:db8::7"))


def test_ban_replaces_an_earlier_one_and_none_lifts_it() -> None:
    shared = DaemonAdmission()
    shared.ban(A, 10.0)
    shared.ban(source_of(B), 20.0)
    shared.ban(A, 30.0)
    assert shared.banned == {source_of(B): 20.0, A: 30.0}
    shared.ban(A, None)
    shared.ban(A, None)
    assert shared.banned == {source_of(B): 20.0}


def test_bans_that_end_first_make_room_for_one_beyond_the_most() -> None:
    shared = DaemonAdmission()
    for number in range(MOST):
        shared.ban(number.to_bytes(4), 1000.0 - number)
    first = (MOST - 1).to_bytes(4)
    shared.ban(first, 2000.0)  # replaces the ban of the same source
    assert len(shared.banned) == MOST
    shared.ban(A, 5000.0)
    assert len(shared.banned) == MOST - ROOM + 1
    assert (MOST - 2).to_bytes(4) not in shared.banned
    assert {A, first} <= shared.banned.keys()


def test_loopback_is_exempt_until_a_config_exempts_other_networks() -> None:
    shared = DaemonAdmission()
    assert shared.exempt.find(parse_address("127.0.0.1")) == "local"
    assert shared.exempt.find(A) is None
    rules = BanRules.model_validate_json('{"exempt": ["192.0.2.0/24"], "threshold": "off"}')
    shared.apply(DaemonBounds(7), rules)
    assert (shared.connections, shared.bans) == (7, rules)
    assert shared.exempt.find(A) == "192.0.2.0/24"
    assert shared.exempt.find(parse_address("127.0.0.1")) is None
