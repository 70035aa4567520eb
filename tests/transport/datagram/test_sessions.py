"""The table of sessions, against a model that keeps a list and looks at all of it."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.transport.datagram.sessions import SessionTable


@dataclass(eq=False)
class Session:
    key: Hashable
    source: Hashable
    heard: list[int] = field(default_factory=list)
    """The turns in which its peer has sent."""


def first_of(sessions: list[Session]) -> Session | None:
    """The one heard once the longest ago; without such, the one last heard the longest ago."""
    once = [session for session in sessions if len(session.heard) == 1]
    return min(once or sessions, key=lambda session: session.heard[-1], default=None)


def in_the_way(sessions: list[Session], source: Hashable, most: int, per_source: int | None) -> Session | None:
    own = [session for session in sessions if session.source == source]
    if source is not None and per_source is not None and len(own) >= per_source:
        return first_of(own)
    return first_of(sessions) if len(sessions) >= most else None


STEPS = st.lists(st.tuples(st.sampled_from("aaab"), st.integers(0, 7), st.sampled_from([None, 1, 2])), max_size=60)


@given(STEPS, st.integers(1, 5), st.none() | st.integers(1, 3))
def test_table_ends_the_sessions_that_the_model_ends(
    steps: list[tuple[str, int, int | None]], most: int, per_source: int | None
) -> None:
    table = SessionTable[Session](most, per_source)
    model: list[Session] = []
    for turn, (action, peer, source) in enumerate(steps):
        key = (peer, source)
        known = next((session for session in model if session.key == key), None)
        assert table.get(key) is known
        if known and action == "b":
            table.remove(known)
            model.remove(known)
        elif known:
            known.heard.append(turn)
            table.hear(known)
        else:
            expected = in_the_way(model, source, most, per_source)
            assert table.in_the_way(source) is expected
            if expected:
                table.remove(expected)
                model.remove(expected)
            assert table.in_the_way(source) is None
            model.append(Session(key, source, [turn]))
            table.add(model[-1])
        assert table.first() is first_of(model)
        assert set(table) == set(model)
        assert len(table) == len(model) <= most
        if per_source:
            for one in {1, 2}:
                assert sum(session.source == one for session in table) <= per_source


def test_flood_of_sources_that_send_once_ends_no_session_of_a_peer_that_sends_again() -> None:
    table = SessionTable[Session](100, 10)
    talks = [Session(("client", number), "client") for number in range(10)]
    for session in talks:
        table.add(session)
        table.hear(session)
    for number in range(10_000):
        if found := table.in_the_way(number):
            assert found.source != "client"
            table.remove(found)
        table.add(Session(number, number))
    assert {session.key for session in talks} <= {session.key for session in table}


def test_source_at_its_bound_ends_a_session_of_its_own() -> None:
    table = SessionTable[Session](100, 2)
    other = Session("other", "other")
    own = [Session(number, "own") for number in range(2)]
    for session in (other, *own):
        table.add(session)
    assert table.in_the_way("own") is own[0]
    assert table.in_the_way("third") is None


@pytest.mark.parametrize("number", [1, 10_000])
def test_ended_sessions_leave_nothing_behind(number: int) -> None:
    table = SessionTable[Session](number, 3)
    for turn in range(number):
        table.add(Session(turn, turn))
    while session := table.first():
        table.remove(session)
    assert not len(table)
    assert not table._sources
    assert not len(table._order)
