"""The channel between a worker and a launcher, and the memory that they share: neither side trusts the other."""

import array
import os
import socket
from collections.abc import Iterator

import pytest

from netd.daemon.channel import ClosedError, ProtocolError
from netd.daemon.packets import LONGEST, PacketChannel, close_all
from tests.support.descriptors import copies

Ends = tuple[PacketChannel, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A channel, and the other end of it as a socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        channel = PacketChannel(ours)
        yield channel, theirs
        channel.close()


def opened() -> set[str]:
    """The descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))


def attach(end: socket.socket, packet: bytes, descriptors: list[int]) -> None:
    """Send a packet with descriptors."""
    end.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])


def test_packet_arrives_with_its_descriptors_which_no_program_inherits(ends: Ends) -> None:
    channel, theirs = ends
    other = PacketChannel(theirs.dup())
    assert other.receive() is None
    assert channel.send(b"one", [theirs.fileno()])
    assert channel.send(b"two")
    received = other.receive()
    assert received
    data, [descriptor] = received
    assert data == b"one"
    assert os.path.sameopenfile(descriptor, theirs.fileno())
    assert not os.get_inheritable(descriptor)
    assert other.receive() == (b"two", [])
    assert other.receive() is None
    close_all([descriptor])
    other.close()


def test_send_without_room_is_refused_until_the_other_end_reads(ends: Ends) -> None:
    channel, theirs = ends
    while channel.send(b"x" * 1000):
        pass
    assert not channel.send(b"x")
    while not channel.send(b"y"):
        theirs.recv(LONGEST)


def test_end_is_told_after_what_was_sent_before(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(b"last")
    theirs.close()
    with pytest.raises(ClosedError):
        channel.send(b"x")
    assert channel.receive() == (b"last", [])
    for _ in range(2):
        with pytest.raises(ClosedError):
            channel.receive()


def test_end_that_left_packets_unread_is_told(ends: Ends) -> None:
    channel, theirs = ends
    channel.send(b"unread")
    theirs.close()
    with pytest.raises(ClosedError):
        channel.receive()


@pytest.mark.parametrize(
    ("packet", "number"),
    [(b"x" * (LONGEST + 1), 0), (b"x" * (LONGEST + 1), 2), (b"x", 3), (b"x", 253), (b"", 3)],
)
def test_packet_with_too_much_is_an_error_and_leaves_no_descriptor_open(ends: Ends, packet: bytes, number: int) -> None:
    channel, theirs = ends
    before = opened()
    attach(theirs, packet, [theirs.fileno()] * number)
    with pytest.raises(ProtocolError, match="too long, or some of its descriptors are lost"):
        channel.receive()
    assert opened() == before


def test_empty_packet_ends_the_channel_and_leaves_no_descriptor_open(ends: Ends) -> None:
    channel, theirs = ends
    before = opened()
    attach(theirs, b"", [theirs.fileno()])
    with pytest.raises(ClosedError):
        channel.receive()
    assert opened() == before


def test_packet_as_long_as_allowed_arrives(ends: Ends) -> None:
    channel, theirs = ends
    theirs.send(b"x" * LONGEST)
    assert channel.receive() == (b"x" * LONGEST, [])


def test_closing_descriptors_that_are_closed_already_does_nothing(ends: Ends) -> None:
    _, theirs = ends
    descriptor = os.dup(theirs.fileno())
    close_all([descriptor, descriptor, -1])
    assert copies(theirs.fileno()) == 1
