"""The samples of the counters."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netd.daemon.supervisor.history import INTERVAL, SAMPLES, History
from netd.shared.table import Counts


def test_samples_are_reported_in_order_and_only_the_last_ones() -> None:
    history = History()
    for number in range(300):
        counts = Counts(requests=number, datagrams_in=2 * number, active=7, bytes_in=number, bytes_out=4)
        counts.refused["rate"] = number
        counts.dropped["kernel"] = 5
        history.take_sample({"echo": counts}, number * INTERVAL)
    report = history.report(1e9)
    last = list(range(300 - SAMPLES, 300))
    assert report["times"] == [1e9 + number * INTERVAL for number in last]
    assert report["services"] == {
        "echo": {
            "requests": [3 * number for number in last],
            "connections": [7] * SAMPLES,
            "refused": last,
            "dropped": [5] * SAMPLES,
            "received_bytes": last,
            "sent_bytes": [4] * SAMPLES,
        }
    }


def test_service_that_is_added_later_has_none_before_and_a_removed_one_is_dropped() -> None:
    history = History()
    history.take_sample({"old": Counts()}, 0.0)
    history.take_sample({"old": Counts(), "new": Counts(requests=3)}, 5.0)
    assert history.report(0.0)["services"]["new"]["requests"] == [None, 3]
    history.take_sample({"new": Counts()}, 10.0)
    assert history.report(0.0)["services"].keys() == {"new"}


@given(st.lists(st.floats(0, 20), max_size=50))
def test_samples_are_at_least_the_interval_apart(waits: list[float]) -> None:
    history = History()
    now = 0.0
    for wait in waits:
        now += wait
        history.take_sample({}, now)
    times = history.report(0.0)["times"]
    assert all(b - a >= INTERVAL * 0.9 - 0.01 for a, b in pairwise(times))
    assert len(times) <= SAMPLES


def test_samples_bound_any_number_that_a_worker_has_written() -> None:
    history = History()
    history.take_sample({"echo": Counts(requests=2**63 - 1, datagrams_in=2**63 - 1, active=-5)}, 0.0)
    assert history.report(0.0)["services"]["echo"]["requests"] == [2**63 - 1]


def test_times_are_by_the_clock_as_it_is_at_the_report() -> None:
    history = History()
    history.take_sample({}, 10.0)
    history.take_sample({}, 15.0)
    assert history.report(1000.0)["times"] == [1010.0, 1015.0]
    assert history.report(4600.0)["times"] == [4610.0, 4615.0], "the clock was set"
