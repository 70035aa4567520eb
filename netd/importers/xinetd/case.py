"""A service on its way from settings of xinetd to one of netd: what is told, and why it is off."""

from dataclasses import dataclass, field

from netd.importers.account import Outcome, Place
from netd.importers.document import Service
from netd.importers.host import Host
from netd.importers.xinetd.settings import Setting, Settings
from netd.importers.xinetd.telling import Teller


@dataclass
class Case:
    """One service: what xinetd has in force, what it becomes, and the reasons to have it off."""

    settings: Settings
    service: Service
    host: Host
    dialect: str
    """``debian``, ``suse`` or ``rhel``."""
    teller: Teller
    bad_values: list[tuple[Place, str]] = field(default_factory=list)
    """Values that xinetd could not use: the service was off, unless the list `enabled` names it."""
    reasons: list[str] = field(default_factory=list)
    """Other reasons why xinetd had it off, or why it is off in the result."""
    left_out: str = ""
    """Why there is no such service in the result at all."""

    @property
    def is_fork(self) -> bool:
        """Whether this is the xinetd of Debian and SUSE, rather than 2.3.15 as of Red Hat."""
        return self.dialect != "rhel"

    def setting(self, name: str) -> Setting | None:
        """An attribute that is set."""
        return self.settings.values.get(name)

    def flags(self) -> set[str]:
        """The flags, in upper case."""
        return {word.upper() for word in self.settings.words("flags") or ()}

    def types(self) -> set[str]:
        """The words of `type`, in upper case."""
        return {word.upper() for word in self.settings.words("type") or ()}

    def note(self, name: str, text: str) -> None:
        """Tell what the operator may not have known about an attribute, or about the service if that is not set."""
        self._tell(name, Outcome.NOTE, text)

    def leave_out(self, name: str, text: str, *, off: bool = False) -> None:
        """Tell that an attribute is not imported; with ``off``, the service is off for that reason."""
        self._tell(name, Outcome.LEFT_OUT, text + "; so the service is off" if off else text)
        if off:
            self.reasons.append(f"{name}: {text}")

    def bad(self, name: str, text: str) -> None:
        """Tell that xinetd could not use the value of an attribute, and had the service off."""
        self._tell(name, Outcome.NOTE, f"{text}: xinetd had the service off")
        setting = self.setting(name)
        self.bad_values.append((setting.place if setting else self.settings.entry.place, f"{name}: {text}"))

    def broken(self, name: str, text: str) -> None:
        """Tell why xinetd did not start the service at all, whatever the list `enabled` says."""
        self._tell(name, Outcome.NOTE, f"{text}: xinetd had the service off")
        self.reasons.append(f"{name}: {text}" if name else text)

    def is_left_out(self) -> bool:
        """Whether there is no such service in the result."""
        return bool(self.left_out)

    def drop(self, text: str) -> None:
        """Leave the whole service out."""
        self.left_out = self.left_out or text

    def _tell(self, name: str, outcome: Outcome, text: str) -> None:
        setting = self.setting(name)
        if setting:
            self.teller.tell(setting.lines, outcome, text)
        else:
            entry = self.settings.entry
            self.teller.tell_place(entry.place, entry.text, outcome, text)
