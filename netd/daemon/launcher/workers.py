"""What workers ask a launcher for.

An attacker may control a worker. It can have started what any peer can, and not more of it.
"""

import contextlib
import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from select import EPOLLIN, EPOLLOUT

from netd.addresses import address_text
from netd.contract import End, Why
from netd.daemon.channel import ChannelError, ClosedError, ProtocolError
from netd.daemon.launcher.programs import Programs, Running
from netd.daemon.launcher.spawn import StartError
from netd.daemon.messages import programs as messages
from netd.daemon.messages.programs import Ended, Lost, NotStarted, Start, Started, Sync, Synced
from netd.daemon.messages.to_launcher import Program
from netd.daemon.packets import PacketChannel, ShortageError, close_all
from netd.peer import Peer
from netd.services.exec.environment import peer_environment
from netd.transport.loop import Loop, Timer
from netd.transport.sockaddr import connection_credentials, inet_peer, unix_peer

# Numbers, since a program start is slow to enumerate: it has emptied the caches of the processor.
_FAMILIES = int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_UNIX)
_STREAM = int(socket.SOCK_STREAM)
_PAUSE = 0.1  # seconds without sending, when the system lacks memory
_BATCH = 16  # packets of a worker that are handled in one turn of the loop, as many as it accepts connections in one
_MOST_RECORDS = 200  # in a packet


class WorkerClient:
    """A worker, as a launcher sees it.

    ``lost`` is called once nothing more comes from it, with the reason if that is a fault of it. ``orphaned`` is called
    with each program that ends after that.
    """

    def __init__(
        self,
        number: int,
        pid: int,
        channel: PacketChannel,
        programs: Programs,
        loop: Loop,
        null: int,
        lost: Callable[["WorkerClient", str], None],
        orphaned: Callable[[Running, End], None],
    ) -> None:
        self.number = number
        self.running: dict[int, Running] = {}
        """By the number of the start."""
        self._pid = pid
        self._lost_starts: list[int] = []  # that the launcher before was at
        self._channel = channel
        self._programs = programs
        self._loop = loop
        self._null = null
        self._lost = lost
        self._orphaned = orphaned
        self._untold: list[bytes] = []  # records that wait for others, to be sent in one packet
        self._teller: Timer | None = None
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()  # packets that wait for room, with descriptors
        self._is_open = True
        loop.watch(channel.fileno(), EPOLLIN, self._on_ready)

    def close(self, reason: str = "") -> None:
        """Receive nothing more. Its programs go on."""
        if self._is_open:
            self._is_open = False
            self._loop.unwatch(self._channel.fileno())
            self._channel.close()
            for _, descriptors in self._unsent:
                close_all(descriptors)
            self._unsent.clear()
            if self._teller:
                self._loop.wheel.drop(self._teller)
            for running in self.running.values():
                running.is_owned = False
            self._lost(self, reason)

    def claim(self, programs: Mapping[int, Running | None]) -> None:
        """Take what a launcher before has started for this worker, by the number of the start; None: it may run."""
        for start, running in programs.items():
            if running is None:
                self._lost_starts.append(start)
            else:
                running.is_owned = True
                running.ended = partial(self._on_end, start)
                self.running[start] = running

    def _sync(self, last: int) -> None:
        """Say what runs, after all starts before this were handled."""
        self._untold += [Started(start, running.pid).encode() for start, running in self.running.items()]
        self._untold += [Lost(start).encode() for start in self._lost_starts]
        self._untold.append(Synced(last).encode())
        self._lost_starts.clear()
        self.tell()

    def receive_rest(self) -> None:
        """Start what the worker has asked for before it exited."""
        with contextlib.suppress(ChannelError):
            while self._is_open and (received := self._channel.receive()) is not None:
                self._handle(*received)

    def _on_ready(self, mask: int) -> None:
        try:
            for _ in range(_BATCH):
                if (received := self._channel.receive()) is None:
                    return
                self._handle(*received)
                if self._unsent:  # nothing more is read until the worker has read
                    return
        except ClosedError:
            self.close()
        except ChannelError as error:
            self.close(str(error))

    def _handle(self, data: bytes, descriptors: list[int]) -> None:
        try:
            message = messages.of_worker(data)
            if type(message) is Start:
                return self._start(message, descriptors)
            if descriptors:
                raise ProtocolError(f"{type(message).__name__} with a descriptor")
            if type(message) is Sync:
                self._sync(message.start)
            elif running := self.running.get(message.start):
                self._programs.end(running)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, message: Start, descriptors: Sequence[int]) -> None:
        start, number, facts = message
        program = self._programs.known.get(number)
        if start in self.running:
            raise ProtocolError(f"start {start}, which is not a new one")
        if program is None:
            return self._refuse(start, "failed", "the program is not in the config any more")
        peer = _check(program, descriptors)
        if self._programs.is_full(program):
            return self._refuse(start, "connections", "limits.connections")
        if not program.described:
            facts = peer_environment(peer) if peer else {}
        try:
            given = _standard(program, descriptors, self._null)
            about = peer if peer and not program.described else _name(facts)
            running = self._programs.start(program, about, facts, given, partial(self._on_end, start), self._pid, start)
        except StartError as error:
            return self._refuse(start, "resources" if error.is_shortage else "failed", str(error))
        if program.errors == "log":
            running.errors, running.errors_read_by = os.fstat(descriptors[-1]).st_ino, self.number
        self.running[start] = running
        self._hold(Started(start, running.pid).encode())

    def _refuse(self, start: int, why: Why, error: str) -> None:
        self._send(NotStarted(start, why, error).encode())

    def _on_end(self, start: int, running: Running, end: End) -> None:
        del self.running[start]
        if not self._is_open:
            return self._orphaned(running, end)
        if end.code is None:
            self._hold(Lost(start).encode())
        else:
            self._hold(Ended(start, end.code, end.user, end.system, end.memory, end.timed_out).encode())

    def _hold(self, record: bytes) -> None:
        """Have a record sent with those that follow it soon, but in any case."""
        self._untold.append(record)
        if self._teller is None:
            self._teller = self._loop.later(0.0, self._tell_in_time)

    def _tell_in_time(self) -> None:
        self._teller = None
        self.tell()

    def tell(self) -> None:
        """Send what was held back: one packet for programs that have ended together, also if they started just now."""
        if self._untold:
            for place in range(0, len(self._untold), _MOST_RECORDS):
                self._send(b"".join(self._untold[place : place + _MOST_RECORDS]))
            self._untold.clear()

    def give(self, packet: bytes, descriptor: int) -> None:
        """Send a message with a descriptor, which is closed here."""
        if self._is_open:
            self._send(packet, (descriptor,))
        else:
            os.close(descriptor)

    def _send(self, packet: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a packet, at once or when there is room."""
        self._unsent.append((packet, descriptors))
        if len(self._unsent) == 1:
            self._send_rest()

    def _send_rest(self, mask: int = 0) -> None:
        """Send what waits. With a ``mask``, nothing was read meanwhile, and is from now on."""
        if not self._is_open:
            return None
        try:
            while self._unsent:
                packet, descriptors = self._unsent[0]
                if not self._channel.send(packet, descriptors):
                    # Nothing is read until the worker has read: it cannot have more and more answers wait here.
                    return self._loop.change(self._channel.fileno(), EPOLLOUT, self._send_rest)
                self._unsent.popleft()
                close_all(descriptors)
        except ShortageError:
            # Nothing is read meanwhile, as above. There is room all the same, which epoll(7) would report at once; with
            # no event to wait for it reports an exit alone.
            self._loop.change(self._channel.fileno(), 0, self._on_ready)
            self._loop.later(_PAUSE, self._send_rest_later)
            return None
        except ClosedError:
            return self._loop.call(self.close)
        if mask:
            self._loop.change(self._channel.fileno(), EPOLLIN, self._on_ready)
        return None

    def _send_rest_later(self) -> None:
        self._send_rest(EPOLLOUT)


def _check(program: Program, descriptors: Sequence[int]) -> Peer | None:
    """The peer of the connection that a program gets, where the kernel knows it.

    Raises `ProtocolError` unless these are the descriptors that the program has to get.
    """
    expected = 2 if program.errors == "log" else 1
    if len(descriptors) != expected:
        raise ProtocolError(f"Start: {expected} descriptors expected, got {len(descriptors)}")
    pipes = descriptors[1:] if program.gives == "connection" else descriptors
    if not all(stat.S_ISFIFO(os.fstat(descriptor).st_mode) for descriptor in pipes):
        raise ProtocolError("Start: a descriptor is no pipe")
    return _peer(descriptors[0]) if program.gives == "connection" else None


def _peer(descriptor: int) -> Peer | None:
    """The peer of a connection; None if it has gone. Raises `ProtocolError` if the descriptor is no connection."""
    try:
        connection = socket.SocketType(-1, -1, 0, descriptor)
    except OSError:
        raise ProtocolError("Start: a descriptor is no socket") from None
    try:
        if connection.type != _STREAM or connection.family not in _FAMILIES:
            raise ProtocolError("Start: a socket is no stream")
        try:
            remote, local = connection.getpeername(), connection.getsockname()
        except OSError:
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ProtocolError("Start: a socket is no connection") from None
            return None
        if connection.family == _FAMILIES[2]:
            return unix_peer("unix", remote, local, connection_credentials(connection))
        if connection.family == _FAMILIES[0]:
            return Peer("tcp", *remote, *local)
        return inet_peer("tcp", remote, local)
    finally:
        connection.detach()


def _name(facts: Mapping[str, str]) -> str:
    """A peer for lists and the log, from what a worker says about it."""
    host, port = facts.get("REMOTE_ADDR", ""), facts.get("REMOTE_PORT", "")
    return address_text(host, int(port)) if port.isdecimal() else host


def _standard(program: Program, descriptors: Sequence[int], null: int) -> tuple[int, int, int]:
    """Descriptors 0, 1 and 2 of a program."""
    first = descriptors[0]
    errors = {"log": descriptors[-1], "peer": first, "null": null}[program.errors]
    return (first if program.gives == "connection" else null), first, errors
