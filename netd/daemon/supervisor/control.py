"""The control socket: receives a command per line, sends a JSON object for each. A service like any other.

`echo status | nc -U /run/netd/control.sock` works as well as `netd status`. A line is a command and its arguments,
``NAME`` or ``key=value``, separated by blanks. An answer has ``ok``. If that is false, it also has ``error``, the
reason, and ``exit_code``, for the command line. docs/reference/json.md describes the answers.
"""

import errno
import os
from collections.abc import Callable, Coroutine, Generator, Iterable
from typing import Any, NamedTuple, Protocol

from netd.accounts import groups_of, user_name
from netd.contract import Post, Wait, WaitingConversation
from netd.daemon.json_lines import json_line
from netd.daemon.resource_limits import described
from netd.daemon.tasks import Result, Tasks
from netd.errors import EXIT_NO, EXIT_OSERR, EXIT_SOFTWARE, EXIT_UNAVAILABLE, EXIT_USAGE, OperatorError
from netd.lines import Lines, LineTooLong
from netd.peer import Credentials, Peer
from netd.reasons import FORMAT_VERSION
from netd.telemetry.daemon_events import DaemonEvents
from netd.text import suggestion
from netd.transport.stream.connection import EXHAUSTED

Answer = dict[str, Any]

LINE_LIMIT = 4096
"""The longest command, in octets."""


class CommandError(Exception):
    """A command cannot be done. ``exit_code`` is for the command line."""

    def __init__(self, message: str, exit_code: int = EXIT_NO) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Status(Protocol):
    """The state of netd, and its counters over the last minutes."""

    async def current(self, service: str = "") -> Answer: ...

    def history(self) -> Answer: ...


class Commands(Protocol):
    """Commands. Each may raise `CommandError` or `OperatorError`."""

    async def config(self, selection: dict[str, str]) -> Answer: ...

    async def diff(self) -> Answer: ...

    async def reload(self, by: str) -> Answer: ...

    async def switch(self, service: str, *, on: bool, by: str) -> Answer: ...

    async def connections(self, selection: dict[str, str]) -> Answer: ...

    async def peers(self, selection: dict[str, str]) -> Answer: ...

    async def kick(self, selection: dict[str, str], by: str) -> Answer: ...

    def targets(self, service: str) -> Answer: ...

    def change_target(self, service: str, what: str, target: str, by: str) -> Answer: ...

    def log_level(self) -> Answer: ...

    async def set_log_level(self, level: str, by: str) -> Answer: ...


class Stop(Protocol):
    """Stops netd."""

    def __call__(self, by: str, *, now: bool = False) -> Answer: ...


class Bans(Protocol):
    """Bans of sources. Each may raise `CommandError`."""

    def bans(self) -> Answer: ...

    async def ban(self, source: str, duration: str, by: str) -> Answer: ...

    async def unban(self, source: str, by: str) -> Answer: ...


class Tracer(Protocol):
    """Traces. `start` sends lines to ``post``, and returns a function that stops the trace."""

    async def start(self, selection: dict[str, str], post: Post) -> Callable[[], None]: ...


class Attachments(Protocol):
    """Connections to services. `open` returns a function that sends, and one that closes the connection."""

    async def open(self, service: str, post: Post) -> tuple[Callable[[bytes], None], Callable[[], None]]: ...


class Request(NamedTuple):
    """A command that the control socket takes."""

    usage: str
    """Its forms, with ` | ` between them. What is in brackets may be missing; words in capitals stand for others."""
    meaning: str
    """What it does, and when it answers."""


REQUESTS = {
    "status": Request("status [service=NAME]", "Tells the state of netd, and of all services or of one."),
    "history": Request("history", "Tells the counters of the last ten minutes."),
    "config": Request(
        "config [service=NAME] [defaults=yes]",
        "Tells the config in force, of all or of one service, and where each value comes from; with the defaults too.",
    ),
    "diff": Request("diff", "Tells what a reload would change. Answers once the config was read and compared."),
    "reload": Request("reload", "Reads the config and puts it in force. Answers once all workers have it, or none."),
    "enable": Request("enable NAME", "Switches a service on until the next reload. Answers once it is served."),
    "disable": Request(
        "disable NAME", "Switches a service off until the next reload. Its connections have `limits.drain` to finish."
    ),
    "connections": Request("connections [service=NAME] [peer=ADDRESS]", "Lists the live connections."),
    "peers": Request("peers [service=NAME]", "Lists the peers with the most connections."),
    "target": Request(
        "target NAME [enable URL | disable URL | drain URL]",
        "Lists the targets of a service that forwards; or, until netd is started again, gives one no new connections "
        "(`drain`), ends those that it has too (`disable`), or uses it again (`enable`).",
    ),
    "kick": Request(
        "kick id=ID | peer=ADDRESS | service=NAME", "Closes connections: those to which all that is given applies."
    ),
    "ban": Request(
        "ban list | ban add SOURCE DURATION | ban remove SOURCE",
        "Lists the banned sources, bans one, or lifts a ban. Live connections of a banned source go on.",
    ),
    "explain": Request(
        "explain from=PEER to=SERVICE/TRANSPORT",
        "Tells which rule, limit, ban or guard decides about a peer now. Counts nothing.",
    ),
    "log-level": Request("log-level [LEVEL]", "Tells the log level, or sets it until the next reload."),
    "talk": Request(
        "talk service=NAME",
        "Connects to a service. All that the client sends after the answer is for the service, until it shuts down its "
        "side; what the service sends comes as lines.",
    ),
    "trace": Request(
        "trace service=NAME [peer=ADDRESS]",
        "Tells what a service receives and sends, a line for each message, until the client closes the connection.",
    ),
    "stop": Request("stop [now]", "Stops netd, as SIGTERM; `now`: without time for connections to finish."),
}
"""All commands, by name."""


class Control:
    """The service behind the control socket."""

    server_initiated = True

    def __init__(
        self,
        tasks: Tasks,
        commands: Commands,
        stop: Stop,
        status: Status,
        bans: Bans,
        explain: Callable[[str, str], Answer],
        tracer: Tracer,
        attachments: Attachments,
        group: int | None,
        trusts_own_user: Callable[[], bool],
        events: DaemonEvents,
    ) -> None:
        self._tasks = tasks
        self._commands = commands
        self._stop = stop
        self._status = status
        self._bans = bans
        self._explain = explain
        self._tracer = tracer
        self._attachments = attachments
        self._group = group
        self._trusts_own_user = trusts_own_user
        self._events = events

    def stream(self, peer: Peer, post: Post) -> WaitingConversation:
        user = user_name(peer.credentials.uid) if peer.credentials else "an unknown user"
        if not self._allowed(peer.credentials):
            self._events.control_refused(peer.credentials)
            yield json_line(
                _failure(f"{user} may not control netd: be root, or see daemon.control_group", EXIT_UNAVAILABLE)
            )
            return
        lines = Lines(LINE_LIMIT)
        try:
            while (line := (yield from lines.read())) is not None:
                text = line.decode("utf-8", "replace")
                if text.split()[:1] in (["trace"], ["talk"]):
                    return (yield from self._follow(text, lines.rest(), post))
                yield json_line((yield from _result(self._tasks.start(self.answer(text, user)))))
        except LineTooLong as error:
            yield json_line(_failure(str(error), EXIT_USAGE))

    def _allowed(self, credentials: Credentials | None) -> bool:
        """Whether the peer may control netd: root, the user of netd if that may be trusted, or the group.

        Permissions of the path are not enough: an abstract socket has none, and a path can be changed by chmod(1).
        """
        if credentials is None:
            return False
        if credentials.uid == 0:
            return True
        if credentials.uid == os.geteuid():
            return self._trusts_own_user()
        return self._group is not None and self._group in groups_of(credentials.uid, credentials.gid)

    def _follow(self, line: str, rest: bytes, post: Post) -> WaitingConversation:
        """`talk` and `trace`: after the answer, ``post`` gets lines until the peer shuts down its sending side.

        All that the peer sends after the command is for the service; ``rest`` was received with the command.
        """
        started: list[tuple[Callable[[bytes], None], Callable[[], None]]] = []
        closed = False

        async def start(command: str, words: list[str]) -> Answer:
            if command == "talk":
                service = _arguments(command, words, ("service",)).get("service", "")
                send, close = await self._attachments.open(service, post)
            else:
                close = await self._tracer.start(_arguments(command, words, ("service", "peer")), post)
                send = _discard
            if closed:
                close()
            else:
                started.append((send, close))
            return {}

        try:
            yield json_line((yield from _result(self._tasks.start(self._answer(line, start)))))
            for send, _ in started:
                if rest:
                    send(rest)
                while data := (yield None):
                    send(data)
        finally:
            closed = True
            for _, close in started:
                close()

    async def answer(self, line: str, user: str) -> Answer:
        """Run the command in a line, for a user, and return its answer."""
        return await self._answer(line, lambda command, words: self._do(command, words, user))

    async def _answer(self, line: str, do: Callable[[str, list[str]], Coroutine[Any, None, Answer]]) -> Answer:
        command, *words = line.split() or [""]
        try:
            return {"ok": True, "format_version": FORMAT_VERSION, **(await do(command, words))}
        except CommandError as error:
            return _failure(str(error), error.exit_code)
        except OperatorError as error:
            return _failure(error.problems[0], error.exit_code) | {"problems": error.problems}
        except Exception as error:
            if isinstance(error, MemoryError):
                error = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                return _failure(described(error), EXIT_OSERR)
            # A bug in a command does not end the daemon.
            self._events.command_failed(command, error)
            return _failure(f"a bug in netd: {error!r}; see its log", EXIT_SOFTWARE)

    async def _do(self, command: str, words: list[str], user: str) -> Answer:
        commands = self._commands
        verbs = {"ban": words[:1], "target": words[1:2]}.get(command, [])
        by = f"netd {' '.join([command, *verbs])}, {user}"
        match command, words:
            case "status", _:
                return await self._status.current(**_arguments(command, words, ("service",)))
            case "history", []:
                return self._status.history()
            case "config", _:
                return await commands.config(_arguments(command, words, ("service", "defaults")))
            case "diff", []:
                return await commands.diff()
            case "reload", []:
                return await commands.reload(by)
            case "enable" | "disable", [name]:
                return await commands.switch(name, on=command == "enable", by=by)
            case "connections", _:
                return await commands.connections(_arguments(command, words, ("service", "peer")))
            case "peers", _:
                return await commands.peers(_arguments(command, words, ("service",)))
            case "kick", [_, *_]:
                return await commands.kick(_arguments(command, words, ("id", "peer", "service")), by)
            case "target", [name]:
                return commands.targets(name)
            case "target", [name, "enable" | "disable" | "drain" as what, *url] if url:
                return commands.change_target(name, what, " ".join(url), by)
            case "ban", ["list"]:
                return self._bans.bans()
            case "ban", ["add", source, duration]:
                return await self._bans.ban(source, duration, by)
            case "ban", ["remove", source]:
                return await self._bans.unban(source, by)
            case "explain", [_, _]:
                given = _arguments(command, words, ("from", "to"))
                return self._explain(given["from"], given["to"])
            case "log-level", []:
                return commands.log_level()
            case "log-level", [level]:
                return await commands.set_log_level(level, by)
            case "stop", [] | ["now"]:
                return self._stop(by, now=bool(words))
        if command in REQUESTS:
            raise CommandError(f"expected: {REQUESTS[command].usage}", EXIT_USAGE)
        raise CommandError(f"unknown command '{command[:50]}'{suggestion(command[:50], REQUESTS)}", EXIT_USAGE)


def _arguments(command: str, words: list[str], known: Iterable[str]) -> dict[str, str]:
    found = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known or not value or key in found:
            raise CommandError(f"expected: {REQUESTS[command].usage}", EXIT_USAGE)
        found[key] = value
    return found


def _discard(data: bytes) -> None:
    """Discard what the peer sends: a trace has no input."""


def _result(result: Result[Answer]) -> Generator[bytes | Wait | None, bytes, Answer]:
    """Wait, in a conversation, for the result of a command."""
    wait = Wait()
    result.then(wait.finish)
    while not wait.done:
        yield wait
    try:
        return result.get()
    finally:
        del result  # as in `Result.get`


def _failure(message: str, exit_code: int) -> Answer:
    return {"ok": False, "format_version": FORMAT_VERSION, "error": message, "exit_code": exit_code}


def log_exceptions(events: DaemonEvents, command: str, do: Callable[[], object]) -> None:
    """Do something that no client waits for, such as after a signal. An exception is logged."""
    try:
        do()
    except (CommandError, OperatorError):
        pass  # logged where it was raised
    except BaseException as error:  # also SystemExit, which a service's class may raise
        events.command_failed(command, error)
