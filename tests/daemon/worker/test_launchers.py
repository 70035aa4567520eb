"""The launchers, as a worker sees them. The launcher is this test; its programs are real processes."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from netd.contract import Context, End
from netd.daemon.messages.programs import (
    Ended,
    Lost,
    NotStarted,
    Start,
    Started,
    Stop,
    Sync,
    Synced,
    of_worker,
)
from netd.daemon.packets import PacketChannel, close_all
from netd.daemon.worker.launchers import Launchers
from netd.peer import Peer
from netd.shared.table import Layout, Table
from netd.telemetry.program_events import COUNTERS, ProgramEvents
from tests.daemon.launcher.turned_loop import TurnedLoop

PEER = Peer("tcp", "192.0.2.7", 4711, "192.0.2.1", 7)
UNTOLD = "failed", "the launcher, which starts programs, has exited"


class Observed:
    """What is told about a program."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def sent(self) -> None:
        self.told.append("sent")

    def started(self, pid: int) -> None:
        self.told.append(pid)

    def not_started(self, why: str, error: str) -> None:
        self.told.append((why, error))

    def ended(self, end: End) -> None:
        self.told.append(end)


class Asked:
    """A worker with one launcher, which is this test."""

    def __init__(self) -> None:
        self.loop = TurnedLoop()
        self.launchers = Launchers(self.loop)
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = PacketChannel(self.end)
        self.launchers.connect(1, theirs)
        events = ProgramEvents("test", Table(layout=Layout(COUNTERS)))
        self.context = self.launchers.provide(Context(), 1, 7, events)
        self.null = os.open(os.devnull, os.O_RDONLY)
        self.received: list[Start | Stop | Sync] = []
        self.descriptors = 0

    def start(self, facts: dict[str, str] | None = None) -> tuple[Any, Observed]:
        observed = Observed()
        return self.context.start(PEER, facts or {}, [self.null], observed), observed

    def read(self) -> list[Start | Stop | Sync]:
        """All messages until now."""
        while received := self.channel.receive():
            self.received.append(of_worker(received[0]))
            self.descriptors += len(received[1])
            close_all(received[1])
        return self.received

    def say(self, *messages: Started | Ended | Lost | Synced | NotStarted) -> None:
        """Answer in one packet."""
        self.end.send(b"".join(one.encode() for one in messages))
        self.loop.turn()

    def replace(self) -> list[Start | Stop | Sync]:
        """The launcher was replaced. Returns what the worker says then."""
        self.read()
        self.received.clear()
        self.launchers.sync(1)
        self.loop.turn()
        return self.read()

    def close(self) -> None:
        self.channel.close()
        self.loop.turn()
        self.loop.close()
        os.close(self.null)


@pytest.fixture
def asked() -> Iterator[Asked]:
    made = Asked()
    yield made
    made.close()


def ended(start: int, code: int = 0) -> Ended:
    return Ended(start, code, 0.5, 0.25, 4096, timed_out=False)


def test_program_is_asked_for_with_its_descriptors_and_its_end_is_told(asked: Asked) -> None:
    _, observed = asked.start({"REMOTE_HOST": "x"})
    assert observed.told == ["sent"]
    assert asked.read() == [Start(1, 7, {"REMOTE_HOST": "x"})]
    assert asked.descriptors == 1
    asked.say(Started(1, 4711))
    asked.say(ended(1, 3))
    assert observed.told[:2] == ["sent", 4711]
    [end] = observed.told[2:]
    assert (end.code, end.user, end.system, end.memory, end.timed_out) == (3, 0.5, 0.25, 4096, False)
    assert end.seconds > 0


def test_answers_about_many_programs_come_in_one_packet(asked: Asked) -> None:
    observed = [asked.start()[1] for _ in range(3)]
    asked.say(Started(1, 11), Started(3, 13), ended(1), Started(2, 12))
    assert [one.told[1] for one in observed] == [11, 12, 13]
    assert [len(one.told) for one in observed] == [3, 2, 2]


def test_error_of_a_start_is_told(asked: Asked) -> None:
    _, observed = asked.start()
    asked.say(NotStarted(1, "resources", "no memory"))
    assert observed.told == ["sent", ("resources", "no memory")]


def test_answers_about_nothing_that_runs_are_ignored(asked: Asked) -> None:
    _, observed = asked.start()
    asked.say(Started(9, 11), ended(9), ended(1))
    asked.say(NotStarted(9, "failed", "x"))
    assert observed.told == ["sent"]
    asked.say(Started(1, 4711), Started(1, 4712))
    asked.say(NotStarted(1, "failed", "x"))
    assert observed.told == ["sent", 4711]
    asked.say(ended(1), ended(1))
    assert len(observed.told) == 3


def test_program_is_stopped_once(asked: Asked) -> None:
    run, _ = asked.start()
    for _ in range(3):
        run.stop()
    assert asked.read() == [Start(1, 7, {}), Stop(1)]


def test_starts_wait_in_their_order_while_the_launcher_does_not_read(asked: Asked) -> None:
    observed = [asked.start()[1] for _ in range(2000)]
    waiting = [one for one in observed if not one.told]
    assert 0 < len(waiting) < 2000
    asked.loop.turn()
    assert not waiting[0].told
    asked.loop.turn_until(lambda: asked.read() and all(one.told for one in observed))
    assert [one.start for one in asked.read()] == list(range(1, 2001))


def test_new_launcher_says_what_runs(asked: Asked) -> None:
    observed = [asked.start()[1] for _ in range(5)]
    told, untold, gone, lost, queued = observed
    asked.say(Started(1, 11), Started(3, 13))
    assert asked.replace() == [Sync(5)]
    asked.say(Started(1, 11), Started(2, 12), Lost(4), Started(5, 15), Synced(5))
    assert told.told == ["sent", 11]
    assert untold.told == ["sent", 12]
    assert queued.told == ["sent", 15]
    assert gone.told[:2] == ["sent", 13]
    assert gone.told[2].code is None
    assert lost.told == ["sent", UNTOLD]
    asked.say(ended(1), ended(2))
    assert told.told[2].code == untold.told[2].code == 0


def test_start_after_the_question_is_not_taken_for_one_that_is_gone(asked: Asked) -> None:
    _, before = asked.start()
    assert asked.replace() == [Sync(1)]
    _, after = asked.start()
    asked.say(Synced(1))
    assert before.told == ["sent", UNTOLD]
    assert after.told == ["sent"]
    asked.say(Started(2, 12))
    assert after.told == ["sent", 12]


def test_messages_of_the_launcher_before_say_nothing_about_present_programs(asked: Asked) -> None:
    _, observed = asked.start()
    asked.end.send(Started(1, 11).encode())  # it has not been read yet
    assert asked.replace() == [Sync(1)]
    asked.say(Synced(1))
    assert observed.told[1] == 11
    assert observed.told[2].code is None


def test_program_that_was_told_to_end_is_told_so_by_the_next_launcher_too(asked: Asked) -> None:
    run, observed = asked.start()
    asked.say(Started(1, 11))
    run.stop()
    for _ in range(2):
        assert asked.replace() == [Sync(1)]
        asked.say(Started(1, 11), Synced(1))
        assert asked.read()[1:] == [Stop(1)]
    asked.say(Lost(1))
    assert observed.told[2].code is None
    assert asked.replace() == [], "nothing runs"


def test_launcher_that_has_exited_for_good_starts_nothing(asked: Asked) -> None:
    _, running = asked.start()
    asked.say(Started(1, 11))
    run, queued = asked.start()
    asked.channel.close()
    asked.loop.turn_until(lambda: len(queued.told) == 2)
    assert queued.told[1] == UNTOLD
    assert running.told[2].code is None
    _, late = asked.start()
    asked.loop.turn_until(lambda: late.told)
    assert late.told == [UNTOLD]
    run.stop()


@pytest.mark.parametrize("packet", [b"?", b"\0" * 42, b"x" * 20_000])
def test_launcher_that_sends_garbage_is_asked_nothing_any_more(asked: Asked, packet: bytes) -> None:
    _, observed = asked.start()
    asked.end.send(packet)
    asked.loop.turn_until(lambda: len(observed.told) == 2)
    assert observed.told[1][0] == "failed"
