"""Lines and chunks, in segments that are cut anywhere."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import Conversation
from netd.lines import Chunks, Lines, Reader, split_terminator
from netd.peer import Peer
from netd.testing import script
from tests.support.services import answered


class Reading:
    """Sends each message in brackets, with its terminator."""

    def __init__(self, reader: Callable[[int], Reader], limit: int) -> None:
        self._reader = reader
        self._limit = limit

    def stream(self, peer: Peer) -> Conversation:
        reader = self._reader(self._limit)
        while (message := (yield from reader.read())) is not None:
            yield b"[" + message + b"]" + reader.terminator


def lines(*segments: bytes) -> bytes:
    """All that is sent for these segments and the end of file."""
    return answered(Reading(Lines, 16), *segments)


@pytest.mark.parametrize(
    ("came", "read"),
    [
        (b"a\n", b"[a]\n"),
        (b"a\r\n", b"[a]\r\n"),
        (b"a\r\0", b"[a]\r\n"),
        (b"\n\r\n\r\0", b"[]\n[]\r\n[]\r\n"),
        (b"a", b"[a]\r\n"),
        (b"a\r", b"[a]\r\n"),
        (b"\r", b""),
        (b"", b""),
        (b"a\rb\n", b"[a\rb]\n"),
        (b"a\r\r\nb", b"[a\r]\r\n[b]\r\n"),
        (b"a\r\0b\nc", b"[a]\r\n[b]\n[c]\r\n"),
        (b"a\0b\n", b"[a\0b]\n"),
    ],
)
def test_line_ends(came: bytes, read: bytes) -> None:
    assert lines(came) == read


def test_a_line_at_the_limit_is_read_and_one_octet_more_is_refused() -> None:
    refusal = b"error: a line may have at most 16 octets\r\n"
    for end in (b"\n", b"\r\n", b"\r\0"):
        assert lines(b"x" * 16 + end) == b"[" + b"x" * 16 + b"]" + (b"\n" if end == b"\n" else b"\r\n")
        assert lines(b"x" * 17 + end) == refusal
    assert lines(b"x" * 17) == refusal
    assert lines(b"ok\n" + b"x" * 17 + b"\nnever\n") == b"[ok]\n" + refusal


def test_a_line_without_end_is_refused_before_its_end() -> None:
    script(Reading(Lines, 16)).receives(b"x" * 18).sends(b"error: a line may have at most 16 octets\r\n").ends()


telnet_parts = st.sampled_from(
    [
        b"a",
        b"ping 1",
        b"\n",
        b"\r\n",
        b"\r\0",
        b"\r",
        b"\0",
        b"\xff\xff",
        b"\xff\xfb\x01",
        b"\xff\xfd\x03",
        b"\xff\xf4",
        b"\xff\xfa\x18\x00xterm\xff\xf0",
        b"\xff\xfa\xff\xff\xff\xf0",
        b"x" * 20,
        b"\xc3\xa9",
    ]
)


def without_refusals(said: bytes) -> tuple[bytes, list[bytes]]:
    """The answers, and the refusals of telnet options apart, since their order depends on the segments.

    After a line that is too long, neither is sent.
    """
    refusals = re.compile(rb"\xff[\xfc\xfe][\x00-\x7f]")
    return refusals.sub(b"", said), [] if b"error: " in said else refusals.findall(said)


@given(parts=st.lists(telnet_parts, max_size=12), data=st.data())
def test_lines_are_the_same_wherever_the_segments_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
    octets = [whole[i : i + 1] for i in range(len(whole))]
    assert without_refusals(lines(*pieces)) == without_refusals(lines(whole)) == without_refusals(lines(*octets))


def test_telnet_options_are_refused_and_refusals_are_not_answered() -> None:
    assert lines(b"\xff\xfd\x06a\n") == b"\xff\xfc\x06[a]\n", "DO is answered with WONT"
    assert lines(b"\xff\xfb\x01", b"a\n") == b"\xff\xfe\x01[a]\n", "WILL is answered with DONT"
    assert lines(b"\xff\xfc\x01\xff\xfe\x01a\n") == b"[a]\n"


def test_many_lines_in_one_segment_are_read_in_linear_time() -> None:
    # In quadratic time this would copy gigabytes, and exceed the time-out of the tests.
    assert lines(b"\n" * 300_000) == b"[]\n" * 300_000
    assert lines(b"\r\0" * 30_000) == b"[]\r\n" * 30_000


def test_each_segment_is_a_message_in_chunks() -> None:
    begun = script(Reading(Chunks, 16)).receives(b"ping").sends(b"[ping]").receives(b"a\nb\r\n").sends(b"[a\nb]\r\n")
    begun.receives(b"\xff\xfb\x01").sends(b"[\xff\xfb\x01]")
    begun.receives(b"x" * 16).sends(b"[" + b"x" * 16 + b"]").receives_eof().ends()
    script(Reading(Chunks, 16)).receives(b"x" * 17).sends(b"error: a line may have at most 16 octets\r\n").ends()


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (b"a\r\n", (b"a", b"\r\n")),
        (b"a\n", (b"a", b"\n")),
        (b"a\r\0", (b"a", b"\r\0")),
        (b"a", (b"a", b"")),
        (b"", (b"", b"")),
        (b"\n\n", (b"\n", b"\n")),
    ],
)
def test_a_whole_message_is_split_from_its_terminator(message: bytes, parts: tuple[bytes, bytes]) -> None:
    assert split_terminator(message) == parts
