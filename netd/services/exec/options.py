"""The options of programs that netd starts, which `exec` and `check` have in common."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from netd.errors import InvalidValueError
from netd.notation import Notation
from netd.text import shown
from netd.values import (
    ACCOUNT_SCHEMA,
    Account,
    Duration,
    Model,
    Path,
    list_hint,
    parse_account,
    parse_path,
    parse_size,
    size_text,
)

_MOST_ARGUMENTS = 256
_MOST_GROUPS = 64
_MOST_VARIABLES = 256
_LONGEST_TEXT = 4096
_LARGEST_LIMIT = 2**63 - 1
_NAME = r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"
_OF_THE_SERVICE_MANAGER = re.compile("NOTIFY_SOCKET|LISTEN_.*|WATCHDOG_.*|CREDENTIALS_DIRECTORY")
_SEVERAL_WORDS = r"/[^\s,\[\]{}#&!|>%@\"'`$;*?\\]*(\s+[^\s,\[\]{}#&!|>%@\"'`$;*?\\]+)+"


def _text(value: object) -> str:
    """Text that a program can be given: octets without NUL (execve(2))."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidValueError(f"expected text, got {shown(value)}", f'write it in quotes: "{shown(value)}"')
    if not isinstance(value, str):
        raise InvalidValueError(f"expected text, got {shown(value)}", "write it in quotes" if value is not None else "")
    if "\0" in value or len(value) > _LONGEST_TEXT:
        raise ValueError(f"expected text of at most {_LONGEST_TEXT} characters, without NUL, got {shown(value)}")
    return value


def _command(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        message = f"expected a list such as [/usr/bin/rsync, --daemon], got {shown(value)}"
        hint = list_hint(value)
        if isinstance(value, str) and re.fullmatch(_SEVERAL_WORDS, value.strip(), re.ASCII):
            hint = f"did you mean [{', '.join(value.split())}]?"
        raise InvalidValueError(message, hint)
    if len(value) > _MOST_ARGUMENTS:
        raise ValueError(f"expected a command of at most {_MOST_ARGUMENTS} words, got {len(value)}")
    program, *arguments = value
    return (_text(parse_path(program)), *map(_text, arguments))


def _groups(value: object) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and len(value) <= _MOST_GROUPS:
        return tuple(map(parse_account, value))
    message = f"expected true, false, or a list of at most {_MOST_GROUPS} groups such as [tty, 5], got {shown(value)}"
    raise InvalidValueError(message, list_hint(value))


def _umask(value: object) -> int:
    """A mask in octal, as the shell's umask takes it; a number of Python is the mask itself."""
    if isinstance(value, str) and re.fullmatch("(?:0o?)?[0-7]{1,3}", value):
        return int(value.removeprefix("0o"), 8)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ValueError(f"expected a mask in octal such as 022 or 077, got {shown(value)}")


def _passed(name: str) -> str:
    if _OF_THE_SERVICE_MANAGER.fullmatch(name):
        raise ValueError(f"{name} is for netd alone: its service manager has set it")
    return name


def _whole(seconds: float) -> float:
    if seconds < 1 or seconds % 1:
        raise ValueError("expected whole seconds, at least 1s, since the kernel counts no parts of them")
    return seconds


def _limit(least: int) -> BeforeValidator:
    """The parser of a limit in octets, of at least so many; 0 is one where it means something."""

    def parse(value: object) -> int | None:
        if value is None:
            return None
        zero = value in (0, "0") and not isinstance(value, bool)
        size = 0 if zero else parse_size(value, _LARGEST_LIMIT)
        if size < least:
            raise ValueError(f"expected at least {size_text(least)}, got {shown(value)}")
        return size

    return BeforeValidator(parse)


_SIZE_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "pattern": r"^\d{1,19}(|KiB|MiB|GiB)$"},
            {"type": "integer", "minimum": 0},
            {"type": "null"},
        ]
    }
)
_SIZE = Notation("size of up to 2^63 - 1")
_TextValue = Annotated[str, BeforeValidator(_text)]
_VariableName = Annotated[str, Field(pattern=_NAME)]
_Umask = Annotated[
    int,
    BeforeValidator(_umask),
    PlainSerializer(lambda mask: f"{mask:03o}", when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": "^(0o?)?[0-7]{1,3}$"}, {"type": "integer", "minimum": 0}]}),
    Notation("octal mask, 000 to 777"),
]
_Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "maxLength": _LONGEST_TEXT},
            "prefixItems": [{"type": "string", "pattern": "^/"}],
            "minItems": 1,
            "maxItems": _MOST_ARGUMENTS,
        }
    ),
    Notation(f"list of 1 to {_MOST_ARGUMENTS} words"),
]
_Groups = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_groups),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "array", "items": ACCOUNT_SCHEMA}]}),
    Notation(f"`true`, `false`, or list of at most {_MOST_GROUPS} accounts"),
]


class ProgramLimits(Model):
    """Resource limits of a program and its children, soft and hard (getrlimit(2)). What is unset is as netd has it.

    There is none on the number of processes: the kernel counts those of a user in all of the host.
    """

    cpu: Annotated[Duration, AfterValidator(_whole)] | None = None
    """Processor time of each process, in whole seconds (RLIMIT_CPU); then SIGXCPU ends it. Unset, since a program that
    waits takes none, and `limits.lifetime` bounds the others."""
    memory: Annotated[int | None, _limit(2**20), _SIZE_SCHEMA, _SIZE] = None
    """Address space of each process, at least 1MiB (RLIMIT_AS); beyond it an allocation fails. Unset, since it counts
    what is mapped and not what is used: some programs map gigabytes."""
    files: Annotated[int, Field(ge=8, le=2**30)] | None = None
    """Open descriptors of each process, 8 or more (RLIMIT_NOFILE). Unset: the hard limit of netd, and of the soft one,
    which a program may raise, 1024, or what netd was started with where that is less: select(2) takes no more."""
    file_size: Annotated[int | None, _limit(0), _SIZE_SCHEMA, _SIZE] = None
    """The longest file that a process may write (RLIMIT_FSIZE); then SIGXFSZ ends it. 0: none."""
    stack: Annotated[int | None, _limit(2**16), _SIZE_SCHEMA, _SIZE] = None
    """The stack of each process, at least 64KiB (RLIMIT_STACK)."""
    core: Annotated[int | None, _limit(0), _SIZE_SCHEMA, _SIZE] = None
    """The largest core file (RLIMIT_CORE). 0: none is written."""


class Stop(Model):
    """How a program is ended that may not continue."""

    signal: Literal["TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "KILL"] = "TERM"
    """The signal that asks the process group of the program to end (signal(7))."""
    after: Duration = 5.0
    """How long it may take; then SIGKILL follows. 5 s is enough to store what is open, and short beside the 30 s of
    `limits.drain`."""


class ProgramOptions(Model):
    """The options of all service types that start programs."""

    command: _Command
    """The program and its arguments, as a list; the first is an absolute path, within `root`. No shell reads it: for
    one write [/bin/sh, -c, …]."""
    user: Account | None = None
    """The user (name or number) of the program. Unset: `nobody` if netd is started as root, so that a program is root
    only where this says so; else the user of netd."""
    group: Account | None = None
    """The group (name or number) of the program. Unset: that of `user`."""
    groups: _Groups = True
    """The supplementary groups: true for all groups of `user` (initgroups(3)), false for none, or a list. True, as
    login(1) does it."""
    root: Path | None = None
    """The root directory of the program (chroot(2)), which requires that netd is started as root. Unset: that of the
    host."""
    no_new_privileges: bool = True
    """Whether programs such as sudo(8) gain no privileges from their set-user-ID bit (PR_SET_NO_NEW_PRIVS, prctl(2)).
    True, since few need them; programs that log users in do, as sshd(8) and telnetd(8)."""
    directory: Path = "/"
    """The working directory, within `root`. /, since it exists everywhere and keeps no file system from being
    unmounted."""
    umask: _Umask = 0o022
    """The permissions, in octal, that new files do not get (umask(2)). 022: only their owner may write them."""
    nice: Annotated[int, Field(ge=-20, le=19)] = 0
    """The priority, from -20 (first) to 19 (last). It is added to that of netd, as nice(1) does: 0, unless netd was
    started with another one (`Nice=` in its unit). Below 0 only root may."""
    argv0: Annotated[_TextValue, Field(min_length=1)] | None = None
    """The name by which the program is started, as -sh for a login shell. Unset: the last part of its path."""
    environment: dict[_VariableName, _TextValue] = Field(default_factory=dict, max_length=_MOST_VARIABLES)
    """Variables for the program, by name, beside PATH, HOME, USER, LOGNAME, SHELL and LANG (environ(7)), which they may
    replace."""
    pass_environment: Annotated[
        tuple[Annotated[_VariableName, AfterValidator(_passed)], ...], Field(max_length=_MOST_VARIABLES)
    ] = ()
    """Names of variables that the program gets as netd has them. None, since they may hold secrets; those that the
    service manager sets for netd alone are refused: NOTIFY_SOCKET, LISTEN_*, WATCHDOG_*, CREDENTIALS_DIRECTORY."""
    limits: ProgramLimits = ProgramLimits()
    """Resource limits (prlimit(1)): cpu, memory, files, file_size, stack, core. Unset: as netd has them."""
    stop: Stop = Stop()
    """How a program is ended that may not continue: `signal` to its process group, and SIGKILL if it still runs
    `after` this time."""
