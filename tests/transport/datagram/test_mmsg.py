"""The arrays of a batch: senders and control messages from what the kernel may write into them."""

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from netd.transport.datagram import mmsg
from netd.transport.datagram.origins import origin
from netd.transport.sockaddr import CONTROL, IN6_PKTINFO, IN_PKTINFO, IP_PKTINFO, Sender, parse_sender

A, B, LINK = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8]), bytes.fromhex("fe80" + 13 * "00" + "aa")
SIX = bytes.fromhex("20010db8" + 11 * "00" + "01")


def arrived(family: int, address: bytes, control: bytes) -> mmsg.Batch:
    """A batch with a datagram in the first slot."""
    arrays = mmsg.Batch(-1, family, 100, mmsg.make_memory())
    name = struct.pack("!HH4s20x" if family == socket.AF_INET else "!HHI16s4x", 0, 5353, *(
        (address,) if family == socket.AF_INET else (0, address)
    ))  # fmt: skip
    arrays._sources[: len(name)] = name
    arrays._sources[mmsg._CONTROL_AT : mmsg._CONTROL_AT + len(control)] = control
    arrays._control_lengths[0] = len(control)
    return arrays


def message(level: int, kind: int, data: bytes) -> bytes:
    head = struct.pack("@Nii", socket.CMSG_LEN(len(data)), level, kind)
    return (head + data).ljust(socket.CMSG_SPACE(len(data)), b"\0")


@given(st.sampled_from([(socket.AF_INET, A), (socket.AF_INET6, SIX)]), st.binary(max_size=CONTROL))
def test_sender_is_parsed_from_any_octets(place: tuple[int, bytes], control: bytes) -> None:
    arrays = arrived(*place, control)
    who = arrays.sender(0)
    assert (who.address, who.port) == (place[1], 5353)
    made = arrays.origin(0, who)
    assert made is None or len(made) in (0, *(socket.CMSG_LEN(size) for size in (IN_PKTINFO.size, IN6_PKTINFO.size)))


LENGTHS = st.one_of(st.integers(0, 40), st.sampled_from([2**31, 2**32 - 1, 2**63, 2**64 - 1, 2**64 - 8]))


@given(st.lists(st.tuples(LENGTHS, st.integers(0, 300), st.integers(0, 60), st.binary(max_size=24)), max_size=12))
def test_sender_is_parsed_from_any_control_messages(messages: list[tuple[int, int, int, bytes]]) -> None:
    octets = b"".join(struct.pack("@Nii", length, *rest) + data for length, *rest, data in messages)
    for family, address in ((socket.AF_INET, A), (socket.AF_INET6, SIX)):
        assert arrived(family, address, octets[:CONTROL]).sender(0).address == address


FOREIGN = st.lists(
    st.tuples(st.sampled_from([0, 1, 41]), st.sampled_from([1, 2, 13, 29, 36, 37, 52, 67]), st.binary(max_size=40)),
    max_size=4,
)


@given(FOREIGN, FOREIGN, st.integers(0, 2**31 - 1))
def test_packet_information_is_found_among_other_control_messages(
    before: list[tuple[int, int, bytes]], after: list[tuple[int, int, bytes]], number: int
) -> None:
    cases: list[tuple[int, bytes, list[tuple[int, int, bytes]], Sender]] = [
        (socket.AF_INET, A, [(0, IP_PKTINFO, IN_PKTINFO.pack(number, B, B))], Sender(A, 5353, B, non_unicast=False)),
        (
            socket.AF_INET,
            A,
            [(0, IP_PKTINFO, IN_PKTINFO.pack(number, bytes(4), B))],
            Sender(A, 5353, B, non_unicast=False),
        ),
        (socket.AF_INET6, SIX, [(41, 50, IN6_PKTINFO.pack(SIX, number))], Sender(SIX, 5353, SIX, non_unicast=False)),
        (
            socket.AF_INET6,
            SIX,
            [(41, 50, IN6_PKTINFO.pack(LINK, number))],
            Sender(SIX, 5353, LINK, non_unicast=False, interface=number),
        ),
        (
            socket.AF_INET6,
            bytes(10) + b"\xff\xff" + A,
            [(41, 50, IN6_PKTINFO.pack(bytes(10) + b"\xff\xff" + B, number))],
            Sender(A, 5353, B, non_unicast=False),
        ),
    ]
    for family, address, own, wanted in cases:
        infos = [*before, *own, *after]
        arrays = arrived(family, address, b"".join(message(*info) for info in infos))
        assert arrays.sender(0)._replace(ttl=None) == wanted, "the kernel was not asked for the TTL"
        assert parse_sender(address, 5353, infos)._replace(ttl=None) == wanted
        made = arrays.origin(0, wanted)
        if before or made is not None:
            arrays.reuse_packet_info()
            arrays.set_control(0, made or b"")
            octets = b"".join(message(*info)[: socket.CMSG_LEN(len(info[2]))] for info in origin(wanted, family))
            assert bytes(arrays._sources[mmsg._CONTROL_AT :][: len(octets)]) == octets
        else:
            assert family == socket.AF_INET or wanted.interface == 0
