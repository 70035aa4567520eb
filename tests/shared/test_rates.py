"""Token buckets: compared with a simple model, and with very many sources."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.shared.rates import CELLS, WIDTH, Rates, taken
from netd.shared.sketch import places
from netd.values import Rate, parse_rate


def buckets() -> Rates:
    return Rates(memoryview(bytearray(CELLS * 8)).cast("q"))


class Bucket:
    """The model of a token bucket: it starts full, gets one token in each interval, and holds at most ``burst``."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = Fraction(rate.burst)
        self.when = 0

    def take(self, now: int, number: int) -> int:
        come = Fraction(now - self.when, self.rate.interval)
        self.tokens = min(self.tokens + come, Fraction(self.rate.burst))
        self.when = now
        given = min(number, int(self.tokens))
        self.tokens -= given
        return given


_RATES = st.builds(Rate, st.integers(1, 1000), st.sampled_from("smhd"), st.integers(1, 50))
_SCRIPT = st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 60)), max_size=60)


@given(_RATES, _SCRIPT, st.integers(0, 10**18))
def test_bucket_gives_as_many_tokens_as_the_model(rate: Rate, script: list[tuple[int, int]], start: int) -> None:
    model, full, now = Bucket(rate), 0, start
    model.when = start
    for wait, number in script:
        now += wait
        given_now, full = taken(full, now, rate, number)
        assert given_now == model.take(now, number)


@given(_RATES, _SCRIPT)
def test_left_is_the_number_of_tokens_that_can_be_taken(rate: Rate, script: list[tuple[int, int]]) -> None:
    rates, now = buckets(), 1000.0
    for wait, number in script:
        now += wait / 1e9
        left = rates.left(b"x", rate, now)
        assert sum(rates.take(b"x", rate, now) for _ in range(number)) == min(number, left)
        assert rates.left(b"x", rate, now) == max(0, left - number)


def test_rate_of_fifty_a_second_with_a_burst_of_a_hundred() -> None:
    rates, rate = buckets(), Rate(50, "s", 100)
    assert sum(rates.take(b"x", rate, 10.0) for _ in range(150)) == 100
    assert sum(rates.take(b"x", rate, 11.0) for _ in range(150)) == 50
    assert sum(rates.take(b"x", rate, 11.0 + n / 1000) for n in range(10_000)) in (499, 500)
    assert sum(rates.take(b"x", rate, 1000.0) for _ in range(150)) == 100


def test_source_at_its_limit_takes_no_token_of_another() -> None:
    rates, rate = buckets(), Rate(50, "s", 100)
    assert sum(rates.take(b"flood", rate, 10.0) for _ in range(1000)) == 100
    assert sum(rates.take(b"other", rate, 10.0) for _ in range(100)) == 100


@pytest.mark.slow  # a million sources
def test_source_among_a_million_forged_ones_is_served() -> None:
    # 300,000 datagrams a second from sources that send one each, and one source that sends 40 a second.
    rates, rate = buckets(), Rate(50, "s", 100)
    served = asked = 0
    for number in range(600_000):
        now = 10.0 + number / 300_000
        rates.take(number.to_bytes(4), rate, now)
        if number % 7500 == 0:
            asked += 1
            served += rates.take(b"client", rate, now)
    assert served == asked == 80


def test_bucket_is_shared_by_two_processes() -> None:
    memory = memoryview(bytearray(CELLS * 8)).cast("q")
    one, other, rate = Rates(memory), Rates(memory), Rate(1, "h", 10)
    assert [sum(rates.take(b"x", rate, 5.0) for _ in range(6)) for rates in (one, other, one)] == [6, 4, 0]


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50/s", Rate(50, "s", 50)),
        ("50/s burst 100", Rate(50, "s", 100)),
        ("udp 50/s burst 100", Rate(50, "s", 100, "udp")),
        ("tcp 5/h", Rate(5, "h", 5, "tcp")),
        ("1/d burst 1", Rate(1, "d", 1)),
        ("off", None),
        (False, None),
        (0, None),
    ],
)
def test_rates_in_a_config(text: object, rate: Rate | None) -> None:
    assert parse_rate(text) == rate
    if rate:
        assert parse_rate(str(rate)) == rate


@pytest.mark.parametrize(
    "value",
    [
        "1/d burst 367",
        "1/d burst 9999999",
        "",
        "50",
        "50/",
        "/s",
        "0/s",
        "50/s burst 0",
        "50/week",
        "50 /s",
        "sctp 5/s",
        "-1/s",
        50,
        None,
        True,
        [],
    ],
)
def test_rate_rejects_other_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected a rate such as 50/s|fills again within 366 days"):
        parse_rate(value)


def test_bucket_of_a_slower_rate_counts_as_empty_and_refills_at_the_new_rate() -> None:
    rate = Rate(10, "s", 20)
    full, now = 10**15, 10**9  # eleven days ahead
    given, full = taken(full, now, rate, 5)
    assert (given, full) == (0, now + rate.depth)
    assert taken(full, now + 10**9, rate, 50)[0] == 10


def test_source_that_shares_a_cell_returns_no_token_of_another() -> None:
    mine = places(b"mine", WIDTH)
    other = next(key for n in range(10**7) if places(key := n.to_bytes(4), WIDTH)[0] == mine[0])
    rates, rate = buckets(), Rate(1, "h", 10)
    assert all(rates.take(b"mine", rate, 5.0) for _ in range(7))
    assert rates.take(other, rate, 5.0)
    assert rates.left(b"mine", rate, 5.0) == 3
