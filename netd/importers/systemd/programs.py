"""The section [Service]: the command and its surroundings, as options of an exec service."""

import re

from netd.importers.programs import is_login
from netd.importers.systemd.case import Case
from netd.importers.systemd.units import Directive, Unit, octets, seconds, switch
from netd.importers.systemd.words import Command, assignments, commands, with_variables
from netd.text import shown
from netd.values import duration_text, size_text

_SECTION = "Service"
_SIMPLE = ("User", "user"), ("Group", "group")
_LIMITS = {"LimitAS": "memory", "LimitFSIZE": "file_size", "LimitSTACK": "stack", "LimitCORE": "core"}
_SIGNALS = ("TERM", "HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "KILL")
_MOST_WORDS = 256


def put_program(case: Case, unit: Unit) -> None:
    """Set the options of the service."""
    variables = _variables(case, unit)
    command = _command(case, unit, variables)
    if command:
        case.service.put(command, "options", "command")
    _put_accounts(case, unit)
    _put_streams(case, unit)
    _put_surroundings(case, unit)
    if variables:
        case.service.put(variables, "options", "environment")
    passed = [word for one in unit.listed(_SECTION, "PassEnvironment") for word in one.value.split()]
    for directive in unit.listed(_SECTION, "PassEnvironment"):
        case.put(directive, passed, "options", "pass_environment")
    kind = unit.last(_SECTION, "Type")
    if kind and kind.value in ("forking", "dbus"):
        case.leave_out(kind, "netd waits for the process that it starts, and for no other", off=True)
    elif kind:
        case.take(kind)
    _put_privileges(case, unit, command)


def _command(case: Case, unit: Unit, variables: dict[str, str]) -> list[str]:
    """The program and its arguments; empty after it was told why there is none."""
    directives = unit.listed(_SECTION, "ExecStart")
    try:
        found = [(one, command) for one in directives for command in commands(one.value)]
    except ValueError as error:
        case.leave_out(directives[-1], str(error), off=True)
        return []
    if not found:
        case.off(f"{unit.name} has no ExecStart=")
        return []
    for directive, _ in found[1:]:
        case.leave_out(directive, "netd runs one command for a service", off=True)
    directive, command = found[0]
    try:
        words = _words(case, unit, command, variables)
    except ValueError as error:
        case.leave_out(directive, f"only systemd knows {error}", off=True)
        return []
    return _checked(case, directive, command, words)


def _words(case: Case, unit: Unit, command: Command, variables: dict[str, str]) -> list[str]:
    program, *arguments = (case.expanded(word, unit) for word in command.words)
    return [program, *(arguments if ":" in command.prefixes else with_variables(tuple(arguments), variables))]


def _checked(case: Case, directive: Directive, command: Command, words: list[str]) -> list[str]:
    """The command, after what its prefixes mean."""
    if "@" in command.prefixes and len(words) > 1:
        case.service.put(words.pop(1), "options", "argv0")
    if not words[0].startswith("/"):
        words[0] = case.host.find_program(words[0]) or words[0]
    privileges = [one for one in command.prefixes if one in "+!|"]
    if privileges:
        case.leave_out(directive, f"netd has nothing like the prefix {privileges[0]}", off=True)
    elif not words[0].startswith("/"):
        case.leave_out(directive, "the program is no absolute path", off=True)
    elif not case.host.is_program(words[0]):
        case.leave_out(directive, f"this host has no program {shown(words[0])}", off=True)
    elif "-" in command.prefixes:
        case.note(directive, "netd logs a program that fails all the same", "options", "command")
    else:
        case.take(directive, "options", "command")
    return words[:_MOST_WORDS]


def _variables(case: Case, unit: Unit) -> dict[str, str]:
    found: dict[str, str] = {}
    for directive in unit.listed(_SECTION, "Environment"):
        try:
            found |= dict(assignments(case.expanded(directive.value, unit)))
            case.take(directive, "options", "environment")
        except ValueError as error:
            case.leave_out(directive, str(error), off=True)
    for directive in unit.listed(_SECTION, "EnvironmentFile"):
        path = directive.value.removeprefix("-")
        if directive.value.startswith("-") and not case.host.exists(path):
            case.note(directive, "the file does not exist, and need not")
    return found


def _put_accounts(case: Case, unit: Unit) -> None:
    case.service.put("root", "options", "user")
    for key, option in _SIMPLE:
        directive = unit.last(_SECTION, key)
        if directive is None:
            continue
        case.put(directive, directive.value, "options", option)
        knows = case.host.has_user if option == "user" else case.host.has_group
        if not knows(directive.value):
            case.leave_out(directive, f"this host has no {option} {shown(directive.value)}", off=True)
    further = unit.listed(_SECTION, "SupplementaryGroups")
    for directive in further:
        case.note(directive, "these are all groups of the program; those of its user are not added")
        case.put(directive, [word for one in further for word in one.value.split()], "options", "groups")


def _put_streams(case: Case, unit: Unit) -> None:
    """Descriptors 0 to 2."""
    given = {key: unit.last(_SECTION, f"Standard{key}") for key in ("Input", "Output", "Error")}
    value = {key: one.value if one else "" for key, one in given.items()}
    is_socket = value["Input"] == "socket"
    if not case.accepts:
        case.service.put("listener", "options", "mode")
        if value["Error"] == "null":
            case.service.put("null", "options", "stderr")
    elif not is_socket:
        text = "the program gets its connection as descriptor 3 (LISTEN_FDS), and netd passes it as 0 and 1"
        if value["Output"] == "socket":
            text = "the program writes to its connection and reads nothing of it; netd has it read too"
        case.leave_out(given["Input"], text, off=True) if given["Input"] else case.off(text)
    if case.accepts and value["Output"] not in ("", "inherit", "socket") and given["Output"]:
        case.leave_out(given["Output"], "netd has the output go to the connection", off=True)
    for one in given.values():
        if one and not case.is_told(one):
            case.take(one)
    if not case.accepts:
        return
    match value["Error"].partition(":")[0]:
        case "" | "inherit" | "socket" if is_socket or value["Output"] == "socket":
            case.service.put("peer", "options", "stderr")
        case "null":
            case.service.put("null", "options", "stderr")
        case "file" | "append" | "truncate" | "tty" | "fd" if given["Error"]:
            case.note(given["Error"], "standard error goes to the log of netd")


def _put_surroundings(case: Case, unit: Unit) -> None:
    """Directories, priority, limits, time."""
    for key in ("WorkingDirectory", "RootDirectory", "UMask", "Nice", "RuntimeMaxSec", "TimeoutStopSec", "KillSignal"):
        if directive := unit.last(_SECTION, key):
            try:
                _put_one(case, unit, directive)
            except ValueError as error:
                case.leave_out(directive, str(error), off=key.endswith("Directory"))
    for key in (*_LIMITS, "LimitCPU", "LimitNOFILE"):
        if directive := unit.last(_SECTION, key):
            try:
                _put_limit(case, directive)
            except ValueError as error:
                case.leave_out(directive, str(error))


def _put_one(case: Case, unit: Unit, directive: Directive) -> None:
    value = case.expanded(directive.value, unit)
    match directive.key:
        case "WorkingDirectory":
            if value.removeprefix("-") == "~":
                raise ValueError("netd does not look for the home of the user")
            case.put(directive, value.removeprefix("-"), "options", "directory")
        case "RootDirectory":
            case.put(directive, value, "options", "root")
        case "UMask":
            if not re.fullmatch("0?[0-7]{1,3}", value):
                raise ValueError("it is no mask")
            case.put(directive, value[-3:].rjust(3, "0"), "options", "umask")
        case "Nice":
            if not re.fullmatch(r"-?\d{1,2}", value, re.ASCII):
                raise ValueError("it is no priority")
            case.put(directive, int(value), "options", "nice")
        case "RuntimeMaxSec":
            _put_lifetime(case, directive, seconds(value))
        case "TimeoutStopSec":
            _put_timeout(case, directive, seconds(value))
        case "KillSignal":
            name = value.removeprefix("SIG")
            if name not in _SIGNALS:
                raise ValueError("netd ends no program with this signal")
            case.put(directive, name, "options", "stop", "signal")


def _put_lifetime(case: Case, directive: Directive, span: float | None) -> None:
    if not case.accepts:
        raise ValueError("netd ends no program that has the listening socket")
    if span is None:
        case.take(directive)
    else:
        case.put(directive, duration_text(max(span, 0.001)), "limits", "lifetime")


def _put_timeout(case: Case, directive: Directive, span: float | None) -> None:
    if not span:
        raise ValueError("netd waits for a program that it ends, but not for ever")
    case.put(directive, duration_text(span), "options", "stop", "after")


def _put_limit(case: Case, directive: Directive) -> None:
    soft, colon, hard = directive.value.partition(":")
    value = hard if colon else soft
    if colon and soft != hard:
        case.note(directive, "netd has one limit, the hard one", "options", "limits")
    if value == "infinity":
        case.take(directive)
        return
    if directive.key == "LimitCPU":
        span = seconds(value)
        case.put(directive, duration_text(max(1, round(span or 1))), "options", "limits", "cpu")
    elif directive.key == "LimitNOFILE":
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII):
            raise ValueError("it is no number")
        case.put(directive, int(value), "options", "limits", "files")
    else:
        case.put(directive, size_text(octets(value) or 0), "options", "limits", _LIMITS[directive.key])


def _put_privileges(case: Case, unit: Unit, command: list[str]) -> None:
    """NoNewPrivileges=, which is no by default in systemd and true in netd."""
    directive = unit.last(_SECTION, "NoNewPrivileges")
    is_given = False
    if directive:
        try:
            is_given = switch(directive.value)
            case.take(directive)
        except ValueError as error:
            case.note(directive, f"systemd ignores it: {error}")
    if command and not is_given and is_login(command):
        case.service.put(False, "options", "no_new_privileges")
        case.account.note(case.service.place, command[0], "it logs users in, so no_new_privileges is false")
