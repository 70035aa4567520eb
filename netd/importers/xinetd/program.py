"""A service with `server` as one of the type `exec`."""

import os
import re
from collections.abc import Callable
from typing import Any

from netd.importers.programs import is_login
from netd.importers.xinetd import values
from netd.importers.xinetd.case import Case
from netd.text import printable
from netd.values import size_text

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,127}")
_OF_THE_SERVICE_MANAGER = re.compile("NOTIFY_SOCKET|LISTEN_.*|WATCHDOG_.*|CREDENTIALS_DIRECTORY")
_MOST_ARGUMENTS = 256
_LONGEST_TEXT = 4096
_ENVIRONMENT = (
    "programs get the environment of their user, and not that of the daemon, of which xinetd passes all without passenv"
)


def convert(case: Case) -> None:
    """Set `type` and `options`."""
    case.service.put("exec", "type")
    command = _command(case)
    if command is None:
        return
    listens = _listens(case)
    if listens:
        case.service.put("listener", "options", "mode")
    _identity(case)
    if is_login(command):
        case.service.put(False, "options", "no_new_privileges")
        text = (
            "it logs users in, so no_new_privileges is false: set-user-ID programs such as su(1) work in its sessions"
        )
        case.note("server", text)
    numbers(case)
    _environment(case)
    if not listens:
        case.service.put("peer", "options", "stderr")
    _limits(case)


def _listens(case: Case) -> bool:
    """Whether the program gets the listening socket, and what follows from that for its peers."""
    waits = case.settings.one("wait") == "yes"
    streams = bool(case.service.tcpmux_name) or any(one.streams for one in case.service.endpoints)
    if not waits and not streams:
        case.broken("wait", "datagrams take wait = yes")
    if not waits and streams:
        return False
    if case.service.get("access", "times"):
        del case.service.tree["access"]["times"]
        if not case.service.tree["access"]:
            del case.service.tree["access"]
        case.leave_out("access_times", "the program accepts by itself, so netd cannot hold them", off=True)
    if streams and "only_from" in case.settings.values and not case.is_fork:
        case.broken("only_from", "this xinetd refuses every peer of a stream with wait = yes")
    elif case.service.get("access"):
        name = "only_from" if "only_from" in case.settings.values else "no_access"
        case.note(name, "netd has the kernel drop what other peers send, where xinetd looks at the first peer alone")
    return True


def _command(case: Case) -> list[str] | None:
    server = case.settings.one("server")
    if server is None:
        case.drop("it has no server")
        return None
    if not server.startswith("/"):
        case.drop("its server is no absolute path")
        return None
    words = case.settings.words("server_args") or []
    texts = [server, *words]
    if any(not _is_text(text) for text in texts) or len(texts) > _MOST_ARGUMENTS:
        case.drop(f"netd takes commands of at most {_MOST_ARGUMENTS} words in UTF-8, each of {_LONGEST_TEXT} octets")
        return None
    if not case.host.is_program(server):
        case.bad("server", f"{printable(server)} is not there, or not executable")
    name = os.path.basename(server)
    if "NAMEINARGS" in case.flags():
        name, words = _named_in_arguments(case, name, words)
    command = [server, *words]
    case.service.put(command, "options", "command")
    if name != os.path.basename(server):
        case.service.put(name, "options", "argv0")
    return command


def _named_in_arguments(case: Case, file: str, words: list[str]) -> tuple[str, list[str]]:
    """The name of the program, which is the first of the words, and the arguments; ``file`` where that is not so."""
    if not words:
        case.broken("flags", "NAMEINARGS needs server_args")
        return file, []
    order = case.settings.order
    if "server_args" in order and order.index("flags") > order.index("server_args"):
        text = "NAMEINARGS stands behind server_args: xinetd started the program without a name, and with all the words"
        case.leave_out("flags", text, off=True)
        return file, words
    return words[0], words[1:]


def _is_text(text: str) -> bool:
    try:
        return len(text.encode()) <= _LONGEST_TEXT
    except UnicodeEncodeError:  # octets that are no UTF-8
        return False


def _identity(case: Case) -> None:
    """`user`, `group` and `groups`: xinetd gives no supplementary groups unless it is told to."""
    user = case.settings.one("user")
    group = case.settings.one("group")
    if user is None:
        case.broken("", "user is missing")
    elif user.isdigit():
        case.service.put(user, "options", "user")
        if group is None:
            case.service.put(user, "options", "group")
            case.note("user", f"xinetd looks no number up, so the group is {user} too")
    else:
        case.service.put(user, "options", "user")
        if not case.host.has_user(user):
            case.bad("user", f"there is no user {printable(user)}")
    if group is not None:
        case.service.put(group, "options", "group")
        if not group.isdigit() and not case.host.has_group(group):
            case.bad("group", f"there is no group {printable(group)}")
    for name, text in (("user", user), ("group", group)):
        if text is not None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}\$?", text):
            case.drop(f"netd takes no {name} of the name {printable(text)}")
    groups = yes_or_no(case, "groups")
    if not groups:
        case.service.put(False, "options", "groups")


def yes_or_no(case: Case, name: str) -> bool | None:
    """The value of an attribute that is yes or no. None: it is not set, or is neither, which is told."""
    text = case.settings.one(name)
    if text is None:
        return None
    value = values.yes_or_no(text)
    if value is None:
        case.bad(name, f"{printable(text)} is neither yes nor no")
    return value


def numbers(case: Case) -> None:
    """`umask` and `nice`."""
    text = case.settings.one("umask")
    if text is not None:
        mask = values.number(text, 8)
        if mask is None:
            case.bad("umask", f"{printable(text)} is no mask in octal up to 0777")
        else:
            case.service.put(f"{mask:03o}", "options", "umask")
    text = case.settings.one("nice")
    if text is not None:
        nice = values.integer(text)
        if nice is None:
            case.bad("nice", f"{printable(text)} is no number")
        else:
            bounded = max(-20, min(19, nice))
            if bounded != nice:
                case.note("nice", f"the kernel takes {bounded} for {nice}")
            if bounded:
                case.service.put(bounded, "options", "nice")


def _environment(case: Case) -> None:
    variables: dict[str, str] = {}
    for line in case.settings.values["env"].lines if "env" in case.settings.values else ():
        if line.operator == "-=":
            case.bad("env", "it has no -=")
    for word in case.settings.words("env") or ():
        name, equals, value = word.partition("=")
        if not equals:
            case.bad("env", f"{printable(word)} is no NAME=VALUE")
        elif not _VARIABLE.fullmatch(name) or not _is_text(value):
            case.leave_out("env", f"netd takes no variable {printable(name)}", off=True)
        else:
            variables[name] = value
    if variables:
        case.service.put(variables, "options", "environment")
    passed = case.settings.words("passenv")
    if passed is None:
        case.teller.tell_once(case.settings.entry, _ENVIRONMENT)
        return
    names = []
    for name in dict.fromkeys(passed):
        if not _VARIABLE.fullmatch(name) or _OF_THE_SERVICE_MANAGER.fullmatch(name):
            case.leave_out("passenv", f"netd does not pass {printable(name)} on")
        else:
            names.append(name)
    if names:
        case.service.put(names, "options", "pass_environment")


def _limits(case: Case) -> None:
    """The `rlimit_` attributes."""
    found: dict[str, Any] = {}
    parsers: dict[str, tuple[str, int, Callable[[int], object]]] = {
        "rlimit_as": ("memory", 2**20, size_text),
        "rlimit_cpu": ("cpu", 1, lambda seconds: f"{seconds}s"),
        "rlimit_files": ("files", 8, lambda number: number),
        "rlimit_stack": ("stack", 2**16, size_text),
    }
    for name, (key, least, write) in parsers.items():
        text = case.settings.one(name)
        if text is None:
            continue
        if name == "rlimit_files" and not case.is_fork:
            case.note(name, "had no effect: this xinetd does not know it")
            continue
        number = values.count(text) if name == "rlimit_cpu" else values.size(text)
        if number is None:
            case.bad(name, f"{printable(text)} is no limit: a number, with k or m for octets, or UNLIMITED")
        elif number == values.UNLIMITED:
            case.note(name, "netd lifts no limit: the program has that of netd")
        elif number < least:
            case.leave_out(name, f"netd takes {least} and more", off=True)
        else:
            found[key] = write(number)
    if case.settings.one("rlimit_rss") is not None:
        case.note("rlimit_rss", "Linux ignores it (RLIMIT_RSS, getrlimit(2)), and so does the program")
    if (text := case.settings.one("rlimit_data")) is not None:
        number = values.size(text)
        if number is None:
            case.bad("rlimit_data", f"{printable(text)} is no limit: a number, with k or m, or UNLIMITED")
        elif number == values.UNLIMITED:
            case.note("rlimit_data", "netd lifts no limit: the program has that of netd")
        else:
            hint = "options.limits.memory bounds the address space, of which the data is a part"
            case.leave_out("rlimit_data", f"netd does not limit the data alone; {hint}")
    if found:
        case.service.put(found, "options", "limits")
