"""The UDP reply guard, without a socket."""

import json
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.addresses import parse_address
from netd.admission.policy import Policy
from netd.admission.reply_guard import EXPLANATIONS, Allowance, Loops, Objection, ReplyGuard, Watched

OURS = frozenset({7, 7007, 40000})
A, B = parse_address("192.0.2.7"), parse_address("2001:db8::7")
PEER = Watched("peer")


def guard(**policy: object) -> ReplyGuard:
    return ReplyGuard(Policy.model_validate_json(json.dumps(policy)))


@pytest.mark.parametrize(
    ("address", "port", "non_unicast", "objection"),
    [
        ("192.0.2.7", 5353, False, None),
        ("2001:db8::7", 1024, False, None),
        ("127.0.0.1", 65535, False, None),
        ("192.0.2.7", 0, False, "source_port"),
        ("192.0.2.7", 1023, False, "source_port"),
        ("192.0.2.7", 7, False, "source_port"),
        ("192.0.2.7", 7007, False, "source_port"),
        ("2001:db8::7", 40000, False, "source_port"),
        ("0.0.0.0", 5353, False, "source_address"),
        ("0.1.2.3", 5353, False, "source_address"),
        ("224.0.0.1", 5353, False, "source_address"),
        ("239.255.255.255", 5353, False, "source_address"),
        ("240.0.0.1", 5353, False, "source_address"),
        ("255.255.255.255", 5353, False, "source_address"),
        ("::ffff:255.255.255.255", 5353, False, "source_address"),
        ("ff02::1", 5353, False, "source_address"),
        ("::", 5353, False, "source_address"),
        ("::1", 5353, False, None),
        ("223.255.255.255", 5353, False, None),
        ("1.0.0.0", 5353, False, None),
        ("192.0.2.7", 5353, True, "destination"),
    ],
)
def test_question_from_a_dangerous_port_or_address_is_rejected(
    address: str, port: int, non_unicast: bool, objection: str | None
) -> None:
    octets = parse_address(address)
    assert guard().check_question(octets, port, OURS, non_unicast=non_unicast) == objection
    assert objection is None or objection in EXPLANATIONS
    assert guard(reply_guard=False).check_question(octets, port, OURS, non_unicast=non_unicast) is None
    if not non_unicast:
        assert guard().explain_question(octets, port, OURS)[0] == (objection is None)
        assert guard(reply_guard=False).explain_question(octets, port, OURS) == (True, "off")


def test_each_objection_is_explained() -> None:
    assert EXPLANATIONS.keys() == set(get_args(Objection))


def cut(answer: bytes, most: int) -> bytes | None:
    return answer[:most]


@pytest.mark.parametrize(
    ("question", "answer", "shorten", "sent"),
    [
        (0, 64, None, 64),
        (0, 65, None, None),
        (64, 65, None, None),
        (65, 65, None, 65),
        (100, 101, None, None),
        (0, 65, cut, 64),
        (100, 200, cut, 100),
        (100, 200, lambda answer, most: None, None),
        (100, 200, lambda answer, most: answer, None),
        (100, 200, lambda answer, most: answer[: most + 1], None),
        (100, 200, lambda answer, most: b"", 0),
        (100, 90, lambda answer, most: None, 90),
    ],
)
def test_answer_to_an_unlisted_source_is_no_longer_than_its_question_or_64_octets(
    question: int, answer: int, shorten: Callable[[bytes, int], bytes | None] | None, sent: int | None
) -> None:
    data = bytes(answer)
    checked, loops = guard().check_answer(None, bytes(question), data, 0.0, amplify=False, shorten=shorten)
    assert (checked if checked is None else len(checked)) == sent
    assert not loops
    assert guard().check_answer(None, bytes(question), data, 0.0, amplify=True, shorten=shorten) == (data, False)


@given(st.booleans(), st.lists(st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "local"])), st.sampled_from([A, B]))
def test_explanation_agrees_with_the_length_limit(switched_on: bool, listed: list[str], address: bytes) -> None:
    asked = guard(reply_guard=switched_on, amplify=listed)
    amplify = asked.amplifies(address)
    checked, _ = asked.check_answer(None, b"", bytes(65), 0.0, amplify=amplify, shorten=None)
    why = asked.explain_answer(address)
    assert (checked is None) == (why == "an answer has at most the length of its question, or 64 octets")
    assert (why == "reply_guard is off") == (not switched_on)


def test_run_is_of_sent_answers_and_only_of_a_sender_that_is_watched() -> None:
    def longest(watched: Watched | None, times: int = 1000) -> int:
        asked, data = guard(), b"x" * 10
        return max(
            asked.check_answer(watched, data, data * 100, number / 1000, amplify=False, shorten=lambda *_: data)[1]
            for number in range(times)
        )

    assert longest(PEER) == 999
    assert longest(None) == 0


def test_exempt_sender_is_watched_whatever_it_sends_unless_its_port_is_that_of_a_client() -> None:
    assert guard().watch("peer", 40000, is_exempt=False) == Watched("peer")
    assert guard(reply_guard=False).watch("peer", 40000, is_exempt=False) == Watched("peer")
    assert guard().watch("peer", 40000, is_exempt=True) == Watched("peer", is_exempt=True)
    assert guard().watch("peer", 7007, is_exempt=True) == Watched("peer", is_exempt=True, any_content=True)
    assert guard(reply_guard=False).watch("peer", 7007, is_exempt=True) is None


def runs(loops: Loops, number: int, pause: float = 0.001, watched: Watched = PEER, start: float = 0.0) -> list[int]:
    """Have a peer send back this many answers: the lengths of the run."""
    return [loops.record_exchange(watched, b"x", b"x", start + n * pause) for n in range(number)]


def test_run_is_of_answers_that_a_peer_sends_back() -> None:
    loops = Loops()
    assert runs(loops, 1000) == list(range(1000))
    assert runs(loops, 1000, start=1000.0) == list(range(1000)), "after a pause it is another run"


def test_run_ends_when_it_is_endless() -> None:
    found = runs(Loops(), 3 * Loops.ENDLESS)
    assert found[: Loops.ENDLESS + 3] == [*range(Loops.ENDLESS + 1), 0, 1]
    assert found.count(Loops.ENDLESS) == 2


def test_probe_that_repeats_its_question_is_no_loop() -> None:
    assert max(runs(Loops(), 100_000, pause=0.2)) == 0


def test_peer_with_questions_other_than_the_answers_is_no_loop() -> None:
    loops = Loops()
    for number in range(10_000):
        word = b"%d" % number
        assert loops.record_exchange(PEER, word, word, number / 1000) == 0
    for number in range(10_000):
        assert loops.record_exchange(Watched("other"), b"time?", b"12:00", number / 1000) == 0


def test_service_that_chooses_its_answers_is_in_a_loop() -> None:
    loops, watched = Loops(), Watched(b"chargen", any_content=True)
    found = [loops.record_exchange(watched, b"%d" % number, b"x", number / 1000) for number in range(1000)]
    assert found == list(range(1000))


def test_loop_is_detected_among_other_peers() -> None:
    loops = Loops()
    longest = 0
    for number in range(2000):
        longest = max(longest, loops.record_exchange(PEER, b"x", b"x", number / 1000))
        for other in range(100):
            loops.record_exchange(Watched(b"%d" % (number * 100 + other)), b"y", b"y", number / 1000)
    assert longest > Loops.MOST


@given(st.lists(st.tuples(st.sampled_from(["ask", "answer"]), st.integers(0, 200)), max_size=40))
def test_allowance_is_one_answer_for_each_question_and_no_amplifier(steps: list[tuple[str, int]]) -> None:
    allowance = Allowance()
    questions = allowed = answers = sent = 0
    for step, octets in steps:
        if step == "ask":
            allowance.add(1, octets)
            questions, allowed = questions + 1, allowed + max(octets, 64)
        else:
            may = answers < questions and sent + octets <= allowed
            assert allowance.take(octets) == may
            answers, sent = answers + may, sent + octets * may


def test_questions_that_come_together_are_added_up() -> None:
    allowance = Allowance()
    allowance.add(3, 30)
    allowance.add(2, 1000)
    assert not allowance.take(3 * 64 + 1000 + 1)
    assert allowance.take(3 * 64 + 1000)
    assert [allowance.take(0) for _ in range(5)] == [True] * 4 + [False]
