"""The counters of a service in JSON."""

from collections import Counter

from netd.shared.table import Counts
from netd.telemetry.counters import published


def test_numbers_are_always_there_and_reasons_where_they_have_occurred() -> None:
    counters = published(Counts(accepted=2, bytes_in=7, refused=Counter(rate=3), own=Counter(members=1)))
    assert (counters["connections_accepted"], counters["received_bytes"], counters["sent_bytes"]) == (2, 7, 0)
    assert (counters["connections_refused"], counters["datagrams_dropped"]) == ({"rate": 3}, {})
    assert counters["own"] == {"members": 1}


def test_connections_to_targets_are_counted_where_the_service_type_forwards() -> None:
    own = Counter({"forward_connects": 4, "forward_failures.timeout": 1, "forward_tls_handshakes": 3})
    counters = published(Counts(own=own), forwards=True)
    assert (counters["forward_connects"], counters["forward_failures"]) == (4, {"timeout": 1})
    assert (counters["forward_tls_handshakes"], counters["forward_tls_handshakes_resumed"]) == (3, 0)
    assert counters["own"] == {}
    assert "forward_connects" not in published(Counts())


def test_programs_are_counted_where_the_service_type_starts_some() -> None:
    own = Counter({"programs_started": 4, "programs_ended.signal": 1, "programs_cpu_us": 1500, "members": 1})
    own |= Counter({"programs_duration_us": 2_500_000, "programs_durations.10": 1})
    counters = published(Counts(own=own), programs=True)
    assert counters["own"] == {"members": 1}
    assert (counters["programs_started"], counters["programs_not_started"]) == (4, 0)
    assert counters["programs_ended"] == {"signal": 1}
    assert (counters["programs_cpu_seconds"], counters["programs_error_lines"]) == (0.0015, 0)
    assert counters["programs_duration_seconds"]["buckets"]["10.0"] == 1
    assert counters["programs_duration_seconds"]["sum"] == 2.5
    assert "programs_started" not in published(Counts())


def test_durations_are_a_cumulative_histogram_in_seconds() -> None:
    counts = Counts(duration_us=1_500_000, durations=Counter({"0.01": 2, "1": 1, "inf": 1}))
    assert published(counts)["connections_duration_seconds"] == {
        "count": 4,
        "sum": 1.5,
        "buckets": {
            "0.001": 0,
            "0.01": 2,
            "0.1": 2,
            "1.0": 3,
            "10.0": 3,
            "60.0": 3,
            "600.0": 3,
            "3600.0": 3,
            "+Inf": 4,
        },
    }
