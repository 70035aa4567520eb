"""Scripts that are repeated with their input in other segments."""

from netd.contract import Conversation
from netd.peer import Peer
from netd.testing import build, script
from tests.support.scripted import Reverse, failure


def test_same_script_holds_in_all_segments() -> None:
    script(build(Reverse)).receives(b"ab\r\ncd\r\n").sends(b"ba\r\ndc\r\n").receives(b"e").receives_eof().sends(
        b"e\r\n"
    ).ends().also_segmented()


class Chunky:
    """Answers each segment that is longer than one octet, so that it matters where the input is cut."""

    def __init__(self, shortest: int) -> None:
        self._shortest = shortest

    def stream(self, peer: Peer) -> Conversation:
        while data := (yield None):
            if len(data) >= self._shortest:
                yield b"."


def test_service_for_which_segments_matter_fails() -> None:
    whole = script(Chunky(3)).receives(b"abc").sends(b".")
    assert "  receives       b'a' b'bc'\n- sends          b'.'" in failure(whole.also_segmented)
    one = script(Chunky(1)).receives(b"a").sends(b".").receives_eof().ends().also_segmented()
    assert one.ended
    counted = script(Chunky(2)).receives(b"abcd").sends(b".")
    assert "  receives       b'a' b'bcd'" not in failure(counted.also_segmented), "two cuts give the same answer"


def test_each_octet_of_each_step_is_a_cut_and_all_octets_come_alone() -> None:
    came: list[list[bytes]] = []

    class Listening:
        def stream(self, peer: Peer) -> Conversation:
            came.append([])
            while data := (yield None):
                came[-1].append(data)

    script(Listening()).receives(b"abc").receives(b"d", b"e").receives_eof().ends().also_segmented()
    assert came == [
        [b"abc", b"d", b"e"],
        [b"a", b"bc", b"d", b"e"],
        [b"ab", b"c", b"d", b"e"],
        [b"abc", b"d", b"e"],
        [b"a", b"b", b"c", b"d", b"e"],
    ]


def test_end_that_depends_on_segments_fails() -> None:
    class Ends:
        """Ends at the first segment of three octets."""

        def stream(self, peer: Peer) -> Conversation:
            while len((yield None)) != 3:
                pass

    assert "- ends\n+ asks for input" in failure(script(Ends()).receives(b"abc").also_segmented)
    script(Ends()).receives(b"ab").also_segmented()
