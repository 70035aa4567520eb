"""The samples of the counters."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netd.daemon.supervisor.history import INTERVAL, SAMPLES, History
from netd.shared.table import Counts


def test_samples_are_reported_in_order_and_only_the_last_ones() -> None:
    history = History()
    for number in range(300):
        counts = Counts(accepted=number, datagrams_out=2 * number, active=7)
        counts.refused["rate"] = number
        counts.dropped["kernel"] = 5
        history.take_sample({"echo": counts}, number * INTERVAL, 1e9 + number)
    report = history.report()
    last = list(range(300 - SAMPLES, 300))
    assert report["times"] == [1e9 + number for number in last]
    assert report["services"] == {
        "echo": {
            "answered": [3 * number for number in last],
            "connections": [7] * SAMPLES,
            "refused": last,
            "dropped": [5] * SAMPLES,
        }
    }


def test_service_that_is_added_later_has_none_before_and_a_removed_one_is_dropped() -> None:
    history = History()
    history.take_sample({"old": Counts()}, 0.0, 0.0)
    history.take_sample({"old": Counts(), "new": Counts(accepted=3)}, 5.0, 5.0)
    assert history.report()["services"]["new"]["answered"] == [None, 3]
    history.take_sample({"new": Counts()}, 10.0, 10.0)
    assert history.report()["services"].keys() == {"new"}


@given(st.lists(st.floats(0, 20), max_size=50))
def test_samples_are_at_least_the_interval_apart(waits: list[float]) -> None:
    history = History()
    now = 0.0
    for wait in waits:
        now += wait
        history.take_sample({}, now, now)
    times = history.report()["times"]
    assert all(b - a >= INTERVAL * 0.9 - 0.01 for a, b in pairwise(times))
    assert len(times) <= SAMPLES


def test_samples_bound_any_number_that_a_worker_has_written() -> None:
    history = History()
    history.take_sample({"echo": Counts(accepted=2**63 - 1, datagrams_out=2**63 - 1, active=-5)}, 0.0, 0.0)
    assert history.report()["services"]["echo"]["answered"] == [2**63 - 1]
