"""The console script: the table of commands, and the exit code of every error."""

import errno
import gc
import importlib
import io
import keyword
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from netd import __version__
from netd.cli import exit_codes
from netd.errors import EXIT_OK, EXIT_OSERR, EXIT_SOFTWARE, EXIT_USAGE, ConfigError, OperatorError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETE_VARIABLE = "_NETD_COMPLETE"
"""The variable in which the script of a shell asks what a command line can go on with."""

EPILOG = """\b
Exit codes: 0 done, 1 the answer is no, 64 usage, 69 netd is not running
(talk: the other end cannot be reached), 70 a bug in netd, 71 the system
refused (a port in use, a missing right), 78 the config is wrong.
"""

_GROUPS = {
    "Run netd": {
        "run": ("run", "Run the services that the config enables."),
        "check": ("check", "Print every problem of a config."),
        "config": ("config", "Show the config in force, or print an example."),
        "diff": ("reload", "Show what a reload would change."),
        "reload": ("reload", "Load the config file again and apply it."),
        "stop": ("stop", "Stop a running netd, and wait until it has exited."),
    },
    "Look at a running netd": {
        "status": ("status", "Show the services of a running netd, or one in full."),
        "top": ("top.command", "Show the services of a running netd, updated live."),
        "connections": ("connections", "List live connections."),
        "trace": ("trace", "Show the data that a service receives and sends."),
        "explain": ("explain", "Show which rule, limit or ban decides about a peer."),
    },
    "Change a running netd": {
        "enable": ("reload", "Switch a service on, until the next reload."),
        "disable": ("reload", "Switch a service off, until the next reload."),
        "target": ("target", "Show the targets of a service, or take one out of service."),
        "kick": ("connections", "Close live connections."),
        "ban": ("ban", "List, add and remove bans."),
        "log-level": ("reload", "Print or change the log level."),
    },
    "Test services": {
        "talk": ("talk", "Talk to a service, line by line."),
        "probe": ("probe.command", "Measure services, of netd or others."),
    },
    "Move to netd, and write services for it": {
        "import": ("import_command", "Make a config from that of another super-server."),
        "services": ("services", "List the service types, or describe one."),
        "schema": ("check", "Print the JSON Schema of the config, for editors."),
    },
    "Help": {
        "help": ("help", "Show the help of a command."),
        "completion": ("completion.command", "Print the completion of a shell: bash, zsh or fish."),
    },
}
"""The commands in the order of `netd --help`, by what they work on: the file in `netd.cli` and the summary of each."""

_COMMANDS = {name: entry for group in _GROUPS.values() for name, entry in group.items()}


class _Commands(click.Group):
    """The group of commands. It imports only the file of the command that runs, so that this starts fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, _COMMANDS))
        for group, commands in _GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(widest), summary) for name, (_, summary) in commands.items()])

    def shell_complete(self, context: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, context, incomplete)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        file, summary = _COMMANDS[name]
        attribute = f"{name}_" if keyword.iskeyword(name) or name == "help" else name.replace("-", "_")
        command: click.Command = getattr(importlib.import_module(f"netd.cli.{file}"), attribute)
        command.short_help = summary
        exit_codes.explain(command, name)
        return command


@click.group(
    cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True
)
@click.version_option(__version__, "-V", "--version", prog_name="netd", message="%(prog)s %(version)s")
@click.pass_context
def netd(context: click.Context) -> None:
    """One daemon for the small network services of a host: echo, time, ping/pong and the rest of the inetd family."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


def main() -> None:
    """Run the command line and exit."""
    if request := os.environ.get(COMPLETE_VARIABLE):
        from netd.cli.completion.answer import answer

        answer(netd, request)
    if sys.argv[1:2] == ["run"]:
        # They would end this process until the daemon handles them. Blocked ones wait until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGUSR1))
        gc.disable()  # what is imported and read now is kept. `start` enables it
    _open_standard_descriptors()
    code, problems = _run()
    for stream, text in ((sys.stdout, ""), (sys.stderr, _error_text(problems))):
        try:
            stream.write(text)
            stream.flush()
        except OSError as error:
            # Python would write the rest of the buffer again at exit, and change the exit code.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout and code == EXIT_OK:
                code, problems = _output_failed(error)
                click.echo(_error_text(problems), err=True, nl=False)
    sys.exit(code)


def _error_text(problems: Sequence[str]) -> str:
    """Problems as lines. In the journal, each has the priority of an error (sd-daemon(3))."""
    if not problems:
        return ""
    from netd.telemetry.journal import is_journal  # here, since the import takes long

    prefix = "<3>" if is_journal(2) else ""
    return "".join(f"{prefix}{line}\n" for problem in problems for line in problem.splitlines())


def _run() -> tuple[int, Sequence[str]]:
    """Run the command: its exit code, and the lines for standard error."""
    try:
        with netd.make_context("netd", sys.argv[1:]) as context:
            return netd.invoke(context) or EXIT_OK, ()
    except click.exceptions.Exit as end:
        return end.exit_code, ()
    except ConfigError as error:
        return error.exit_code, _problems(error)
    except OperatorError as error:
        return error.exit_code, _refusals(error)
    except click.ClickException as error:
        usage = hint = ""
        if isinstance(error, click.UsageError) and error.ctx:
            usage = f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.\n\n"
            parameters = error.ctx.command.params
            takes_file = any("--config" in one.opts for one in parameters)
            takes_none = not any(isinstance(one, click.Argument) for one in parameters)
            if takes_file and takes_none and error.message.startswith("Got unexpected extra argument"):
                hint = "; -c FILE names the config"
        return EXIT_USAGE, [f"{usage}netd: {error.format_message()}{hint}"]
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT, ()
    except OSError as error:
        return _output_failed(error)
    except Exception:
        return EXIT_SOFTWARE, [traceback.format_exc()]


def _problems(error: ConfigError) -> Sequence[str]:
    """The lines for the problems of a config. Each starts with file:line:column, as editors expect."""
    from netd.cli import excerpts  # only here, so that other commands start fast
    from netd.config.problems import InvalidConfigError

    return excerpts.report(error) if isinstance(error, InvalidConfigError) else error.problems


def _refusals(error: OperatorError) -> Sequence[str]:
    """The lines for what the system or a running netd refuses; those with a place in the config as its problems."""
    try:
        from netd.cli import excerpts  # as above
    except OSError:  # no descriptor is left to open the file
        return [f"netd: {problem}" for problem in error.problems]
    return excerpts.refusals(error.problems)


def _output_failed(error: OSError) -> tuple[int, Sequence[str]]:
    if error.errno == errno.EPIPE:
        return 128 + signal.SIGPIPE, ()  # the reader has closed the pipe
    return EXIT_OSERR, [f"netd: {error}"]


def _open_standard_descriptors() -> None:
    """Open 0, 1 and 2 where the parent process has closed them, before another file gets one of these numbers.

    With PYTHONUNBUFFERED, standard output has no buffer, and loses what one write(2) does not take: give it one.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    if sys.stdout and isinstance(sys.stdout.buffer, io.RawIOBase):
        sys.stdout = os.fdopen(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
