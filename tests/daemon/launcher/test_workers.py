"""What workers ask a launcher for. An attacker may control a worker: it gets what any peer can, and not more of it."""

import os
import select
import signal
import socket
import subprocess
from typing import Any

import pytest

from netd.contract import End
from netd.daemon.launcher.programs import Running
from netd.daemon.messages.programs import (
    Ended,
    Lost,
    NotStarted,
    Start,
    Started,
    Stop,
    Sync,
    Synced,
    of_launcher,
)
from netd.daemon.messages.to_launcher import Program
from netd.daemon.running_table import RunningTable
from tests.daemon.launcher.examples import program, shell
from tests.daemon.launcher.launched import Launched, Worker, opened


def test_program_is_started_with_the_connection_and_its_end_is_told(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    before = opened()
    with worker.start(1) as peer:
        started = worker.answer()
        assert isinstance(started, Started)
        assert opened() == before | {str(peer.fileno())}, "the launcher keeps nothing of the connection"
        peer.sendall(b"hello")
        assert peer.recv(10) == b"hello"
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(10) == b""
        ended = worker.answer()
        assert isinstance(ended, Ended)
        assert (ended.start, ended.code, ended.timed_out) == (1, 0, False)


def test_program_that_ends_at_once_is_told_in_one_packet(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/false"))
    with worker.start(1):
        first, second = worker.answer(), worker.answer()
    assert isinstance(first, Started)
    assert isinstance(second, Ended)
    assert second.code == 1


def test_programs_that_end_together_are_told_in_one_packet(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    peers = [worker.start(start) for start in (1, 2, 3)]
    launched.turn_until(lambda: len(launched.programs) == 3 and worker.read())
    for peer in peers:
        peer.close()
    for running in launched.programs:
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
    launched.programs.reap()
    worker.client.tell()
    packet, _ = worker.channel.receive() or (b"", [])
    assert sorted(message.start for message in of_launcher(packet) if isinstance(message, Ended)) == [1, 2, 3]


def test_starts_that_wait_are_handled_in_one_turn_and_bounded(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    peers = [worker.start(start) for start in range(1, 41)]
    worker.client._on_ready(select.EPOLLIN)
    assert 1 < len(launched.programs) < len(peers), "others have their turn too"
    launched.turn_until(lambda: len(launched.programs) == len(peers))
    for peer in peers:
        peer.close()


def test_program_is_told_its_peer_as_the_kernel_knows_it_whatever_the_worker_says(
    launched: Launched, worker: Worker
) -> None:
    launched.add(program("/usr/bin/env", environment={}))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as peer:
        connection, address = listener.accept()
        with connection:
            worker.send(Start(1, 1, {"REMOTE_HOST": "192.0.2.66", "TCPREMOTEINFO": "x"}), connection.fileno())
        peer.settimeout(20)
        assert isinstance(worker.answer(), Started)
        shown = peer.makefile().read().split()
    assert f"REMOTE_HOST={address[0]}" in shown
    assert f"TCPREMOTEPORT={address[1]}" in shown
    assert "TCPREMOTEINFO=x" not in shown


def test_program_behind_a_relay_is_told_what_the_worker_says(launched: Launched, worker: Worker) -> None:
    launched.add(program("/usr/bin/env", environment={}, described=True))
    with worker.start(1, facts={"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "4711"}) as peer:
        launched.loop.turn()
        assert [running.peer for running in launched.programs] == ["192.0.2.7:4711"]
        assert sorted(peer.makefile().read().split()) == ["REMOTE_ADDR=192.0.2.7", "REMOTE_PORT=4711"]


@pytest.mark.parametrize("errors", ["log", "peer", "null"])
def test_standard_error_goes_where_the_config_says(launched: Launched, worker: Worker, errors: Any) -> None:
    launched.add(shell("echo complaint >&2; echo said", errors=errors))
    reading, writing = os.pipe()
    peer, connection = socket.socketpair()
    with peer, connection:
        worker.send(Start(1, 1, {}), connection.fileno(), *([writing] if errors == "log" else []))
        connection.close()
        os.close(writing)
        launched.turn_until(lambda: not len(launched.programs) and worker.read())
        peer.settimeout(20)
        assert peer.makefile().read() == ("complaint\nsaid\n" if errors == "peer" else "said\n")
    with open(reading) as pipe:
        assert pipe.read() == ("complaint\n" if errors == "log" else "")


def test_program_for_its_output_has_a_pipe_and_no_input(launched: Launched, worker: Worker) -> None:
    launched.add(shell("cat; echo said; echo complaint >&2", gives="output", errors="log"))
    (output, writing), (errors, complaining) = os.pipe(), os.pipe()
    worker.send(Start(1, 1, {}), writing, complaining)
    os.close(writing)
    os.close(complaining)
    launched.turn_until(lambda: not len(launched.programs) and worker.read())
    with open(output) as pipe:
        assert pipe.read() == "said\n"
    with open(errors) as pipe:
        assert pipe.read() == "complaint\n"


def test_limit_holds_over_all_workers_and_after_one_has_gone(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat", connections=2))
    other = launched.workers[1]
    with worker.start(1) as first, other.start(1) as second:
        assert isinstance(worker.answer(), Started)
        assert isinstance(other.answer(), Started)
        worker.channel.close()
        launched.turn_until(lambda: launched.lost)
        assert launched.lost == [(0, "")], "no fault of it"
        with other.start(2) as refused:
            assert other.answer() == NotStarted(2, "connections", "limits.connections")
            assert refused.recv(1) == b""
        first.shutdown(socket.SHUT_WR)
        launched.turn_until(lambda: launched.orphaned)
        [(_, end)] = launched.orphaned
        assert end.code == 0
        with other.start(3):
            assert isinstance(other.answer(), Started)
            second.sendall(b"on")
            assert second.recv(2) == b"on"


def test_error_of_a_start_is_told_and_the_connection_ends(launched: Launched, worker: Worker) -> None:
    launched.add(program("/no/such"))
    with worker.start(1) as peer, worker.start(2, number=99):
        assert worker.answer() == NotStarted(1, "failed", "cannot start /no/such: No such file or directory")
        assert worker.answer() == NotStarted(2, "failed", "the program is not in the config any more")
        assert peer.recv(1) == b""


def test_program_is_ended_for_the_worker_that_started_it_alone(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/sleep", 100))
    other = launched.workers[1]
    with worker.start(1):
        assert isinstance(worker.answer(), Started)
        for start in (1, 2, 2**62):
            other.send(Stop(start))
        launched.loop.turn()
        assert len(launched.programs) == 1
        worker.send(Stop(1))
        ended = worker.answer()
        assert isinstance(ended, Ended)
        assert ended.code == -signal.SIGTERM
        worker.send(Stop(1))
        launched.loop.turn()
        assert launched.lost == []


def test_peer_that_has_gone_still_has_its_program_started(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        connection, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with connection:
            worker.send(Start(1, 1, {}), connection.fileno())
    assert isinstance(worker.answer(), Started)
    ended = worker.answer()
    assert isinstance(ended, Ended)


# Programs of another launcher.


def left_behind(*programs: Program, worker: int = 9000) -> tuple[RunningTable, list["subprocess.Popen[bytes]"]]:
    """The table of a launcher that was killed, with a process for each program."""
    table, processes = RunningTable(), []
    for start, one in enumerate(programs, 1):
        processes.append(subprocess.Popen(one.command, start_new_session=True))
        table.note(table.begin(one.number, worker, start), processes[-1].pid)
    return table, processes


def take_over(launched: Launched, table: RunningTable, worker: Worker) -> None:
    def orphaned(running: Running, end: End) -> None:
        launched.on_orphaned(running, end)

    found = launched.programs.take_over(RunningTable(os.dup(table.descriptor)), orphaned)
    worker.client.claim({row.start: running for row, running in found if row.worker == 9000})


def end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def test_program_of_the_launcher_before_is_kept_and_counted(launched: Launched, worker: Worker) -> None:
    kept = program("/bin/sleep", 100, connections=1)
    launched.add(kept)
    table, [process] = left_behind(kept)
    take_over(launched, table, worker)
    [running] = launched.programs
    assert (running.pid, running.is_owned) == (process.pid, True)
    worker.send(Sync(1))
    assert worker.answer() == Started(1, process.pid)
    assert worker.answer() == Synced(1)
    with worker.start(6):
        assert isinstance(worker.answer(), NotStarted)
    worker.send(Stop(1))
    launched.loop.turn_until(worker.read)  # without `reap`: the process is a child of this test
    assert worker.answers.pop() == Lost(1)
    assert process.wait() == -signal.SIGTERM
    assert not list(table)


def test_program_that_the_launcher_before_was_starting_is_told_as_lost(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/sleep", 100))
    table = RunningTable()
    table.begin(1, 9000, 5)
    take_over(launched, table, worker)
    worker.send(Sync(5))
    assert worker.answer() == Lost(5)
    assert worker.answer() == Synced(5)
    assert not list(table)


def test_program_that_no_launcher_knows_any_more_is_not_kept(launched: Launched, worker: Worker) -> None:
    table, [process] = left_behind(program("/bin/sleep", 100, number=99))
    take_over(launched, table, worker)
    assert len(launched.programs) == 0
    end(process)


def test_program_of_a_worker_that_is_gone_is_kept_and_told_as_an_orphan(launched: Launched, worker: Worker) -> None:
    kept = program("/bin/sleep", 100)
    launched.add(kept)
    table, [process] = left_behind(kept, worker=1)
    take_over(launched, table, worker)
    [running] = launched.programs
    assert not running.is_owned
    end(process)
    launched.turn_until(lambda: launched.orphaned)
    assert launched.orphaned[0][0] == process.pid


def test_question_after_starts_is_answered_after_them(launched: Launched, worker: Worker) -> None:
    launched.add(program("/bin/cat"))
    with worker.start(1):
        worker.send(Sync(1))
        first, second = worker.answer(), worker.answer()
        assert isinstance(first, Started)
        while isinstance(second, Started):
            second = worker.answer()
        assert second == Synced(1)
