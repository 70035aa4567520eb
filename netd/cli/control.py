"""Commands that talk to a running netd: status, diff, reload, enable, disable, connections, kick, log-level, stop.

They answer at once, so nothing is imported here that takes long to.
"""

import contextlib
import json
import os
import select
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from netd import default_paths
from netd.cli.columns import HEADS, NUMBERS, daemon_lines, readable_duration, service_rows
from netd.client import control
from netd.client.control import Answer
from netd.errors import EXIT_NO, EXIT_OK, ConfigError, NotRunningError, OperatorError
from netd.peer_filter import PeerFilter

C = TypeVar("C", bound=Callable[..., Any])

_USUAL = 60.0  # seconds that netd has for an answer,
_LONG = 180.0  # and where it may have to read its config, and to wait for another command that does
_LONG_COMMANDS = ("diff", "disable", "enable", "reload")


class Ask:
    """Asks the netd that is meant: the one of the config, of the path, of $NETD_CONTROL, or of the usual places."""

    def __init__(self, file: Path | None, path: str | None) -> None:
        self._file = file
        self._path = path
        self._places: Sequence[str] = ()

    def __call__(self, *words: str, **named: str | None) -> Answer:
        """Its answer. An `OperatorError` says what it cannot do, with the exit code it gives for that."""
        # Found once, for a command that asks again and again; anew when nobody is there any more.
        self._places = self._places or self.places()
        try:
            seconds = _LONG if words[0] in _LONG_COMMANDS else _USUAL
            return good(control.ask(self._places, _words(words, named), seconds))
        except NotRunningError:
            self._places = ()
            raise

    def follow(self, *words: str, **named: str | None) -> Iterator[Answer]:
        """What it says after its answer, as it comes."""
        answers = control.follow(self.places(), _words(words, named))
        good(next(answers, {}))
        return answers

    def places(self) -> Sequence[str]:
        """The paths of control sockets at which to look for it."""
        return _find(self._file, self._path)


def _words(words: Sequence[str], named: Mapping[str, str | None]) -> list[str]:
    return [*words, *(f"{key}={value}" for key, value in named.items() if value is not None)]


def good(answer: Answer) -> Answer:
    """The answer, if netd did what it was asked; else the `OperatorError` that it gives for that is raised."""
    if not answer.get("ok"):
        error = OperatorError(answer.get("problems") or [str(answer.get("error"))])
        error.exit_code = int(answer.get("exit_code", EXIT_NO))
        if error.exit_code == ConfigError.exit_code:
            raise ConfigError(error.problems)
        raise error
    return answer


def talks(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options that say which netd is meant, and something to ask it with."""

    @click.option(
        "-c",
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="The config of the netd that is meant.",
    )
    @click.option(
        "--control",
        "path",
        type=click.Path(),
        help="Its control socket. Default: $NETD_CONTROL, else what /etc/netd/netd.yaml says, else the usual places.",
    )
    @wraps(command)
    def talk(*arguments: Any, file: Path | None, path: str | None, **options: Any) -> int:
        return command(*arguments, ask=Ask(file, path), **options)

    return talk


def _find(file: Path | None, path: str | None) -> Sequence[str]:
    """Where to look for the netd that is meant. `NotRunningError` where another one runs there."""
    paths = None
    if file is not None:
        paths = _named_in(file)
    if paths is None and path is not None:
        paths = [path]
    if paths is None and file is None and "NETD_CONTROL" not in os.environ and default_paths.config_exists():
        paths = _named_in(default_paths.CONFIG_FILE)
    if paths is None:
        paths = default_paths.control_sockets()
    if file is not None:
        # The usual place may be that of another netd, which must not be told what is meant for this one.
        try:
            runs = str(control.ask(paths, ["status"]).get("config"))
            with contextlib.suppress(OSError):
                if not os.path.samefile(runs, file):
                    raise NotRunningError([f"no netd runs {file}: the one at {paths[0]} runs {runs}"])
        except NotRunningError:
            _tell_problems(file)
            raise
    return paths


def _tell_problems(file: Path) -> None:
    """Raise the problems of a config, which may be why the netd that runs it is not found."""
    from netd.config import loader  # only here, since it takes long

    if file.exists():
        loader.load(file)


def _named_in(file: Path) -> list[str] | None:
    """The control socket that a config names; None where it names none, or cannot be read now.

    What is wrong with it is for a reload to say, and no reason not to find who runs it.
    """
    from netd.config import source

    try:
        tree = source.read(str(file)).tree
    except source.SourceError:
        return None
    daemon = tree.get("daemon")
    path = daemon.get("control") if isinstance(daemon, dict) else None
    if path is False or path == "off":
        raise NotRunningError([f"{file} switches the control socket off (daemon.control)"])
    return [path] if isinstance(path, str) and path else None


def _check_peer(context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    """What can be a peer: an address, with or without port, a network, or how lists show one over UNIX."""
    if text is None or text.startswith(("/", "@", "pid=", "uid=")) or PeerFilter(text).network:
        return text
    raise click.BadParameter(f"expected an address, a network or what a list shows, got {text!r}")


def peer_option(explanation: str) -> Callable[[C], C]:
    """The option that says whose."""
    return click.option("--peer", callback=_check_peer, help=explanation)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as a JSON object.")


def print_answer(answer: Answer, text: str, *, as_json: bool) -> int:
    """Print an answer, for people or as JSON."""
    shown = {key: value for key, value in answer.items() if key != "ok"}
    click.echo(json.dumps(shown, indent=2) if as_json else text)
    return EXIT_OK


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> str:
    """Columns as wide as what is in them; those named in ``right`` are flush right."""
    texts = [list(heads), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if head in right else cell.ljust(width)
            for head, cell, width in zip(heads, row, widths, strict=True)
        ).rstrip()
        for row in texts
    )


@click.command(epilog="Example: netd status --json")
@talks
@json_option
def status(ask: Ask, *, as_json: bool) -> int:
    """Show what a running netd serves, and what it has done since it started.

    Exit code 0: it runs; 69: it does not.
    """
    answer = ask("status")
    cells = []
    for row in service_rows(answer):
        first, *others = row["ENDPOINT"] or ["-"]
        cells.append([first if head == "ENDPOINT" else row[head] for head in HEADS])
        cells += [[other if head == "ENDPOINT" else "" for head in HEADS] for other in others]
    return print_answer(answer, "\n".join([*daemon_lines(answer), "", table(HEADS, cells, NUMBERS)]), as_json=as_json)


@click.command(epilog="Example: netd diff")
@talks
@json_option
def diff(ask: Ask, *, as_json: bool) -> int:
    """Show what a reload would do, service by service, and which live connections it concerns. Changes nothing."""
    answer = ask("diff")
    lines = []
    for change in answer["changes"]:
        lines.append(f"{change['service']}: {change['what']}{_concerned(change)}")
        lines += [f"    {detail}" for detail in change["details"]]
    lines += answer["settings"]
    lines += [f"{key}: changed; needs a restart" for key in answer["restart_needed"]]
    return print_answer(answer, "\n".join(lines) or "nothing would change", as_json=as_json)


def _concerned(change: Answer) -> str:
    live = change["live"]
    if not live:
        return ""
    if live == 1:
        fate = "has limits.drain to finish" if change["connections"] == "drained" else "goes on as it is"
        return f"; its live connection {fate}"
    fate = "have limits.drain to finish" if change["connections"] == "drained" else "go on as they are"
    return f"; its {live} live connections {fate}"


@click.command(epilog="Example: netd reload")
@talks
@json_option
def reload(ask: Ask, *, as_json: bool) -> int:
    """Put the config in force as its file is now. What did not change is not touched.

    A config with any problem changes nothing: the problems are printed, and the exit code is 78; 71 when the system
    refuses a socket.
    """
    answer = ask("reload")
    lines = [f"{service}: {what}" for service, what in answer["changes"].items()]
    lines += answer["settings"]
    lines += [f"{key}: changed; needs a restart" for key in answer["restart_needed"]]
    return print_answer(answer, "\n".join([*lines, f"config {answer['generation']} is in force"]), as_json=as_json)


@click.command(epilog="Example: netd enable echo")
@click.argument("name")
@talks
def enable(ask: Ask, name: str) -> int:
    """Switch a service on, until the next reload."""
    ask("enable", name)
    return EXIT_OK


@click.command(epilog="Example: netd disable echo")
@click.argument("name")
@talks
def disable(ask: Ask, name: str) -> int:
    """Switch a service off, until the next reload. Its live connections have limits.drain to finish."""
    ask("disable", name)
    return EXIT_OK


@click.command(epilog="Example: netd connections --service echo --peer 192.0.2.0/24")
@click.option("--service", help="Those of this service.")
@peer_option("Those of this address (with or without port) or network.")
@talks
@json_option
def connections(ask: Ask, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """List live connections: who, since when, and how much. At most 1,000 for each worker, and the number of all."""
    answer = ask("connections", service=service, peer=peer)
    rows = [
        [
            *(row[key] for key in ("id", "service", "peer", "local")),
            readable_duration(row["seconds"]),
            readable_duration(row["idle"]),
            row["bytes_in"],
            row["bytes_out"],
        ]
        for row in answer["connections"]
    ]
    numbers = ("AGE", "IDLE", "IN", "OUT")
    text = table(("ID", "SERVICE", "PEER", "LOCAL", *numbers), rows, numbers)
    if answer["total"] > len(rows):
        text += f"\n{len(rows)} of {answer['total']}"
    return print_answer(answer, text if rows else "no connections", as_json=as_json)


@click.command(epilog="Example: netd kick --peer 192.0.2.7")
@click.argument("id", required=False)
@click.option("--service", help="All of this service.")
@peer_option("All of this address (with or without port) or network.")
@talks
@json_option
def kick(ask: Ask, id: str | None, service: str | None, peer: str | None, *, as_json: bool) -> int:
    """End live connections: the one with this ID (`netd connections` shows it), or those that an option means.

    Who only sends datagrams has none; a chat forgets them after its option `idle`.

    Exit code 1 when there was none.
    """
    if not (id or service or peer):
        raise click.UsageError("expected an ID, --service or --peer")
    answer = ask("kick", id=id, service=service, peer=peer)
    number = answer["number"]
    print_answer(answer, f"{number} connection{'s' * (number != 1)} ended", as_json=as_json)
    return EXIT_OK if number else EXIT_NO


@click.command("log-level", epilog="Example: netd log-level debug")
@click.argument("level", type=click.Choice(["debug", "info", "warning", "error", "critical"]))
@talks
def log_level(ask: Ask, level: str) -> int:
    """Change what is logged, until the next reload."""
    ask("log-level", level)
    return EXIT_OK


@click.command(epilog="Example: netd stop")
@click.option("--now", is_flag=True, help="Do not wait for conversations to finish.")
@talks
def stop(ask: Ask, *, now: bool) -> int:
    """Stop a running netd, and wait until it is gone. Conversations have daemon.drain to finish."""
    pid = int(ask("stop", *(["now"] if now else []))["pid"])
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [])
        finally:
            os.close(descriptor)
    return EXIT_OK
