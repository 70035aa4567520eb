"""Requests to workers and heartbeats, with fake workers and a manual clock; at the end with a real process."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netd.daemon.channel import DOES_NOT_READ
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import CountTraffic, Kick
from netd.daemon.messages.from_worker import Alive, Busy, Done, Failed, Kicked, ReportWanted
from netd.daemon.supervisor import requests
from netd.daemon.supervisor.requests import RESPONSE_TIMEOUT
from netd.transport.wheel import TICK
from tests.daemon.fakes import answering, logged, pool, silent
from tests.daemon.processes import ECHO
from tests.support.daemon import daemon
from tests.support.sockets import read_exactly


def test_worker_that_answers_no_heartbeat_twice_is_aborted_and_replaced(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(2)
        hung, other = made.workers
        hung.behaviour = silent
        healthy = []
        for _ in range(4):
            healthy.append((made.pool.send_heartbeats(), made.pool.healthy))
            made.loop.wait(5)
        assert healthy == [(True, True), (False, False), (False, False), (True, True)]
        [line] = logged(log, "worker_aborted")
        assert (line["pid"], line["seconds"]) == (hung.pid, 10.0)
        assert hung.signals == [signal.SIGABRT, signal.SIGCONT]
        assert made.workers == [made.forked[2], other]
        assert other.signals == []


def test_worker_that_answers_a_heartbeat_late_is_not_aborted(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        for _ in range(4):
            made.pool.send_heartbeats()
            made.loop.wait(5)
            made.pool.send_heartbeats()
            made.loop.settle()
            worker.respond(worker.last_request, Alive(0))
            made.loop.settle()
        assert worker.signals == []


def test_worker_that_an_abort_does_not_end_is_killed_after_a_second() -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.fatal = {signal.SIGKILL}
        made.pool.requests.abort(worker, 10.0)
        made.loop.wait(1 - TICK)
        assert worker.signals == [signal.SIGABRT, signal.SIGCONT]
        made.loop.wait(2 * TICK)
        assert worker.signals[2:] == [signal.SIGKILL]


def test_worker_that_prepares_a_config_has_forty_seconds_without_heartbeats(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.report(Busy())
        made.loop.settle()
        assert worker.busy_until == 0.0, "it was not asked to prepare anything"
        worker.preparing = True
        worker.report(Busy())
        worker.behaviour = silent
        made.loop.settle()
        for _ in range(8):
            made.pool.send_heartbeats()
            made.loop.wait(4.9)
        assert worker.signals == []
        for _ in range(3):
            made.pool.send_heartbeats()
            made.loop.wait(4.9)
        assert worker.signals[0] == signal.SIGABRT


def test_request_to_all_workers_has_the_responses_of_all() -> None:
    with pool() as made:
        made.start(3)
        for number, worker in enumerate(made.workers):
            worker.behaviour = answering(Kicked(number))
        made.workers[2].behaviour = answering(Failed("no descriptors left"))
        asked = made.pool.ask(Kick(service="echo"))
        assert not asked.done
        made.loop.settle()
        first, second, third = made.workers
        assert asked.get() == {first: Kicked(0), second: Kicked(1), third: Failed("no descriptors left")}
        assert [one.received for one in made.workers] == [[Kick(service="echo")]] * 3


def test_request_to_no_worker_is_answered_at_once() -> None:
    with pool() as made:
        assert made.pool.ask_all(Kick()).get() == {}


def test_worker_that_exits_during_a_request_has_no_response_and_delays_no_other() -> None:
    with pool() as made:
        made.start(2)
        lost, other = made.workers
        lost.behaviour = silent
        other.behaviour = answering(Kicked(1))
        asked = made.pool.ask(Kick())
        made.loop.settle()
        assert not asked.done
        lost.exit(-signal.SIGKILL)
        made.loop.settle()
        assert asked.get() == {other: Kicked(1)}
        assert lost.requests == {}


def test_worker_that_exited_before_a_request_has_no_response() -> None:
    with pool() as made:
        made.start(1)
        [lost] = made.workers
        lost.exit(1)
        assert made.pool.ask(Kick()).get() == {}
        made.loop.settle()
        assert [one.pid for one in made.workers] == [made.forked[1].pid]


def test_response_that_a_worker_sent_before_it_exited_counts() -> None:
    """Such as that of a worker that cannot switch to its user, and responds to the first request of any kind."""
    with pool() as made:
        made.start(1)
        [lost] = made.workers
        lost.respond(lost.last_request + 1, Failed("cannot become netd"))
        lost.exit(70)
        assert made.pool.ask(Kick()).get() == {lost: Failed("cannot become netd")}


def test_response_that_a_worker_sent_before_it_was_reaped_counts() -> None:
    with pool() as made:
        made.start(1)
        [lost] = made.workers
        lost.behaviour = silent
        asked = made.pool.ask(Kick())
        lost.respond(lost.last_request, Failed("cannot become netd"))
        lost.exited = lambda: None
        lost.exit(70)
        made.pool.reap()
        assert asked.get() == {lost: Failed("cannot become netd")}


def test_worker_that_does_not_answer_a_request_is_aborted(log: list[dict[str, Any]]) -> None:
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.behaviour = silent
        asked = made.pool.ask(Kick())
        made.loop.wait(RESPONSE_TIMEOUT - TICK)
        assert not asked.done
        made.loop.wait(2 * TICK)
        assert asked.get() == {}
        assert worker.signals[0] == signal.SIGABRT
        assert logged(log, "worker_aborted")[0]["seconds"] == RESPONSE_TIMEOUT


def test_worker_that_does_not_read_is_aborted_unless_it_prepares_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_SEND_TIMEOUT", 0.0)
    with pool() as made:
        made.start(1)
        [worker] = made.workers
        worker.fill()
        worker.busy_until = made.loop.now + 10
        assert made.pool.ask(Kick()).get() == {worker: Failed(DOES_NOT_READ)}
        assert worker.signals == []
        worker.busy_until = 0.0
        assert made.pool.ask(Kick()).get() == {worker: Failed(DOES_NOT_READ)}
        assert worker.signals[0] == signal.SIGABRT


def test_worker_that_sends_without_a_pause_does_not_delay_others() -> None:
    with pool() as made:
        made.start(2)
        attacker, other = made.workers

        class Slow(list[Any]):
            """Notices that take ten milliseconds each."""

            def append(self, notice: Any) -> None:
                made.loop.now += 0.01
                super().append(notice)

        made.notices = Slow()
        for _ in range(50):
            attacker.report(ReportWanted("status"))
        other.report(ReportWanted("history"))
        made.loop.settle()
        assert len(made.notices) == 51
        assert made.notices.index(ReportWanted("history")) < 5


@pytest.mark.parametrize(("seconds", "most"), [(0.01, 4), (0.0, 100)])
def test_children_of_a_worker_that_has_exited_do_not_delay_others(seconds: float, most: int) -> None:
    with pool() as made:
        made.start(2)
        lost, other = made.workers
        child = lost.fork()

        class Endless(list[Any]):
            """Notices that take so many seconds each, and that the child follows with the next one."""

            def append(self, notice: Any) -> None:
                made.loop.now += seconds
                super().append(notice)
                if len(self) < 1000:
                    child.send_encoded(encode(notice))

        made.notices = Endless()
        child.send_encoded(encode(ReportWanted("status")))
        lost.exit(0)
        made.pool.reap()
        child.close()
        assert 1 <= len(made.notices) <= most
        made.loop.settle()
        assert made.workers == [made.forked[2], other]


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "ReportWanted", "report": ["status"]},
        {"kind": "Offender", "source": 5},
        {"kind": "TraceLines", "trace": 1, "lines": 7},
        {"kind": "Alive", "request": 10**9, "lines_lost": 0},
    ],
)
@pytest.mark.slow
def test_worker_that_sends_an_invalid_message_is_replaced(tmp_path: Path, message: dict[str, object]) -> None:
    """Another process writes to the worker's end of the channel, as an attacker that controls the worker would."""
    with daemon(ECHO.format("off"), tmp_path) as running:
        worker = running.worker
        subprocess.run([sys.executable, "-c", SEND, str(worker), json.dumps(message)], timeout=20, check=True)
        assert running.event("message_rejected")["pid"] == worker
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        running.event("worker_started")
        assert [line["event"] for line in running.lines].count("message_rejected") == 1
        with socket.create_connection(("127.0.0.1", running.port("echo")), 20) as connection:
            connection.sendall(b"hello")
            assert read_exactly(connection, 5) == b"hello"
        assert running.ask("status")["healthy"]


# Writes into the channel of another process: the only SOCK_SEQPACKET socket it has.
SEND = """
import contextlib, ctypes, os, socket, sys
pid, text = int(sys.argv[1]), sys.argv[2].encode()
pidfd = os.pidfd_open(pid)
for number in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
    descriptor = ctypes.CDLL(None).syscall(438, pidfd, number, 0)  # pidfd_getfd(2)
    if descriptor >= 0 and os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
        found = socket.socket(fileno=descriptor)
        if found.type == socket.SOCK_SEQPACKET:
            with contextlib.suppress(BrokenPipeError):  # the supervisor has closed its end
                for _ in range(3):
                    found.send(b"." + text)
            sys.exit(0)
        found.detach()
sys.exit("no channel")
"""


def test_workers_that_have_counted_are_not_waited_for_longer() -> None:
    with pool() as made:
        made.start(2)
        counted = made.pool.requests.count_traffic(made.pool.all_workers)
        made.loop.settle()
        assert counted.done
        assert [worker.received[-1] for worker in made.workers] == [CountTraffic(), CountTraffic()]
        assert made.pool.requests.count_traffic([]).done, "no worker is waited for"
        assert made.loop.wheel.due == float("inf"), "no time-out is left"


def test_worker_that_does_not_count_is_waited_for_once_and_neither_aborted_nor_asked_again() -> None:
    with pool() as made:
        made.start(2)
        hung, other = made.workers
        hung.behaviour = silent
        counted = made.pool.requests.count_traffic(made.pool.all_workers)
        moments = []
        for _ in range(3):
            moments.append(counted.done)
            made.loop.wait(0.1)
        assert moments[0] is False
        assert counted.done
        again = made.pool.requests.count_traffic(made.pool.all_workers)
        made.loop.settle()
        assert again.done
        assert [hung.received.count(CountTraffic()), other.received.count(CountTraffic())] == [1, 2]
        hung.respond(hung.last_request, Done())
        made.loop.settle()
        made.pool.requests.count_traffic(made.pool.all_workers)
        made.loop.settle()
        assert hung.received.count(CountTraffic()) == 2
        assert hung.signals == []


def test_worker_with_a_full_socket_buffer_is_not_asked_to_count() -> None:
    with pool() as made:
        made.start(2)
        full, other = made.workers
        full.fill()
        counted = made.pool.requests.count_traffic(made.pool.all_workers)
        made.loop.settle()
        assert counted.done
        assert CountTraffic() in other.received
        assert (full.signals, full.disconnected) == ([], False)
