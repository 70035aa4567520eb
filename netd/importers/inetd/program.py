"""The program of a line of inetd.conf as the options of an exec service, and why it may not be on."""

import os
import re
from dataclasses import dataclass, field

from netd.importers.document import Service
from netd.importers.host import Host
from netd.importers.hosts_access import NoAddressesError, access
from netd.importers.inetd.dialects import Dialect
from netd.importers.inetd.entries import Entry, UnusableLineError
from netd.importers.programs import is_login
from netd.text import shown

_WRAPPER = "tcpd"
_PLACE_OF_WRAPPED = "/usr/sbin"  # REAL_DAEMON_DIR of Debian's tcpd(8)
_INTERPRETER = re.compile(r"(?:python|perl|ruby|php|node|lua|tclsh|(?:ba|da|z|k|a)?sh)[\d.]*")


@dataclass(slots=True)
class Told:
    """What there is to say of a line."""

    notes: list[str] = field(default_factory=list)
    """The meaning is kept, and may surprise."""
    reasons: list[str] = field(default_factory=list)
    """Why the service is off."""


def put_program(service: Service, entry: Entry, dialect: Dialect, host: Host, told: Told) -> None:
    """Set the options of the service. Raises UnusableLineError."""
    command, argv0 = _command(entry, dialect, host, told)
    if dialect.most_words and len(entry.arguments) > dialect.most_words:
        told.reasons.append(f"{dialect.program} passes {dialect.most_words} words on, and the line has more")
    put = service.put
    put([*command], "options", "command")
    put(entry.user, "options", "user")
    if entry.group:
        put(entry.group, "options", "group")
    if entry.waits or entry.datagrams:
        put("listener", "options", "mode")
    else:
        put("peer", "options", "stderr")  # descriptor 2 is the connection too
    if is_login([*command] if argv0 is None else [command[0], argv0]) or is_login(command):
        put(False, "options", "no_new_privileges")
        told.notes.append("it logs users in, so no_new_privileges is false")
    if argv0 is not None:
        put(argv0, "options", "argv0")
    _look_up(entry, command[0], host, told)


def _command(entry: Entry, dialect: Dialect, host: Host, told: Told) -> tuple[list[str], str | None]:
    """The program with its arguments, and its name where that is not the end of its path."""
    program, arguments = entry.program, list(entry.arguments)
    if os.path.basename(program) == _WRAPPER and arguments:
        wrapped, *rest = arguments
        path = wrapped if wrapped.startswith("/") else f"{_PLACE_OF_WRAPPED}/{wrapped}"
        if rest[:1] == [os.path.basename(path)]:
            told.notes.append(f"the program gets its own name, {shown(rest[0])}, as its first argument, as it did")
        told.notes.append("tcpd is left out; the rules that it has for the program are in `access`")
        return [path, *rest], None
    if dialect.reads_path and "/" not in program and program:
        program = host.find_program(program) or program
    if not program.startswith("/"):
        raise UnusableLineError(f"netd starts programs by absolute paths, and {shown(program)} is none")
    name = os.path.basename(program)
    if not arguments:
        _note_no_name(dialect, name, told)
        return [program], None
    argv0, *rest = arguments
    if _is_argument(program, argv0, rest):
        told.reasons.append(
            f"{shown(argv0)} stands where the name of the program does, so inetd runs [{', '.join([program, *rest])}]; "
            f"meant may be [{', '.join([program, argv0, *rest])}]"
        )
        return [program, argv0, *rest], None
    if rest[:1] == [name] and argv0 in (name, program):
        told.notes.append(f"the program gets its own name, {shown(name)}, as its first argument, as it did")
    if os.path.basename(program) == "tcp-env":
        told.notes.append("netd sets the variables of tcp-env too (TCPREMOTEIP and others)")
    return [program, *rest], None if argv0 in (name, program) else argv0


def _note_no_name(dialect: Dialect, name: str, told: Told) -> None:
    match dialect.argv0:
        case "path":
            told.notes.append(f"the line has no name for the program; it is {shown(name)}, and was the whole path")
        case "basename":
            told.notes.append(f"the line has no name for the program; it is {shown(name)}")
        case "none":
            told.notes.append(f"the line has no name for the program, which ran without one; it is {shown(name)}")


def _is_argument(program: str, argv0: str, rest: list[str]) -> bool:
    """Whether what stands as the name of a program can only be meant as its first argument."""
    name = os.path.basename(program)
    if argv0.startswith("-"):
        return argv0[1:] != name  # a login shell has a minus before its name
    if "/" in argv0:
        return os.path.basename(argv0) != name
    if any(word.startswith(("/", "-")) for word in rest):
        return False  # an interpreter has its script, or an option
    return bool(_INTERPRETER.fullmatch(name)) and not _INTERPRETER.fullmatch(argv0)


def put_wrapper_rules(service: Service, name: str, allow: str, deny: str, told: Told) -> None:
    """Set `access` as hosts.allow and hosts.deny, of these texts, have it for a program."""
    try:
        rules = access(allow, deny, name)
    except NoAddressesError as error:
        told.reasons.append(f"tcpd decided about peers by more than addresses: {shown(str(error))}")
        return
    if rules and any(endpoint.path for endpoint in service.endpoints):
        told.reasons.append("tcpd has rules for its peers, and those of UNIX sockets have no addresses")
        return
    for key, networks in rules.items():
        service.put(networks, "access", key)


def wrapped_name(entry: Entry) -> str:
    """The name by which tcpd looks for rules; empty: the line has no tcpd."""
    is_wrapped = os.path.basename(entry.program) == _WRAPPER and entry.arguments
    return os.path.basename(entry.arguments[0]) if is_wrapped else ""


def _look_up(entry: Entry, program: str, host: Host, told: Told) -> None:
    """What this host has not, so that inetd did not run it."""
    if not host.has_user(entry.user):
        told.reasons.append(f"this host has no user {shown(entry.user)}, so inetd starts nothing")
    if entry.group and not host.has_group(entry.group):
        told.reasons.append(f"this host has no group {shown(entry.group)}, so inetd starts nothing")
    if not host.is_program(program):
        told.reasons.append(f"this host has no program {shown(program)}")
