"""The console script: the table of commands, and the exit code of every error."""

import errno
import importlib
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import click

from netd import __version__
from netd.errors import EXIT_OK, EXIT_OSERR, EXIT_SOFTWARE, EXIT_USAGE, ConfigError, OperatorError

EPILOG = """\b
Exit codes: 0 done, 1 the answer is no, 64 usage, 69 netd is not running
(talk: the other end cannot be reached), 70 a bug in netd, 71 the system
refused (a port in use, a missing right), 78 the config is wrong.
"""

# The file of each command.
_COMMANDS = {
    "run": ("run",),
    "check": ("check", "schema"),
    "config": ("config",),
    "services": ("services",),
    "status": ("status",),
    "reload": ("diff", "reload", "enable", "disable", "log-level"),
    "connections": ("connections", "kick"),
    "stop": ("stop",),
    "top.command": ("top",),
    "explain": ("explain",),
    "ban": ("ban",),
    "trace": ("trace",),
    "talk": ("talk",),
    "probe.command": ("probe",),
}


# The commands in `netd --help`, by what they work on; the rest comes last.
_GROUPS = {
    "Run and check": ("run", "check", "config", "services", "schema"),
    "Ask and change a running netd": (
        "status",
        "top",
        "connections",
        "trace",
        "explain",
        "ban",
        "kick",
        "diff",
        "reload",
        "enable",
        "disable",
        "log-level",
        "stop",
    ),
    "Clients": ("talk", "probe"),
}


class _Commands(click.Group):
    """The group of commands. It imports only the file of the command that runs, so that this starts fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*(name for names in _COMMANDS.values() for name in names), "help"]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        grouped = {name for names in _GROUPS.values() for name in names}
        groups = {**_GROUPS, "Help": tuple(name for name in self.list_commands(context) if name not in grouped)}
        widest = max(map(len, self.list_commands(context)))
        for group, names in groups.items():
            commands = [(name, self.get_command(context, name)) for name in names]
            rows = [(name.ljust(widest), command.get_short_help_str(120)) for name, command in commands if command]
            if rows:
                with formatter.section(group):
                    formatter.write_dl(rows)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "help":
            return _help
        for file, names in _COMMANDS.items():
            if name in names:
                module = importlib.import_module(f"netd.cli.{file}")
                command: click.Command = getattr(module, name.replace("-", "_"))
                return command
        return None


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


@click.command("help", epilog="Example: netd help kick", short_help="Show the help of a command.")
@click.argument("command", nargs=-1)
@click.pass_context
def _help(context: click.Context, command: tuple[str, ...]) -> int:
    """Show the help of a command, as `netd COMMAND --help` does."""
    assert context.parent, "netd itself"
    netd.main([*command, "--help"], prog_name="netd", standalone_mode=False)
    return EXIT_OK


def main() -> None:
    """Run the command line and exit."""
    if sys.argv[1:2] == ["run"]:
        # They would end this process until the daemon handles them. Blocked ones wait until then.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGUSR1))
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
        usage = ""
        if isinstance(error, click.UsageError) and error.ctx:
            usage = f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help'.\n\n"
        return EXIT_USAGE, [f"{usage}netd: {error.format_message()}"]
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
