"""The channel: messages and their descriptors, and packets of a worker that an attacker controls."""

import os
import resource
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.daemon.channel import Channel, ChannelError, ClosedError, DescriptorsLostError, ProtocolError, pair
from tests.support.descriptors import copies


def ends() -> tuple[Channel, Channel]:
    one, other = pair()
    return Channel(one, takes_descriptors=False), Channel(other, takes_descriptors=True)


@given(st.lists(st.dictionaries(st.text(max_size=9), st.text(max_size=99)), max_size=20))
def test_messages_arrive_as_they_were_sent(messages: list[dict[str, str]]) -> None:
    one, other = ends()
    for message in messages:
        one.send(message)
    assert [other.receive() for _ in messages] == [(message, []) for message in messages]
    assert other.receive() is None
    one.close()
    with pytest.raises(ChannelError):
        other.receive()
    other.close()


def test_message_larger_than_a_packet_has_all_its_descriptors() -> None:
    one, other = ends()
    files = [os.memfd_create(f"{number}") for number in range(300)]
    for number, file in enumerate(files):
        os.write(file, b"%d" % number)
    one.send({"text": "x" * 150_000}, files)
    received = other.receive()
    assert received
    message, descriptors = received
    assert len(message["text"]) == 150_000
    assert [os.pread(descriptor, 9, 0) for descriptor in descriptors] == [b"%d" % number for number in range(300)]
    for descriptor in (*files, *descriptors):
        os.close(descriptor)
    one.close()
    other.close()


def test_message_with_descriptors_beyond_the_limit_is_received_without_them() -> None:
    one, other = ends()
    files = [os.memfd_create("x") for _ in range(20)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files) + 3, limits[1]))
    try:
        one.send({"a": 1}, files)
        with pytest.raises(DescriptorsLostError) as lost:
            other.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert lost.value.message == {"a": 1}
    assert [copies(file) for file in files] == [1] * 20, "all received descriptors are closed"
    for file in files:
        os.close(file)
    one.send({"b": 2})
    assert other.receive() == ({"b": 2}, [])
    one.close()
    other.close()


@pytest.mark.parametrize(
    "packet", [b"", b"?{}", b".[]", b".{", b".\xff", b".1", b"." + b"[" * 50_000, b"." + b"x" * 90_000]
)
def test_invalid_packet_is_an_error(packet: bytes) -> None:
    raw, end = pair()
    channel = Channel(end, takes_descriptors=False)
    raw.send(packet)
    with pytest.raises(ChannelError):
        channel.receive()
    raw.close()
    channel.close()


def test_descriptor_from_a_worker_is_closed_and_is_an_error() -> None:
    raw, end = pair()
    channel = Channel(end, takes_descriptors=False)
    file = os.memfd_create("x")
    socket.send_fds(raw, [b".{}"], [file])
    with pytest.raises(ChannelError):
        channel.receive()
    assert copies(file) == 1
    os.close(file)
    raw.close()
    channel.close()


@pytest.mark.parametrize(("size", "most"), [(1, 1), (59_999, 1), (60_000, 18)])
def test_message_without_end_is_an_error_after_few_packets(size: int, most: int) -> None:
    raw, end = pair()
    channel = Channel(end, takes_descriptors=False)
    raw.setblocking(False)
    for _ in range(most - 1):
        raw.send(b"+" + b"x" * size)
        assert channel.receive() is None
    raw.send(b"+" + b"x" * size)
    with pytest.raises(ProtocolError):
        channel.receive()
    raw.close()
    channel.close()


def test_process_that_does_not_read_is_an_error_after_the_timeout() -> None:
    one, other = ends()
    with pytest.raises(ChannelError, match="does not read"):
        for _ in range(1000):
            one.send({"text": "x" * 50_000}, seconds=0.1)
    one.close()
    other.close()


@pytest.mark.parametrize("text", [b'{"a":' + b"9" * 30 + b"}", b'{"a":NaN}', b'{"a":-Infinity}'])
def test_number_that_is_too_long_or_not_finite_is_an_error(text: bytes) -> None:
    ours, theirs = pair()
    with theirs:
        channel = Channel(ours, takes_descriptors=False)
        theirs.send(b"." + text)
        with pytest.raises(ChannelError):
            channel.receive()
        channel.close()


def test_messages_of_an_end_that_was_closed_with_unread_packets_are_received() -> None:
    one, other = ends()
    one.send({"unread": 1})
    other.send({"last": 2})
    other.close()
    assert one.receive() == ({"last": 2}, [])
    with pytest.raises(ClosedError):
        one.receive()
    one.close()
