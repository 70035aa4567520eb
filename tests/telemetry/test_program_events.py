"""The counters and log lines of programs, and what is kept of the last failure."""

import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.contract import End
from netd.peer import Peer, Proxied
from netd.shared.table import SUPERVISOR, Layout, Table
from netd.telemetry.program_events import (
    COUNTERS,
    NOT_STARTED,
    ProgramCounts,
    ProgramEvents,
    fault_of,
    how_ended,
    last_failure,
)
from netd.telemetry.throttle import LINES_BURST
from tests.telemetry.both_renderings import assert_same_fields
from tests.telemetry.clock import Clock

Lines = list[dict[str, Any]]

PEER = Peer("tcp", "192.0.2.7", 4711)


def end(code: int | None, *, seconds: float = 1.5, timed_out: bool = False) -> End:
    return End(code, seconds, 0.25, 0.5, 2**20, timed_out)


def named(log: Lines, event: str) -> Lines:
    return [line for line in log if line["event"] == event]


def table(workers: int = 2) -> Table:
    made = Table(layout=Layout(COUNTERS))
    made.workers = workers
    return made


@pytest.mark.parametrize(
    ("code", "how", "fault"),
    [(0, "success", 0), (3, "failure", 3), (-signal.SIGSEGV, "signal", 256 + 11), (None, "unknown", 0)],
)
def test_end_has_a_class_and_a_fault(code: int | None, how: str, fault: int) -> None:
    assert how_ended(end(code)) == how
    assert fault_of(end(code)) == fault


def test_end_that_netd_has_brought_about_is_no_fault() -> None:
    assert fault_of(end(-signal.SIGTERM), expected=True) == 0
    assert fault_of(end(-signal.SIGKILL, timed_out=True)) == 0


def test_counters_of_all_processes_are_added_up_and_marks_are_none() -> None:
    counted = table()
    for process in (0, 1, SUPERVISOR):
        counts = ProgramCounts(counted, process)
        counts.started(2)
        counts.ended("failure", 1, 0.5, 20.0)
        counts.not_started()
    assert counted.read().own == {
        "programs_started": 6,
        "programs_ended.failure": 3,
        "programs_not_started": 3,
        "programs_cpu_us": 1_500_000,
        "programs_duration_us": 60_000_000,
        "programs_durations.60": 3,
    }


def test_last_failure_is_that_of_any_process_and_lasts_until_one_has_ended_well() -> None:
    clock = Clock()
    counted = table()
    processes = [ProgramCounts(counted, process, clock) for process in (0, 1, SUPERVISOR)]
    clock.now = 10.0
    assert last_failure(counted, 10.0) is None
    processes[0].ended("success", 0, 0, 0)
    assert last_failure(counted, 10.0) is None
    clock.now = 11.0
    processes[1].ended("failure", 3, 0, 0)
    assert last_failure(counted, 11.0) == (11.0, "exit code 3", True)
    clock.now = 12.0
    processes[2].ended("signal", 256 + signal.SIGSEGV, 0, 0)
    assert last_failure(counted, 13.0) == (12.0, "signal SIGSEGV", True)
    clock.now = 14.0
    processes[0].ended("success", 0, 0, 0)
    assert last_failure(counted, 14.0) == (12.0, "signal SIGSEGV", False)
    clock.now = 15.0
    processes[0].not_started()
    assert last_failure(counted, 15.0) == (15.0, "it could not be started", True)
    clock.now = 16.0
    processes[0].ended("unknown", 0, 0, 0)
    assert last_failure(counted, 16.0) == (15.0, "it could not be started", True)


@pytest.mark.parametrize("number", [-(2**63), -1, 2**63 - 1, 5_000, 511, NOT_STARTED - 1, NOT_STARTED + 1])
def test_numbers_that_a_worker_has_made_up_are_described_too(number: int) -> None:
    counted = table()
    for name in COUNTERS:
        counted.column(1)[counted.layout.cells[name]] = number
    found = last_failure(counted, 1.0)
    assert found is None or (found.at <= 1.0 and len(found.why) < 40)


def test_program_is_logged_from_start_to_end(log: Lines) -> None:
    events = ProgramEvents("agent")
    events.program_started(PEER, 17)
    events.program_ended(PEER, 17, end(0))
    events.program_ended("", 18, end(-signal.SIGKILL, timed_out=True))
    events.program_ended("", 19, end(None))
    events.program_ended("", 20, end(-signal.SIGRTMIN - 1))
    started, *ended = log
    assert started == {"event": "program_started", "level": "info", "service": "agent", "peer": PEER.remote, "pid": 17}
    assert ended[0] == {
        "event": "program_ended",
        "level": "info",
        "service": "agent",
        "peer": PEER.remote,
        "pid": 17,
        "code": 0,
        "duration": 1.5,
        "user_time": 0.25,
        "system_time": 0.5,
        "memory": 2**20,
    }
    assert (ended[1]["signal"], ended[1]["reason"], "peer" in ended[1]) == ("SIGKILL", "lifetime", False)
    assert not {"code", "signal", "user_time"} & ended[2].keys()
    assert ended[3]["signal"] == "35"


PEERS = st.builds(
    lambda end, port, proxied: Peer(end[0], end[1], port, proxied=proxied),
    st.sampled_from([("tcp", "192.0.2.7"), ("tcp", "2001:db8::1"), ("tcp", 'fe80::1%e"0'), ("unix", 'a "path"')]),
    st.integers(0, 65535),
    st.sampled_from([None, Proxied("192.0.2.1:5")]),
)
SECONDS = st.floats(0, 1e6)
ENDS = st.builds(
    End, st.sampled_from([0, 3, -9, None]), SECONDS, SECONDS, SECONDS, st.integers(0, 2**50), st.booleans()
)


@given(PEERS | st.sampled_from(["", 'a "path"']), st.integers(1, 2**31), ENDS)
def test_lines_of_a_program_have_the_same_fields_in_json_as_elsewhere(peer: Peer | str, pid: int, how: End) -> None:
    def log() -> None:
        events = ProgramEvents('a "name"')
        events.program_started(peer, pid)
        events.program_ended(peer, pid, how)

    assert_same_fields(log)


def test_lines_of_errors_are_limited_and_counted(log: Lines) -> None:
    clock = Clock()
    counted = table()
    events = ProgramEvents("agent", counted, 0, clock=clock)
    events.error_lines(PEER.remote, 17, [b"line %d" % number for number in range(int(LINES_BURST) - 10)])
    events.error_lines(PEER.remote, 17, [b"line %d" % number for number in range(int(LINES_BURST) - 10, 150)])
    lines = named(log, "program_error")
    assert len(lines) == LINES_BURST
    assert lines[-1]["line"] == f"line {int(LINES_BURST) - 1}"
    assert [one["number"] for one in named(log, "program_errors_skipped")] == [50]
    assert counted.read().own["programs_error_lines"] == 150
    events.error_lines(PEER.remote, 17, [b"x"] * 7)
    clock.now += 60
    events.log_pending()
    assert [one["number"] for one in named(log, "program_errors_skipped")] == [50, 7]
    events.error_lines(PEER.remote, 17, [b"one more"])
    assert named(log, "program_error")[-1]["line"] == "one more"


def test_program_that_cannot_be_started_is_logged_once_a_minute_for_each_error(log: Lines) -> None:
    clock = Clock()
    events = ProgramEvents("agent", clock=clock)
    for _ in range(3):
        events.program_not_started(PEER.remote, "cannot start /bin/x: No such file or directory")
        events.program_not_started("", "cannot start /bin/x: Cannot allocate memory")
    assert [(one["error"][21:27], one["number"]) for one in named(log, "program_not_started")] == [
        ("No suc", 1),
        ("Cannot", 1),
    ]
