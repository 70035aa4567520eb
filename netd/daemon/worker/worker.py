"""The worker: a process without rights that serves what the supervisor hands it, and does as it is told.

Everything happens in one loop, in one thread: the services' sockets, their connections, and the channel to the
supervisor. So an answer on the channel shows that the loop turns.
"""

import select
import socket
import sys
from functools import partial

from netd.admission.daemon import DaemonAdmission
from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message, ReservedDescriptors
from netd.daemon.worker import connections
from netd.daemon.worker.config import Serving
from netd.daemon.worker.status_client import StatusClient
from netd.daemon.worker.trace import Taps
from netd.errors import EXIT_OK, EXIT_SOFTWARE
from netd.reasons import Refusal
from netd.shared.daemon_limits import DaemonLimits
from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.transport.loop import Loop
from netd.transport.stream.connections import Connections

_SWITCH = 0.0005  # seconds


def work(number: int, channel: Channel, sink: logs.Sink) -> int:
    """What a worker runs, once it is the user it is to be; its exit code."""
    return Worker(number, channel, sink).run()


class Worker:
    """Serves until the supervisor says stop, or is gone."""

    def __init__(self, number: int, channel: Channel, sink: logs.Sink) -> None:
        self._number = number
        self._channel = channel
        self._sink = sink
        self._loop = Loop()
        self._inquiries = StatusClient(self._loop, lambda what: self._say({"want": what}))
        self._observers = Taps(self._loop, self._say)
        self._serving = Serving(number, self._loop, self._inquiries.ask, self._observers.look_at)
        self._spare = ReservedDescriptors(channel)
        self._spare.take()
        self._loop.watch(channel.fileno(), select.EPOLLIN, self._told)

    def run(self) -> int:
        """Serve; the exit code."""
        # Where a handler's thread computes, the loop gets its turn after this time, and not after five milliseconds.
        sys.setswitchinterval(_SWITCH)
        try:
            self._loop.run()
            self._serving.close()
            for events in self._serving.events():
                events.summarize(final=True)
        except BaseException as error:  # the process ends for it, and says so
            DaemonEvents().netd_failed(error)
            return EXIT_SOFTWARE
        return EXIT_OK

    def _told(self, events: int) -> None:
        """The supervisor has something to say, or is gone."""
        self._spare.give_up()
        try:
            while True:
                try:
                    received = self._channel.receive()
                except DescriptorsLostError as error:
                    self._channel.send({"question": error.message.get("question"), "error": str(error)})
                    continue
                if received is None:
                    break
                message, descriptors = received
                answer = self._do(message, descriptors)
                if answer is not None and "question" in message:
                    self._channel.send({"question": message["question"], **answer})
        except ChannelError:
            self._loop.stop()
        self._spare.take()

    def _do(self, message: Message, descriptors: list[int]) -> Message | None:
        """Do what the supervisor says: the answer, or None where that comes later."""
        if message["do"] != "beat":
            self._serving.finish()
        match message["do"]:
            case "beat":
                for events in self._serving.events():
                    events.summarize()
                return {"lines_lost": self._sink.lost}
            case "told":
                self._inquiries.answered(message["what"], message["answer"])
            case "prepare":
                self._say({"busy": True})  # what services do when they are made may take a while
                self._serving.prepare(message, descriptors, partial(self._answer, message["question"]))
                return None
            case "commit":
                self._serving.commit(partial(self._answer, message["question"]))
                return None
            case "abort":
                self._serving.abort()
            case "connections":
                return connections.rows(self._number, self._serving.connections(), message)
            case "peers":
                return connections.peers(self._number, self._serving.connections(), message)
            case "kick":
                return {"number": connections.kick(self._number, self._serving.connections(), message)}
            case "log_level":
                logs.set_level(message["level"])
            case "log_file":
                self._sink.replace(descriptors[0])
            case "ledger":
                daemon_limits = DaemonLimits(descriptors[0])
                daemon_limits.close_descriptor()
                self._serving.shared = DaemonAdmission(daemon_limits, self._number, report=self._report)
            case "ban":
                self._ban(message["bans"])
            case "trace":
                self._observers.start(message)
                self._observers.look_at(self._serving.observed())
            case "untrace":
                self._observers.stop(message["trace"])
                self._observers.look_at(self._serving.observed())
            case "visit":
                return self._visit(message["service"], socket.socket(fileno=descriptors[0]))
            case "drain":
                self._drain()
            case "retire":
                self._serving.retire_services(message["services"])
            case "stop":
                self._loop.stop()
        return {}

    def _answer(self, question: int, answer: Message) -> None:
        """Give an answer that took a while."""
        try:
            self._channel.send({"question": question, **answer})
        except ChannelError:
            self._loop.stop()

    # Bans.

    def _report(self, source: bytes, service: str, refusal: Refusal) -> None:
        """Tell the supervisor of a source that is refused too often. If it does not listen now, it is told again."""
        self._say({"offender": source.hex(), "service": service, "refusal": refusal})

    def _say(self, message: Message) -> bool:
        """Tell the supervisor something, in one packet, if it listens now; whether it does."""
        try:
            self._channel.send(message, seconds=0.0)
        except ChannelError:
            return False
        return True

    def _ban(self, bans: dict[str, float | None]) -> None:
        """Refuse these sources until then (CLOCK_MONOTONIC); None: no more."""
        for source, until in bans.items():
            self._serving.shared.ban(bytes.fromhex(source), until)
        self._serving.forget_verdicts()

    def _visit(self, name: str, visitor: socket.socket) -> Message:
        """Serve the operator, who comes through the control socket, as a peer of this service over UNIX."""
        service = self._serving.services.get(name)
        if service is None or not service.kind.converses:
            visitor.close()
            return {"error": f"'{name}' is switched off" if service is None else f"'{name}' holds no conversations"}
        visitor.setblocking(False)
        try:
            connections = Connections(service.kind, service.service, service.admission, service.events, self._loop, "")
        except OSError as error:  # no descriptor is left
            visitor.close()
            return {"error": f"'{name}': {error.strerror}"}
        self._observers.look_at([connections])
        ticket = connections.admit(visitor, "")
        if ticket is not None:
            connections.serve(visitor, "", ticket)
        self._serving.keep(connections)
        return {"error": f"'{name}' refuses it: see its log"} if ticket is None else {}

    def _drain(self) -> None:
        """Accept nothing more, and end after the last connection."""
        for server in self._serving.servers():
            server.server_close()
        if (again := self._stop_when_idle()) is not None:
            self._loop.later(again, self._stop_when_idle)

    def _stop_when_idle(self) -> float | None:
        """Looks ten times a second, and only while netd stops."""
        if next(self._serving.connections(), None) is not None:
            return 0.1
        self._loop.stop()
        return None
