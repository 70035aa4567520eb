"""Lines and chunks, in segments that are cut anywhere."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import WaitingConversation
from netd.lines import Chunks, Framing, Lines, Messages, Reader, messages, split_terminator
from netd.peer import Peer
from netd.testing import Script, script
from tests.support.services import answered


class Reading:
    """Sends each message in brackets, with its terminator."""

    def __init__(self, reader: Callable[[int], Reader], limit: int) -> None:
        self._reader = reader
        self._limit = limit

    def stream(self, peer: Peer) -> WaitingConversation:
        reader = self._reader(self._limit)
        while (message := (yield from reader.read())) is not None:
            yield b"[" + message + b"]" + reader.terminator


def reading(reader: Callable[[int], Reader] = Messages) -> Script:
    """A conversation that reads messages of at most 16 octets."""
    return script(Reading(reader, 16))


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


def test_pause_ends_the_messages_of_a_program_that_sends_no_line_ends() -> None:
    begun = reading().receives(b"ping").sends(b"").times_out().sends(b"[ping]")
    begun.receives(b"q").times_out().sends(b"[q]")
    begun.receives(b"a", b"b", b"c").times_out().sends(b"[abc]").receives(b"rest").receives_eof().sends(
        b"[rest]"
    ).ends()


@pytest.mark.parametrize("first", [b"p", b"\xff\xfb\x01p", b"a\nxy", b"\r\0xy", b"\nx"])
def test_message_that_begins_with_one_octet_or_after_a_line_end_stays_whole(first: bytes) -> None:
    begun = reading().receives(first)
    begun.output()
    for octet in (b"i", b"ng", b" 1\r"):
        begun.times_out().sends(b"").receives(octet)
    assert b"ing 1]" in begun.times_out().sends(b"").receives(b"\n").output()


def test_message_without_a_line_end_that_is_at_the_end_of_file_has_none_in_its_answer() -> None:
    for first, answer in ((b"", b""), (b"a\n", b"[a]\n"), (b"a\r\n", b"[a]\r\n")):
        reading().receives(first + b"b").sends(answer).receives_eof().sends(b"[b]").ends().also_segmented()
    reading().receives(b"b\r").receives_eof().sends(b"[b]\r\n").ends().also_segmented()
    reading().receives(b"\r").receives_eof().ends().also_segmented()


@pytest.mark.parametrize("late", [[b"\n"], [b"\r\n"], [b"\r", b"\n"], [b"\r\0"]])
def test_line_end_that_comes_late_ends_no_second_message(late: list[bytes]) -> None:
    begun = reading().receives(b"ping").times_out().sends(b"[ping]").receives(*late).sends(b"")
    begun.receives(b"more").times_out().sends(b"").receives(b"\n").sends(b"[more]\n")
    reading().receives(b"ping").times_out().sends(b"[ping]").receives(b"".join(late) + b"a\nb").sends(b"[a]\n")


def test_carriage_return_and_nothing_else_is_a_line_end_after_a_pause() -> None:
    """RFC 854 has LF or NUL after it. Where that comes late, it is a part of the same line end."""
    begun = reading().receives(b"ping 1\r").sends(b"").times_out().sends(b"[ping 1]\r\n")
    begun.receives(b"ping 2\r").times_out().sends(b"[ping 2]\r\n")
    begun.receives(b"\n").sends(b"").receives(b"ping 3\r").times_out().sends(b"").receives(b"\n").sends(b"[ping 3]\r\n")
    begun = reading().receives(b"ping 1\r").times_out().sends(b"[ping 1]\r\n").receives(b"\0").sends(b"")
    begun.receives(b"b\r\0").sends(b"[b]\r\n").receives_eof().ends()
    reading(Lines).receives(b"ping 1\r").times_out().receives(b"\n").sends(b"[ping 1]\r\n")
    for reader in (Lines, Messages):  # within a line it is an octet like others
        reading(reader).receives(b"ping 1\rping 2\r").receives_eof().sends(b"[ping 1\rping 2]\r\n").ends()


def test_octets_that_wait_for_a_line_end_are_told_after_a_pause() -> None:
    for reader in (Lines, Messages):
        begun = script(Reading(reader, 16)).receives(b"a\nping")
        assert begun.sends(b"[a]\n").unanswered == ""
        assert begun.times_out().unanswered.startswith("4 octets without a line end")
        assert begun.receives(b"s").unanswered == ""
        assert begun.times_out().unanswered.startswith("5 octets without a line end")
        assert begun.receives(b"\n").sends(b"[pings]\n").unanswered == ""
    begun = script(Reading(lambda limit: messages("line", limit), 16)).receives(b"p").times_out()
    assert begun.unanswered == "1 octet without a line end; framing: chunk answers without one"


@pytest.mark.parametrize("framing", ["auto", "line", "chunk"])
def test_peer_is_silent_until_a_message_begins(framing: Framing) -> None:
    class Greeting:
        def stream(self, peer: Peer) -> WaitingConversation:
            reader = messages(framing, 16)
            silent = yield from reader.is_silent(1.0)
            yield b"hi" if silent else b"oh"
            while (message := (yield from reader.read())) is not None:
                yield b"[" + message + b"]" + reader.terminator

    script(Greeting()).times_out().sends(b"hi").receives(b"a\n").sends(b"[a]\n").receives_eof().ends()
    script(Greeting()).receives(b"a\n").sends(b"oh[a]\n").receives_eof().ends()
    script(Greeting()).receives_eof().sends(b"hi").ends()
    if framing != "chunk":
        script(Greeting()).receives(b"\xff\xfb\x01").sends(b"\xff\xfe\x01").times_out().sends(b"hi")


@given(parts=st.lists(telnet_parts, max_size=12))
def test_without_a_pause_messages_are_lines_and_end_as_they_did(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert answered(Reading(Messages, 16), whole).rstrip() == lines(whole).rstrip()


@given(parts=st.lists(st.one_of(telnet_parts, st.none()), max_size=12))
def test_pauses_lose_no_octet_but_line_ends(parts: list[bytes | None]) -> None:
    begun = script(Reading(Messages, 4096))
    sent = b""
    for part in parts:
        if part:
            begun.receives(part)
        elif begun._receive and begun._receive.seconds:
            begun.times_out()
        sent += begun.output()
    sent += begun.receives_eof().output()
    text = re.compile(rb"[][\r\n\0]")
    assert text.sub(b"", without_refusals(sent)[0]) == text.sub(
        b"", without_refusals(answered(Reading(Lines, 4096), b"".join(filter(None, parts))))[0]
    )
