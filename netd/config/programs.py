"""What is checked of a service that starts programs: what this host has, which rights it takes, and what cannot hold.

netd does not see what a program does with a connection that it has. So a limit that netd could not enforce is refused.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from netd import accounts
from netd.admission.access import AccessRules
from netd.admission.access_table import Access, compile_rules
from netd.admission.address_filter import MOST_INSTRUCTIONS, compile_filter
from netd.admission.bans import exemption
from netd.config.drop_ins import PROGRAMS, missing, option_beyond_the_unit
from netd.config.executables import User, command_faults, directory_fault
from netd.config.model import DaemonSection, ServiceSection
from netd.config.problems import Finding
from netd.endpoints import Endpoint
from netd.services.exec.options import ProgramOptions
from netd.services.service_type import ServiceType
from netd.transport import socket_filter
from netd.transport.advice import PROGRAMS_DROP_IN
from netd.values import Model

_DEFAULT_USER = "nobody"
_MOST_RULES = 4 * MOST_INSTRUCTIONS  # a bound on the time that the compilation takes
_AS_ROOT = f"leave it out, or start netd as root; {PROGRAMS_DROP_IN}"
_NOT_SEEN = ("idle", "bytes")
_NOT_OF_A_LISTENER = ("connections", "per_source", "rate", "total_rate", "idle", "lifetime", "bytes")


@dataclass(frozen=True)
class Service:
    """A service that starts programs, as the file has it."""

    kind: ServiceType
    options: ProgramOptions
    section: ServiceSection
    access: AccessRules
    """Its rules, merged with the defaults."""
    listen: tuple[Endpoint, ...]
    daemon: DaemonSection


def findings(service: Service) -> Iterator[Finding]:
    """The problems and notices of a service, if this process would start netd with it.

    What this host does not have for a disabled service is a notice only, and there is none about risks.
    """
    options = service.options
    if getattr(options, "mode", None) == "listener":
        yield from _of_listener(service)
    elif service.kind.serving == "program":
        yield from _of_connections(service)
    for finding in _of_host(service):
        if service.section.enabled:
            yield finding
        elif not finding.is_notice:
            yield finding._replace(is_notice=True)


def _of_connections(service: Service) -> Iterator[Finding]:
    """What cannot hold where a program has the connection."""
    options = service.options
    for number, endpoint in enumerate(service.listen):
        if endpoint.transport in ("udp", "unixgram"):
            message = "datagrams have no connections: a program gets them with the option mode: listener only"
            yield Finding(("listen", number), message)
    if not getattr(options, "relay", False):
        for key in _given_limits(service.section, _NOT_SEEN):
            message = "netd does not see what passes over a connection that a program has"
            yield Finding(("limits", key), message, "set the option relay: true, or leave it out")


def _of_listener(service: Service) -> Iterator[Finding]:
    """What cannot hold where a program has the listening socket."""
    section, options, access = service.section, service.options, service.access
    accepts = "with mode: listener the program accepts, so netd cannot hold this"
    for key in _given_limits(section, _NOT_OF_A_LISTENER):
        yield Finding(("limits", key), accepts, "leave it out, or set mode: connection")
    for key in ("refuse", "amplify", "reply_guard"):
        if key in section.model_fields_set and getattr(section, key) not in ("close", (), False):
            yield Finding((key,), accepts, "leave it out, or set mode: connection")
    for key in ("relay", "wait_for_data"):
        if getattr(options, key, None):
            yield Finding(("options", key), "is for mode: connection only")
    if getattr(options, "stderr", None) == "peer":
        yield Finding(("options", "stderr"), "a listening socket has no peer", "set it to log or null")
    if section.load:
        yield Finding(("load",), accepts, "leave it out, or set mode: connection")
    if access.times:
        yield Finding(("access", "times"), accepts, "set access.times: [], or mode: connection")
    yield from _of_filter(access, service.listen, f"{accepts}: a socket filter sees addresses only")


def _of_filter(access: AccessRules, listen: tuple[Endpoint, ...], addresses_only: str) -> Iterator[Finding]:
    """What a socket filter cannot do of access rules: it stands in for the admission that a program does not have."""
    if not access.allow and not access.deny:
        return
    for key in ("allow", "deny"):
        for number, entry in enumerate(getattr(access, key)):
            if entry.kind:
                yield Finding(("access", key, number), f"{addresses_only}, and {entry.text} is an account")
    for number, endpoint in enumerate(listen):
        if endpoint.transport in ("unix", "unixgram"):
            message = f"{addresses_only}, and peers over UNIX have none"
            yield Finding(("listen", number), message, "use the mode= and group= of the socket in place of access")
        elif endpoint.transport == "tcp" and not socket_filter.may_attach_to_tcp():
            message = "access rules take the right CAP_NET_ADMIN where a program has the TCP socket"
            yield Finding(("listen", number), message, "start netd with it, or leave the rules out")
    rules = len(access.allow) + len(access.deny)
    try:
        if rules > _MOST_RULES:
            raise ValueError(f"{rules} rules are more than a socket filter takes")
        compile_filter(Access(compile_rules(access)), (), exemption(()))
    except ValueError as error:
        yield Finding(("access",), str(error))


def not_held(options: Model) -> tuple[str, ...]:
    """The limits that netd cannot hold with these options, since a program has the connections, or the socket."""
    if not isinstance(options, ProgramOptions):
        return ()
    if getattr(options, "mode", None) == "listener":
        return _NOT_OF_A_LISTENER
    return () if getattr(options, "relay", True) else _NOT_SEEN


def _given_limits(section: ServiceSection, keys: tuple[str, ...]) -> Iterator[str]:
    """Those of the limits that the service itself sets, and does not lift."""
    for key in keys:
        if key in section.limits.model_fields_set and getattr(section.limits, key) is not None:
            yield key


def _of_host(service: Service) -> Iterator[Finding]:
    """What this host, or the rights of this process, do not permit, and what is a risk."""
    options = service.options
    refused = [*_accounts(options), *_privileges(options)]
    yield from refused
    root = options.root or "/"
    if options.root and (fault := directory_fault("/", options.root)):
        yield Finding(("options", "root"), fault)
        return
    if fault := directory_fault(root, options.directory):
        yield Finding(("options", "directory"), fault)
    if refused:
        return
    uid, groups = _identity(options)
    if os.geteuid() == 0 and (key := option_beyond_the_unit(options)) and (needed := missing(PROGRAMS)):
        yield Finding(("options", key), needed, is_notice=True)
    for file_fault in command_faults(root, options.command[0], User(uid, groups), guarded=os.geteuid() == 0):
        yield Finding(("options", "command", 0), *file_fault)
    yield from _shared_user(uid, options, service.daemon)


def _accounts(options: ProgramOptions) -> Iterator[Finding]:
    """Users and groups that this host does not have."""
    named: list[tuple[tuple[str | int, ...], str, str | None]] = [
        (("user",), "uid", options.user or (_DEFAULT_USER if os.geteuid() == 0 else None)),
        (("group",), "gid", options.group),
    ]
    if not isinstance(options.groups, bool):
        named += [(("groups", number), "gid", name) for number, name in enumerate(options.groups)]
    for where, kind, name in named:
        try:
            if name is not None:
                accounts.find_user(name) if kind == "uid" else accounts.find_id(kind, name)
        except ValueError as error:
            yield Finding(("options", *where), str(error))


def _privileges(options: ProgramOptions) -> Iterator[Finding]:
    """What this process may not do for a program: what only root may, and what it was started without."""
    if not options.no_new_privileges and _has_no_new_privileges():
        message = "it cannot be false: netd itself was started without (PR_SET_NO_NEW_PRIVS, prctl(2)), for good"
        yield Finding(("options", "no_new_privileges"), message, f"leave it out; {PROGRAMS_DROP_IN}")
    if options.nice and not _may_change_priority():
        message = "this process may not change priorities: a filter of system calls forbids setpriority(2)"
        yield Finding(("options", "nice"), message, f"leave it out; {PROGRAMS_DROP_IN}")
        return
    if os.geteuid() == 0:
        return
    needs = {
        "user": options.user and _number("uid", options.user) != os.geteuid() and f"become '{options.user}'",
        "group": options.group
        and _number("gid", options.group) != os.getegid()
        and f"change to the group '{options.group}'",
        "groups": options.groups is not True and "change the groups of a process",
        "root": options.root and f"chroot to {options.root}",
        "nice": options.nice < 0 and f"start a program with the priority {options.nice}",
    }
    for key, need in needs.items():
        if need:
            yield Finding(("options", key), f"only root may {need}", _AS_ROOT)


def _has_no_new_privileges() -> bool:
    with open("/proc/self/status") as lines:
        return any(line.split() == ["NoNewPrivs:", "1"] for line in lines)


def _may_change_priority() -> bool:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    except PermissionError:
        return False
    return True


def _number(kind: str, name: str) -> int | None:
    try:
        return accounts.find_id(kind, name)
    except ValueError:
        return None


def _identity(options: ProgramOptions) -> tuple[int, frozenset[int]]:
    """The user that the program runs as, and all of its groups."""
    if os.geteuid() != 0:
        return os.geteuid(), frozenset((os.getegid(), *os.getgroups()))
    account = accounts.find_user(options.user or _DEFAULT_USER)
    group = accounts.find_id("gid", options.group) if options.group else account.pw_gid
    if options.groups is True:
        return account.pw_uid, frozenset(os.getgrouplist(account.pw_name, group))
    return account.pw_uid, frozenset((group, *(accounts.find_id("gid", name) for name in options.groups or ())))


def _shared_user(uid: int, options: ProgramOptions, daemon: DaemonSection) -> Iterator[Finding]:
    """The notice that a program may signal processes of netd, since it has their user. Root may signal all anyway."""
    if uid == 0:
        return
    if uid == os.geteuid():
        message = "the program runs as the user of netd, so it can signal the processes of netd"
        yield Finding(("options",), message, "start netd as root, so that programs run as another user", is_notice=True)
    elif uid == _uid_of_workers(daemon):
        message = f"the program runs as {accounts.user_name(uid)}, as the workers do, so it can signal them"
        yield Finding(("options",), message, "set daemon.user or the option user", is_notice=True)


def _uid_of_workers(daemon: DaemonSection) -> int | None:
    """The user of the workers of a netd that root starts (`netd.config.workers.resolve`)."""
    if daemon.user is not None:
        return _number("uid", daemon.user)
    own = _number("uid", "netd")
    return _number("uid", _DEFAULT_USER) if own is None else own
