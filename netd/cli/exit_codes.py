"""The exit code of every command: what each of them means, in one place.

`netd.errors` says what a code means in general. The help of a command says what it means there.
"""

import inspect

import click

from netd.errors import EXIT_CONFIG, EXIT_NO, EXIT_OK, EXIT_OSERR, EXIT_UNAVAILABLE

Codes = dict[int, str]

_ASKS: Codes = {EXIT_UNAVAILABLE: "netd is not running"}
_CHANGES: Codes = {EXIT_NO: "netd is stopping", **_ASKS}
_REFUSES: Codes = {EXIT_OSERR: "the system refuses a part of the config", EXIT_CONFIG: "the config is wrong"}
_IMPORTS: Codes = {
    EXIT_OK: "all was imported",
    EXIT_NO: "a line was not imported",
    EXIT_OSERR: "the config cannot be written",
    EXIT_CONFIG: "the source cannot be read, or the other daemon would refuse it",
}

OF_COMMAND: dict[str, Codes] = {
    "run": {EXIT_OK: "netd was stopped, or with --daemon is ready", **_REFUSES},
    "check": {
        EXIT_OK: "netd can use the config",
        EXIT_OSERR: "with --system, the system refuses a part of it",
        EXIT_CONFIG: "it cannot be used",
    },
    "config": {**_ASKS, EXIT_CONFIG: "the config in the file of -c is wrong"},
    "services": {EXIT_NO: "a service type cannot be used"},
    "schema": {},
    "import xinetd": _IMPORTS,
    "import inetd": _IMPORTS,
    "import systemd": _IMPORTS,
    "status": {EXIT_OK: "netd is running", EXIT_UNAVAILABLE: "it is not"},
    "top": _ASKS,
    "connections": _ASKS,
    "trace": {EXIT_NO: "there are too many traces already", EXIT_UNAVAILABLE: "netd is not running, or has stopped"},
    "explain": {EXIT_OK: "the peer would be served", EXIT_NO: "it would not, or netd is stopping", **_ASKS},
    "ban list": _ASKS,
    "ban add": _ASKS,
    "ban remove": {EXIT_NO: "the source is not banned", **_ASKS},
    "kick": {EXIT_NO: "there was no such connection", **_ASKS},
    "diff": {**_ASKS, **_REFUSES},
    "reload": {**_CHANGES, **_REFUSES},
    "enable": {**_CHANGES, EXIT_OSERR: "the system refuses a socket of it"},
    "disable": _CHANGES,
    "target": _CHANGES,
    "log-level": _ASKS,
    "stop": {EXIT_OK: "netd has exited", **_ASKS},
    "talk": {
        EXIT_OK: "this side ended the conversation, or the other end closed after a last line `q` or `bye`",
        EXIT_NO: "the other end closed before, or did not take or answer anything",
        EXIT_UNAVAILABLE: "the other end cannot be reached, or TLS fails",
    },
    "probe": {
        EXIT_OK: "every target answered, and no answer was wrong",
        EXIT_NO: "a target did not, or an answer was wrong; with --warn or --crit a warning",
        2: "critical, with --warn or --crit",
        3: "unknown, with --warn or --crit",
    },
    "help": {},
    "completion": {},
}
"""The codes of each command that mean something of their own there. All of them have 0 for done, 64 for a command line
that is wrong, 70 for a bug in netd, and 71 for output that cannot be written. 130 and 141 are 128 and the number of
SIGINT (Ctrl-C) and of SIGPIPE (the reader of the output has left), as a shell has them."""


def explain(command: click.Command, name: str) -> None:
    """Append the exit codes to the help of a command, and of those below it."""
    if isinstance(command, click.Group):
        for inner, below in command.commands.items():
            explain(below, f"{name} {inner}")
        return
    if codes := OF_COMMAND[name]:
        told = "; ".join(f"{code}: {text}" for code, text in sorted({EXIT_OK: "done", **codes}.items()))
        paragraph = f"\n\nExit code {told}."
        command.help = f"{inspect.cleandoc(command.help or '').removesuffix(paragraph)}{paragraph}"
