"""From the files of an inetd to services of netd."""

import os
import re

from netd.errors import ConfigError
from netd.importers import validity
from netd.importers.account import Account, Place
from netd.importers.document import Document, Service
from netd.importers.host import Host
from netd.importers.inetd import entries, include, lines
from netd.importers.inetd.dialects import DIALECTS, Dialect
from netd.importers.inetd.entries import Entry, UnusableLineError
from netd.importers.inetd.lines import Line
from netd.importers.inetd.listen import urls
from netd.importers.inetd.program import Told, put_program, put_wrapper_rules, wrapped_name
from netd.importers.source_files import DeniedError, Files, TooMuchError, UnreadableError
from netd.text import printable

_CTIME = "%c"  # in the C locale
_MULTI_CALL = ("busybox", "toybox")
_WRAPPER_FILES = ("/etc/hosts.allow", "/etc/hosts.deny")


def convert(files: list[str], account: Account, host: Host, dialect: str | None = None) -> Document:
    """The services of inetd.conf files, read by the inetd of a dialect; None: that of this host.

    Without files, those that this inetd reads by itself. Raises ConfigError if a file cannot be read.
    """
    chosen = dialect or guessed(host)
    files = files or default_files(chosen)
    found = _Import(account, host, DIALECTS[chosen], Files())
    program = DIALECTS[chosen].program
    found.document.heading.append(f"Imported from {', '.join(files)}, as {program} reads it.")
    if not dialect:
        account.note(Place(files[0]), f"--from {chosen}", f"read as {program} reads it, the inetd of this system")
    for file in files:
        try:
            found.read(file)
        except UnreadableError as error:
            raise ConfigError([f"{printable(file)}: {error}"]) from None
    found.listen_for_tcpmux()
    return found.document


def guessed(host: Host) -> str:
    """The dialect of the inetd that this host has."""
    for program, dialect in (("/usr/sbin/inetutils-inetd", "inetutils"), ("/usr/libexec/inetutils-inetd", "inetutils")):
        if host.is_program(program):
            return dialect
    names = host.distribution()
    if names & {"alpine", "openwrt"}:
        return "busybox"
    if names & {"rhel", "fedora", "centos"}:
        return "rhel"
    if names & {"suse", "opensuse", "sles"}:
        return "suse"
    version = re.search(r'(?m)^VERSION_ID="?(\d{1,4})', host.text("/etc/os-release"))
    first = 23 if "ubuntu" in names else 12  # that has openbsd-inetd 0.20221205
    return "openbsd" if version and int(version[1]) < first else "debian"


class _Import:
    """The services found so far, and what holds for the lines to come."""

    def __init__(self, account: Account, host: Host, dialect: Dialect, files: Files) -> None:
        self.document = Document()
        self.dialect = dialect
        self._account = account
        self._host = host
        self._files = files
        self._open: list[str] = []
        """The paths of the file that is read, and of those that include it, without symbolic links."""
        self._hosts: tuple[str, ...] = ("*",)
        self._comments: list[str] = []
        """Those above lines that are no services, for the next service."""
        self._is_noted = False
        self._keys: dict[tuple[str, ...], Service] = {}

    def read(self, file: str) -> None:
        """Add the services of a file. Raises `UnreadableError`."""
        self._hosts = ("*",)
        self._read_file(file, "")
        self.document.closing += self._comments
        self._comments = []

    def _read_file(self, file: str, policy: str) -> None:
        found = self._files.read(file)
        self._open.append(os.path.realpath(file))
        for line in lines.read(found, self.dialect, policy):
            self._comments += line.comments
            if line.kind != "comments":
                self._read_line(line)
        self._open.pop()

    def _include(self, line: Line, subject: str) -> None:
        """Add the services of the files that a line names, with the default hosts and the policy that hold there."""
        if len(line.words) < 2:
            raise UnusableLineError("it names no file")
        try:
            files = include.matched(line.words[1], line.place.file)
        except ValueError as error:
            raise UnusableLineError(str(error)) from None
        told = [] if files else ["no file matches"]
        hosts = self._hosts
        for file in files:
            if os.path.realpath(file) in self._open or len(self._open) >= include.MOST_DEEP:
                told.append(f"{file} includes itself; inetd goes on without it")
                continue
            try:
                self._read_file(file, line.policy)
            except (DeniedError, TooMuchError) as error:
                raise UnusableLineError(f"{file}: {error}") from None
            except UnreadableError as error:
                told.append(f"{file} cannot be read ({error}); inetd goes on without it")
            self._hosts = hosts
        for text in told:
            self._account.note(line.place, subject, text)
        if not told:
            self._account.imported(line.place, subject)

    def listen_for_tcpmux(self) -> None:
        """Have tcpmux listen where inetd does so without a line for it."""
        services = self.document.services.values()
        named = [one for one in services if one.enabled and one.tcpmux_name]
        if not named or self.dialect.has_tcpmux != "always" or any(one.get("type") == "tcpmux" for one in services):
            return
        made = Service("tcpmux", named[0].place, ["inetd listens for tcpmux where a line names a service of it."])
        made.put([f"tcp://0.0.0.0:{self._host.port('tcpmux', 'tcp') or 1}"], "listen")
        if self.document.conflict(made):
            return
        self.document.add(made)
        self._account.note(made.place, "tcpmux", f"{self.dialect.program} listens for it, so netd does")

    def _read_line(self, line: Line) -> None:
        subject = " ".join(line.words) or line.text
        try:
            if line.kind == "policy":
                self._tell_policy(line)
            elif line.kind == "cut":
                raise UnusableLineError(f"{self.dialect.program} cuts it after {self.dialect.longest_line} octets")
            elif line.kind == "refused":
                raise UnusableLineError(line.reason)
            elif (hosts := entries.default_hosts(line, self.dialect)) is not None:
                self._hosts = hosts
                self._account.imported(line.place, subject)
            elif line.words[0] == ".include" and self.dialect is DIALECTS["netbsd"]:
                self._include(line, subject)
            else:
                self._add(line, entries.read(line, self.dialect, self._hosts), subject)
        except UnusableLineError as error:
            self._account.left_out(line.place, subject, str(error))
            self._comments.append(f"not imported: {subject}")

    def _tell_policy(self, line: Line) -> None:
        if line.policy:
            text = "netd has no policies of IPsec; the services below are off"
            self._account.left_out(line.place, line.text, text)
        else:
            self._account.imported(line.place, line.text)

    def _add(self, line: Line, entry: Entry, subject: str) -> None:
        service = Service(self._name(entry), line.place)
        told = Told(notes=list(entry.notes))
        if entry.tcpmux:
            is_plain = entry.tcpmux == "plain"
            service.put({"name": entry.service, "plain": True} if is_plain else entry.service, "tcpmux")
        else:
            service.put(urls(entry, self.dialect, self._host), "listen")
        if entry.is_internal:
            self._put_internal(service, entry)
        else:
            service.put("exec", "type")
            self._put_program(service, entry, told)
        _put_limits(service, entry, told)
        if fault := validity.fault(service):
            raise UnusableLineError(f"netd cannot have it: {fault}")
        if line.policy:
            told.reasons.append("it has a policy of IPsec")
        if not self._merge(service, line, told):
            self._switch(service, line, entry, told)
            service.comments += self._comments
            self._comments = []
            if note := self.document.add(service):
                told.notes.append(note)
        self._note_starts(line, entry)
        for note in told.notes:
            self._account.note(line.place, subject, note)
        for reason in told.reasons:
            self._account.left_out(line.place, subject, f"{reason}; so the service is off")
        if not told.notes and not told.reasons:
            self._account.imported(line.place, subject)

    def _note_starts(self, line: Line, entry: Entry) -> None:
        """Tell once of a file what inetd does to services that are started often."""
        if self.dialect.starts and not (entry.waits or entry.is_internal or entry.starts or self._is_noted):
            self._is_noted = True
            text = f"without a limit, {self.dialect.program} {self.dialect.starts}; netd does not"
            self._account.note(Place(line.place.file), "nowait", text)

    def _name(self, entry: Entry) -> str:
        if entry.transport == "unix":
            return os.path.basename(entry.service).partition(".")[0] or "unix"
        if not entry.service.isdigit():
            return entry.service
        words = [os.path.basename(word) for word in (entry.program, *entry.arguments)]
        if words[0] in (*_MULTI_CALL, "tcpd"):
            words = [word for word in words if word not in (*_MULTI_CALL, "tcpd")] or words
        return words[0]

    def _put_internal(self, service: Service, entry: Entry) -> None:
        if service.name != entry.service:
            service.put(entry.service, "type")
        match entry.service:
            case "time":
                service.put("rfc868", "options", "encoding")
            case "daytime":  # as ctime(3), in the zone of the host
                service.put(self._host.zone(), "options", "timezone")
                service.put(_CTIME, "options", "format")

    def _put_program(self, service: Service, entry: Entry, told: Told) -> None:
        if entry.datagrams and not entry.waits:
            if self.dialect.connects_datagrams:
                raise UnusableLineError("netd gives no program a datagram socket that is connected to the peer")
            told.notes.append("inetd starts a program for each datagram; netd waits until the one before has ended")
        put_program(service, entry, self.dialect, self._host, told)
        if name := wrapped_name(entry):
            allow, deny = (self._host.text(file) for file in _WRAPPER_FILES)
            put_wrapper_rules(service, name, allow, deny, told)

    def _switch(self, service: Service, line: Line, entry: Entry, told: Told) -> None:
        """Have the service off where it was, or where it could be more than it was."""
        if line.is_off:
            told.notes.append("it is switched off in the file, so it is off")
            service.switch_off()
        for reason in told.reasons:
            service.switch_off(reason)
        if not service.enabled:
            return
        key = (entry.service, entry.tcpmux, str(entry.datagrams), str(entry.families), *entry.hosts)
        if other := self.document.conflict(service):
            if self._keys.get(key) is other:
                reason = f"line {line.place.line} has the same address, and inetd uses the later line"
                other.switch_off(reason)
                other.tree = {key: other.tree[key] for key in ("type", "enabled") if key in other.tree} | other.tree
                self._account.left_out(other.place, other.name, f"{reason}; so the service is off")
            else:
                told.reasons.append(f"{other.name} has an address of it already, so inetd cannot listen there")
                service.switch_off(told.reasons[-1])
        self._keys[key] = service

    def _merge(self, service: Service, line: Line, told: Told) -> bool:
        """Whether an earlier service of this name is the same on another address, and serves this one from now on."""
        other = self.document.services.get(service.name)
        if other is None or not other.enabled or told.reasons or line.is_off or "limits" in service.tree:
            return False
        if "tcpmux" in {*service.tree, *other.tree}:
            return False
        mine, theirs = ({key: one.tree[key] for key in one.tree if key != "listen"} for one in (service, other))
        if mine != theirs or self.document.conflict(service):
            return False
        self.document.extend(other, service.get("listen"))
        other.comments += self._comments
        self._comments = []
        return True


def _put_limits(service: Service, entry: Entry, told: Told) -> None:
    """Numbers of starts and connections."""
    limited = {
        ("total_rate",): f"{entry.starts}/m" if entry.starts else None,
        ("connections",): entry.at_once,
        ("rate",): f"{entry.of_one_address}/m" if entry.of_one_address else None,
        ("per_source",): entry.at_once_of_one_address,
    }
    given = {key: value for (key,), value in limited.items() if value is not None}
    if not given or (entry.waits and entry.at_once == 1 and len(given) == 1):
        return
    if entry.waits or entry.datagrams:
        told.notes.append("its limits are not imported: netd pauses where a program that has the socket ends at once")
        return
    for key, value in given.items():
        service.put(value, "limits", key)
    if entry.starts:
        told.notes.append("over its limit inetd switches the service off for a while; netd refuses what is too much")
    if "rate" in given or "per_source" in given:
        told.notes.append("netd counts an IPv6 /64 as one address")


def default_files(dialect: str) -> list[str]:
    """The files that inetd reads without arguments."""
    files = ["/etc/inetd.conf"]
    if dialect == "inetutils" and os.path.isdir("/etc/inetd.d"):
        names = sorted(name for name in os.listdir("/etc/inetd.d") if re.fullmatch(r"[^.].*", name))
        files += [f"/etc/inetd.d/{name}" for name in names]
    return files
