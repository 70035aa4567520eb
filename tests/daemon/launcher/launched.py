"""A launcher with two workers, which a test is."""

import array
import gc
import os
import signal
import socket
from typing import Any

from netd.contract import End
from netd.daemon.channel import ClosedError
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.workers import WorkerClient
from netd.daemon.messages.programs import (
    Ended,
    ErrorPipe,
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
from netd.daemon.packets import PacketChannel
from tests.daemon.launcher.turned_loop import TurnedLoop

Answer = Started | Ended | Lost | Synced | NotStarted


class Launched:
    """A launcher with two workers, which this test is."""

    def __init__(self) -> None:
        self.loop = TurnedLoop()
        self.programs = Programs(self.loop, lambda: None)
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.lost: list[tuple[int, str]] = []
        self.orphaned: list[tuple[int, End]] = []
        self.workers = [Worker(self, number) for number in range(2)]

    def add(self, *known: Program) -> None:
        self.programs.known |= {one.number: one for one in known}

    def on_lost(self, client: WorkerClient, reason: str) -> None:
        self.lost.append((client.number, reason))

    def on_orphaned(self, running: Running, end: End) -> None:
        self.orphaned.append((running.pid, end))

    def turn_until(self, condition: Any) -> None:
        def reaped() -> object:
            self.programs.reap()
            for worker in self.workers:
                worker.client.tell()
            return condition()

        self.loop.turn_until(reaped)

    def close(self) -> None:
        for running in self.programs:
            os.killpg(running.pid, signal.SIGKILL)
        self.turn_until(lambda: not len(self.programs))
        for worker in self.workers:
            worker.client.close()
            worker.channel.close()
        self.loop.close()
        os.close(self.null)


class Worker:
    """The end of a worker."""

    def __init__(self, launched: Launched, number: int) -> None:
        ours, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.launched = launched
        self.channel = PacketChannel(self.socket)
        self.answers: list[Answer] = []
        self.client = WorkerClient(
            number,
            9000 + number,
            PacketChannel(ours),
            launched.programs,
            launched.loop,
            launched.null,
            launched.on_lost,
            launched.on_orphaned,
        )

    def send(self, message: Start | Stop | Sync | bytes, *descriptors: int) -> None:
        packet = message if isinstance(message, bytes) else message.encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self.socket.sendmsg([packet], rights)

    def read(self) -> list[Answer]:
        """All answers until now."""
        try:
            while received := self.channel.receive():
                assert not received[1], "no answer has a descriptor"
                self.answers += [one for one in of_launcher(received[0]) if not isinstance(one, ErrorPipe)]
        except ClosedError:
            pass
        return self.answers

    def answer(self) -> Answer:
        """The next answer."""
        self.launched.turn_until(self.read)
        return self.answers.pop(0)

    def start(self, start: int, number: int = 1, facts: dict[str, str] | None = None) -> socket.socket:
        """Have a program started for a connection. Returns the end of the peer."""
        peer, connection = socket.socketpair()
        with connection:
            self.send(Start(start, number, facts or {}), connection.fileno())
        peer.settimeout(20)
        return peer

    def fault(self) -> str:
        """Wait until the launcher has closed the channel. Returns the reason."""
        self.launched.turn_until(lambda: self.launched.lost)
        [(number, reason)] = self.launched.lost
        assert number == self.client.number
        self.launched.turn_until(self._is_closed)  # a program that was just started closes its copy at execve(2)
        return reason

    def _is_closed(self) -> bool:
        try:
            self.socket.send(b"x")
        except ConnectionError:
            return True
        return False


def opened() -> set[str]:
    """The descriptors of this process."""
    gc.collect()
    names = os.listdir("/proc/self/fd")
    return {
        name for name in names if os.path.exists(f"/proc/self/fd/{name}") or os.path.islink(f"/proc/self/fd/{name}")
    }
