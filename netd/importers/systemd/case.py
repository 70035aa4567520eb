"""A socket unit on its way to a service of netd: what is told of each assignment, and why the service is off."""

import re
from dataclasses import dataclass, field

from netd.importers.account import Account
from netd.importers.document import Path, Service
from netd.importers.host import Host
from netd.importers.systemd import keys
from netd.importers.systemd.units import Directive, Unit
from netd.importers.systemd.words import UnknownSpecifierError, with_specifiers

_DIRECTORIES = {
    "t": "/run",
    "S": "/var/lib",
    "C": "/var/cache",
    "L": "/var/log",
    "E": "/etc",
    "T": "/tmp",  # noqa: S108  # what systemd calls it
    "V": "/var/tmp",  # noqa: S108
    "h": "/root",
    "u": "root",
    "U": "0",
    "g": "root",
    "G": "0",
}
"""Specifiers of the system manager that mean the same on each host."""


@dataclass
class Case:
    """What there is of a unit so far."""

    socket: Unit
    service: Service
    account: Account
    host: Host
    program: Unit | None = None
    """The unit that is started; None: there is none."""
    accepts: bool = False
    """Accept=yes: systemd accepts, and starts the program for each connection."""
    reasons: list[str] = field(default_factory=list)
    _told: set[Directive] = field(default_factory=set)

    def put(self, directive: Directive, value: object, *path: str) -> None:
        """Set a key to what an assignment says, with its comments above it."""
        self.service.put(value, *path)
        self.take(directive, *path)

    def is_told(self, directive: Directive) -> bool:
        """Whether the account has something of an assignment."""
        return directive in self._told

    def take(self, directive: Directive, *path: str) -> None:
        """Tell that an assignment is imported as a part of the key at this path, or with no key of its own."""
        if directive not in self._told:
            self._comment(directive, path)
            self._told.add(directive)
            self.account.imported(directive.place, subject(directive))

    def note(self, directive: Directive, text: str, *path: str) -> None:
        """Tell what the operator may not have known."""
        self._comment(directive, path)
        self._told.add(directive)
        self.account.note(directive.place, subject(directive), text)

    def leave_out(self, directive: Directive, text: str, *, off: bool = False) -> None:
        """Tell that an assignment is not imported; with ``off``, the service is off for that reason."""
        self._comment(directive, ())
        self._told.add(directive)
        self.account.left_out(directive.place, subject(directive), f"{text}; so the service is off" if off else text)
        if off:
            self.reasons.append(f"{directive.key}=: {text}")

    def off(self, text: str) -> None:
        """Have the service off for a reason that no assignment has."""
        self.account.left_out(self.service.place, self.socket.name, f"{text}; so the service is off")
        self.reasons.append(text)

    def _comment(self, directive: Directive, path: Path) -> None:
        if directive not in self._told:
            self.service.explain(path, list(directive.comments))

    def expanded(self, text: str, unit: Unit) -> str:
        """The text with its specifiers. Raises UnknownSpecifierError for those that only systemd knows."""
        return with_specifiers(text, self._specifiers(unit))

    def _specifiers(self, unit: Unit) -> dict[str, str]:
        name = unit.name.rpartition(".")[0]
        prefix, is_template, instance = name.partition("@")
        found = {**_DIRECTORIES, "p": prefix, "P": unescaped(prefix), "j": prefix.rpartition("-")[2]}
        found["J"] = unescaped(found["j"])
        if not is_template or instance:  # else systemd names each instance by its connection
            found |= {"n": unit.name, "N": name, "i": instance, "I": unescaped(instance)}
        return found

    def tell_rest(self) -> None:
        """Tell of all assignments of which nothing was told, and of lines that systemd ignores."""
        for unit in (self.socket, self.program):
            if unit is None:
                continue
            for line in unit.ignored:
                self.account.note(line.place, line.text, f"systemd ignores it: {line.reason}")
            for directive in unit.directives:
                if directive not in self._told:
                    self._tell_rest_of(unit, directive)
            self.service.comments += unit.comments
        for reason in self.reasons:
            self.service.switch_off(reason)

    def _tell_rest_of(self, unit: Unit, directive: Directive) -> None:
        later = unit.last(directive.section, directive.key)
        if not directive.value:
            return self.take(directive)
        if later is not directive and not _LISTS.fullmatch(directive.key):
            return self.note(directive, f"a later {directive.key}= is in force")
        if directive.key == "Description" and unit is self.socket:
            self.take(directive)
            self.service.comments.append(directive.value)
            return None
        if directive.key == "ConditionPathExists" and self._holds(unit, directive):
            return self.note(directive, "it holds now; netd does not ask again")
        kind, text = keys.meaning(directive.section, directive.key, directive.value)
        if kind == keys.NOTE:
            return self.note(directive, text)
        return self.leave_out(directive, text, off=kind == keys.OFF)

    def _holds(self, unit: Unit, directive: Directive) -> bool:
        try:
            path = self.expanded(directive.value, unit)
        except UnknownSpecifierError:
            return False
        return self.host.exists(path.lstrip("|!")) is not ("!" in path[:2])


_LISTS = re.compile("Exec.*|Condition.*|Assert.*|Listen.*|IPAddress.*|After|Before|Wants|Requires|Conflicts|WantedBy")


def subject(directive: Directive) -> str:
    """The assignment as the account has it."""
    return f"{directive.key}={directive.value}"


def unescaped(text: str) -> str:
    """A name as systemd-escape(1) --unescape has it."""
    text = text.replace("-", "/")
    return re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), text)
