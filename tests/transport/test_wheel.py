"""The timer wheel against a plain list of times."""

import math

from hypothesis import given
from hypothesis import strategies as st

from netd.transport.wheel import TICK, Wheel


class Thing:
    def __init__(self, again: float | None = None) -> None:
        self.slot = 0
        self.called: list[float] = []
        self.again = again
        self.victim: Thing | None = None
        self.wheel: Wheel | None = None

    def expire(self, now: float) -> float | None:
        self.called.append(now)
        if self.victim and self.wheel:
            self.wheel.drop(self.victim)
        return self.again


def test_empty_wheel_has_nothing_due() -> None:
    wheel = Wheel()
    assert wheel.due == math.inf
    wheel.advance(1e9)
    wheel.drop(Thing())
    assert wheel.due == math.inf


def test_timer_is_called_once_and_again_when_it_returns_a_time() -> None:
    wheel, thing = Wheel(), Thing(again=20.0)
    wheel.add(thing, 10.0)
    wheel.advance(9.9)
    assert thing.called == []
    wheel.advance(10.0 + TICK)
    assert len(thing.called) == 1
    assert abs(wheel.due - 20.0) <= TICK
    thing.again = None
    wheel.advance(21.0)
    assert len(thing.called) == 2
    assert wheel.due == math.inf


def test_timer_that_is_due_at_once_again_waits_for_the_next_tick() -> None:
    wheel, thing = Wheel(), Thing(again=0.0)
    wheel.add(thing, 10.0)
    wheel.advance(10.0)
    assert len(thing.called) == 1
    assert 10.0 < wheel.due <= 10.0 + 2 * TICK


def test_timer_may_drop_another_of_the_same_slot() -> None:
    wheel, one, other = Wheel(), Thing(), Thing()
    one.victim, other.victim = other, one
    one.wheel = other.wheel = wheel
    wheel.add(one, 1.0)
    wheel.add(other, 1.0)
    wheel.advance(2.0)
    assert len(one.called) + len(other.called) == 1
    assert wheel.due == math.inf


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.floats(0, 50)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("advance"), st.floats(0, 10)),
    )
)


@given(steps)
def test_time_out_never_expires_early_nor_more_than_a_tick_late(script: list[tuple[str, float]]) -> None:
    wheel, now = Wheel(), 0.0
    things: list[tuple[Thing, float]] = []
    dropped: set[Thing] = set()
    for step, value in script:
        if step == "add":
            things.append((Thing(), now + value))
            wheel.add(things[-1][0], now + value)
        elif step == "drop" and value < len(things):
            wheel.drop(things[int(value)][0])
            dropped.add(things[int(value)][0])
        elif step == "advance":
            now += value
            wheel.advance(now)
        waiting = [when for thing, when in things if not thing.called and thing not in dropped]
        assert wheel.due <= min(waiting, default=math.inf) + TICK + 1e-9
        for thing, when in things:
            if thing not in dropped:
                assert bool(thing.called) or now < when + TICK + 1e-9
            assert all(called >= when - 1e-9 for called in thing.called)
