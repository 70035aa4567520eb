"""Address rules as a program of BPF: it accepts a source if and only if admission does, and stays within its bounds."""

from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from random import Random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netd.addresses import Network, parse_address, unmap
from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.address_filter import MOST_INSTRUCTIONS, AddressFilter, compile_filter, compiling
from netd.admission.addresses import Named, Prefixes, source_network, source_of
from netd.admission.bans import exemption
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.shared.table import Table
from tests.support.bpf import ip_header, run

NONE: Prefixes[str] = Prefixes(())

# Few values, so that networks overlap and have neighbours; some at the borders of words.
_OCTETS = st.sampled_from([0, 1, 127, 128, 254, 255])
_PREFIXES = st.sampled_from(["", "0064ff9b", "0064ff9b" + "00" * 8, "0064ff9b0001", "fe80", "20010db8", "00" * 15])
_ADDRESSES = st.one_of(
    st.lists(_OCTETS, min_size=4, max_size=4).map(bytes),
    st.builds(
        lambda prefix, rest: (bytes.fromhex(prefix) + bytes(rest))[:16],
        _PREFIXES,
        st.lists(_OCTETS, min_size=16, max_size=16),
    ),
    st.sampled_from([bytes(16), b"\xff" * 16, bytes(15) + b"\1"]),
)


@st.composite
def _networks(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(["any", "local", "uid:0"]))
    address = draw(_ADDRESSES)
    bits = 8 * len(address)
    length = draw(st.one_of(st.integers(0, bits), st.sampled_from([bits, bits // 2, bits // 4, bits - 1])))
    number = int.from_bytes(address) >> (bits - length) << (bits - length)
    return str((IPv4Network if bits == 32 else IPv6Network)((number, length)))


_RULES = st.fixed_dictionaries(
    {}, optional={"allow": st.lists(_networks(), max_size=12), "deny": st.lists(_networks(), max_size=12)}
)
_EXEMPT = st.lists(_networks().filter(lambda text: text != "uid:0").map(Named.parse), max_size=3).map(tuple)
# Some that no address has, which a faulty worker may report.
_SOURCES = st.lists(st.one_of(_ADDRESSES.map(source_of), _ADDRESSES, st.binary(min_size=8, max_size=8)), max_size=8)


def accepts(made: AddressFilter, address: bytes, *, ipv6: bool = False) -> bool:
    kept, steps = run(made.program, ip_header(address, ipv6=ipv6))
    assert kept in (0, 2**32 - 1)
    assert steps <= 150
    return bool(kept)


def edges(network: Network) -> list[bytes]:
    numbers = (network.first - 1, network.first, network.last, network.last + 1)
    return [number.to_bytes(network.bits // 8) for number in numbers if 0 <= number < 1 << network.bits]


@pytest.mark.slow  # thousands of filters
@given(_RULES, _SOURCES, _EXEMPT, st.lists(_ADDRESSES))
@example({}, [bytes.fromhex("0064ff9b00000000")], (), [parse_address("64:ff9b::1"), parse_address("64:ff9b::1:0:0")])
@example({"deny": ["64:ff9b::/96"]}, [bytes.fromhex("0064ff9b00000000")], (), [])
def test_filter_accepts_the_sources_that_admission_does(
    given: dict[str, list[str]], banned: list[bytes], exempt: tuple[Named, ...], addresses: list[bytes]
) -> None:
    rules = AccessRules.model_validate(given)
    access = Access.of(rules)
    shared = DaemonAdmission(banned=dict.fromkeys(banned, 2.0), exempt=exemption(exempt))
    admission = AdmissionControl("s", Policy(reply_guard=False), access, Table(), shared, lambda: 0.0)
    made = compile_filter(access, banned, exemption(exempt))
    assert made.left_out == 0
    ruled = [entry.networks for entry in (*rules.allow, *rules.deny)]
    for network in (*chain(*ruled, *(one.networks for one in exempt)), *map(source_network, banned)):
        addresses = addresses + edges(network)
    for address in addresses:
        peer = unmap(address)  # as the transports do
        expected = admission.check_datagram(peer, 5353, 1.0, non_unicast=False).drop is None
        checks = {check.name: check.passes for check in admission.explain(peer, 5353, 1.0, datagram=True)}
        assert accepts(made, address) is expected is (checks["bans"] and checks["access"])
        assert accepts(made, address, ipv6=True) is expected


def test_packets_of_other_protocols_and_short_ones_are_discarded() -> None:
    made = compile_filter(access(deny=["192.0.2.7", "2001:db8::7"]), (), NONE)
    for address in (parse_address("192.0.2.8"), parse_address("2001:db8::8")):
        packet = ip_header(address)
        assert run(made.program, packet).kept
        for version in set(range(16)) - {packet[0] >> 4}:
            assert not run(made.program, bytes([version << 4 | 5]) + packet[1:12]).kept
        for length in range(len(packet) - (16 if len(address) == 16 else 4)):
            assert not run(made.program, packet[:length]).kept


def access(**rules: list[str]) -> Access:
    return Access.of(AccessRules.model_validate(rules))


def random_networks(number: int, length: int, bits: int = 32) -> list[str]:
    """Networks without a pattern, far from each other and not adjacent."""
    kind, random = IPv4Network if bits == 32 else IPv6Network, Random(number)
    return [str(kind((random.getrandbits(length) << bits - length, length))) for _ in range(number)]


def test_many_rules_stay_shallow() -> None:
    rules = AccessRules.model_validate({"deny": random_networks(1000, 24) + random_networks(300, 64, 128)})
    checked = Access.of(rules)
    made = compile_filter(checked, (), NONE)
    assert 2000 < len(made.program) < 3500
    for network in (network for entry in rules.deny for network in entry.networks):
        for address in edges(network):
            kept, steps = run(made.program, ip_header(address))
            assert bool(kept) is checked.allows(address)
            assert steps < 60


def test_rules_beyond_the_bound_are_an_error_of_one_line() -> None:
    made = compile_filter(separate(2016), (), NONE)
    assert len(made.program) == MOST_INSTRUCTIONS
    assert accepts(made, bytes([10, 0, 3, 0])) is True
    assert accepts(made, bytes([10, 0, 2, 0])) is False
    message = r"^2100 rules need 42\d\d instructions of a socket filter, the kernel takes 4096$"
    with pytest.raises(ValueError, match=message):
        compile_filter(separate(2100), (), NONE)


def separate(number: int) -> Access:
    return access(deny=[f"10.{n >> 7}.{2 * n & 255}.0/24" for n in range(number)])


def test_bans_beyond_the_bound_are_left_out_those_that_end_first() -> None:
    random = Random(1)
    banned = [random.randbytes(4) for _ in range(500)]
    rules = access(deny=random_networks(50, 24))
    made = compile_filter(rules, banned, NONE, 400)
    assert 380 < len(made.program) <= 400
    assert 200 < made.left_out < 400
    assert [accepts(made, source) for source in banned] == [n < made.left_out for n in range(500)]
    # Where the rules have taken all the room, they hold alone.
    size = len(compile_filter(rules, (), NONE).program)
    full = compile_filter(rules, banned, NONE, size)
    assert (len(full.program), full.left_out) == (size, 500)


def test_filters_of_equal_verdicts_are_equal() -> None:
    rules = access(deny=["10.0.0.0/9", "10.128.0.0/9", "192.0.2.7"])
    same = access(deny=["192.0.2.7", "10.0.0.0/8", "10.1.0.0/16"])
    exempt = Prefixes([(Network(0, 0, 32), "any")])
    banned = [bytes([192, 0, 2, 8]), bytes([192, 0, 2, 7])]
    assert compile_filter(rules, (), NONE) == compile_filter(same, banned, exempt)
    assert compile_filter(rules, (), NONE) != compile_filter(same, banned, NONE)


@pytest.mark.slow  # a large filter
def test_large_filter_is_compiled_in_small_pieces() -> None:
    access = Access.of(AccessRules.model_validate({"deny": [f"10.{n >> 8}.{n & 255}.0/25" for n in range(1000)]}))
    banned = [bytes([192, 0, n >> 8, n & 255]) for n in range(0, 4000, 2)]
    pieces = sum(1 for _ in compiling(access, banned, NONE))
    assert pieces > 10 * len(compile_filter(access, banned, NONE).program)
