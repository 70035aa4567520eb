"""What workers ask a launcher for.

An attacker may control a worker. It can have started what any peer can, and not more of it.
"""

import os
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from select import EPOLLIN

from netd.contract import End, Why
from netd.daemon.channel import ChannelError, ClosedError, ProtocolError
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.spawn import StartError
from netd.daemon.messages import programs as messages
from netd.daemon.messages.coding import Fields
from netd.daemon.messages.programs import LONGEST_ERROR, Adopt, Ended, NotStarted, Start, Started, Stop
from netd.daemon.messages.to_launcher import Program
from netd.daemon.packets import PacketChannel, close_all
from netd.services.exec.environment import peer_environment
from netd.shared.memory import SharedMemory
from netd.transport.loop import Loop
from netd.transport.sockaddr import connection_credentials, inet_peer, unix_peer

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_BATCH = 8  # messages of a worker that are handled before those of others


class WorkerClient:
    """A worker, as a launcher sees it.

    ``lost`` is called once nothing more comes from it, with the reason if that is a fault of it. ``orphaned`` is called
    with each program that ends after that.
    """

    def __init__(
        self,
        number: int,
        channel: PacketChannel,
        spawning: SharedMemory,
        programs: Programs,
        loop: Loop,
        null: int,
        lost: Callable[["WorkerClient", str], None],
        orphaned: Callable[[Running, End], None],
    ) -> None:
        self.number = number
        self.running: dict[int, Running] = {}
        """By the number of the start."""
        self._channel = channel
        self._cell = spawning.octets.cast("q")
        self._programs = programs
        self._loop = loop
        self._null = null
        self._lost = lost
        self._orphaned = orphaned
        self._unsent: list[tuple[Fields, int]] = []  # answers that wait for room, and a descriptor or -1
        self._is_open = True
        loop.watch(channel.fileno(), EPOLLIN, self._on_ready)

    def close(self, reason: str = "") -> None:
        """Receive nothing more. Its programs go on."""
        if self._is_open:
            self._is_open = False
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            close_all([descriptor for _, descriptor in self._unsent if descriptor >= 0])
            for running in self.running.values():
                running.is_owned = False
            self._lost(self, reason)

    def _on_ready(self, mask: int) -> None:
        try:
            for _ in range(_BATCH):
                # One at a time: what was not received yet is certainly not started, which a worker relies on.
                if self._unsent or (received := self._channel.receive()) is None:
                    return
                self._handle(*received)
        except ClosedError:
            self.close()
        except ChannelError as error:
            self.close(str(error))

    def _handle(self, received: dict[str, object], descriptors: list[int]) -> None:
        try:
            message = messages.of_worker(received)
            match message:
                case Start():
                    self._start(message, descriptors)
                case Stop():
                    if running := self.running.get(message.start):
                        self._programs.end(running)
                case Adopt():
                    self._adopt(message, descriptors)
        finally:
            close_all(descriptors)

    def _start(self, message: Start, descriptors: Sequence[int]) -> None:
        program = self._programs.known.get(message.program)
        if message.start in self.running or message.start <= 0:
            raise ProtocolError(f"start {message.start}, which is not a new one")
        if program is None:
            return self._refuse(message.start, "failed", "the program is not in the config any more")
        facts = message.facts if program.described else {}
        found = _check(program, descriptors)
        if self._programs.is_full(program):
            return self._refuse(message.start, "connections", "limits.connections")
        self._cell[0] = message.start
        try:
            given = _standard(program, descriptors, self._null)
            running = self._programs.start(
                program, message.peer, facts or found, given, partial(self._on_end, message.start)
            )
        except StartError as error:
            return self._refuse(message.start, "resources" if error.is_shortage else "failed", str(error))
        self.running[message.start] = running
        self._answer(Started(message.start, running.pid), _pidfd(running.pid))

    def _refuse(self, start: int, why: Why, error: str) -> None:
        self._answer(NotStarted(start, why, error[:LONGEST_ERROR]))

    def _adopt(self, message: Adopt, descriptors: Sequence[int]) -> None:
        """Keep a program of another launcher. It has to be one: a child of the supervisor that leads a group."""
        if len(descriptors) != 1 or message.start in self.running:
            raise ProtocolError(f"start {message.start}, which cannot be adopted")
        program, pid = self._programs.known.get(message.program), _pid_of(descriptors[0])
        if program is None or pid is None or not _is_orphan(pid):
            return  # it has ended, or is not in the config any more. The worker has its pidfd
        self.running[message.start] = self._programs.adopt(
            program, pid, os.dup(descriptors[0]), message.peer, message.seconds, partial(self._on_end, message.start)
        )

    def _on_end(self, start: int, running: Running, end: End) -> None:
        del self.running[start]
        if not self._is_open:
            return self._orphaned(running, end)
        if end.code is not None:
            self._answer(Ended(start, end.code, end.user, end.system, end.memory, end.timed_out))

    def _answer(self, message: Fields, descriptor: int = -1) -> None:
        """Send an answer, at once or when there is room. Closes the descriptor."""
        self._unsent.append((message, descriptor))
        if len(self._unsent) == 1:
            self._send_answers()

    def _send_answers(self) -> None:
        try:
            while self._unsent:
                message, descriptor = self._unsent[0]
                if not self._channel.send(message, [descriptor] if descriptor >= 0 else []):
                    return self._wait_for_room()
                close_all([descriptor])
                del self._unsent[0]
        except ClosedError:
            self.close()

    def _wait_for_room(self) -> None:
        self._loop.change(self._channel.fileno(), 4, lambda mask: self._on_room())  # EPOLLOUT

    def _on_room(self) -> None:
        self._send_answers()
        if self._is_open and not self._unsent:
            self._loop.change(self._channel.fileno(), EPOLLIN, self._on_ready)


def _check(program: Program, descriptors: Sequence[int]) -> Mapping[str, str]:
    """What the environment says of the peer, where the kernel knows it.

    Raises `ProtocolError` unless these are the descriptors that the program has to get.
    """
    expected = 2 if program.errors == "log" else 1
    if len(descriptors) != expected:
        raise ProtocolError(f"Start: {expected} descriptors expected, got {len(descriptors)}")
    if program.gives == "connection":
        pipes = descriptors[1:]
        facts = _facts(descriptors[0])
    else:
        pipes, facts = descriptors, {}
    if not all(stat.S_ISFIFO(os.fstat(descriptor).st_mode) for descriptor in pipes):
        raise ProtocolError("Start: a descriptor is no pipe")
    return facts


def _facts(descriptor: int) -> Mapping[str, str]:
    """What the kernel knows of the peer of a connection. Raises `ProtocolError` if the descriptor is no connection."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        raise ProtocolError("Start: a descriptor is no socket") from None
    try:
        is_listener = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if is_listener or connection.type != socket.SOCK_STREAM or connection.family not in _FAMILIES:
            raise ProtocolError("Start: a socket is no connection")
        remote, local = connection.getpeername(), connection.getsockname()
        if connection.family == socket.AF_UNIX:
            return peer_environment(unix_peer("unix", remote, local, connection_credentials(connection)))
        return peer_environment(inet_peer("tcp", remote, local))
    except OSError:  # the peer has gone
        return {}
    finally:
        connection.detach()


def _standard(program: Program, descriptors: Sequence[int], null: int) -> tuple[int, int, int]:
    """Descriptors 0, 1 and 2 of a program."""
    first = descriptors[0]
    errors = {"log": descriptors[-1], "peer": first, "null": null}[program.errors]
    return (first if program.gives == "connection" else null), first, errors


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError:  # no descriptors left: the end is told all the same
        return -1


def _pid_of(pidfd: int) -> int | None:
    """The process of a pidfd, or None if the descriptor is none, or the process has ended."""
    try:
        lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    except OSError:
        return None
    pid = next((int(line.split()[1]) for line in lines if line.startswith("Pid:")), -1)
    return pid if pid > 0 else None


def _is_orphan(pid: int) -> bool:
    """Whether a process is a child of this process's parent, and leads a process group, as no process of netd does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[1]) == os.getppid() and int(fields[2]) == pid
