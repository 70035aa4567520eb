"""The attributes of each service as xinetd has them in force: after defaults, ``+=``, ``-=``, and its mistakes.

What xinetd ignores is told to the account here. The values are read later (`values`, `service`).
"""

from dataclasses import dataclass, field

from netd.errors import ConfigError
from netd.importers.account import Outcome, Place
from netd.importers.xinetd.attributes import COPIED, KINDS, OTHER_NAMES
from netd.importers.xinetd.entries import Attribute, Entry
from netd.importers.xinetd.telling import Teller

DEFAULTS = "defaults"


@dataclass
class Setting:
    """The values of an attribute, and the lines that they come from."""

    values: list[str]
    lines: list[Attribute]
    inherited: bool = False
    """Whether it comes from `defaults`: its lines are told there."""

    @property
    def place(self) -> Place:
        """Of the last line, which is the one to tell of."""
        return self.lines[-1].place

    @property
    def text(self) -> str:
        """The last line as it is in the file."""
        return self.lines[-1].text

    def inherit(self) -> "Setting":
        """The same, for a service."""
        return Setting(self.values, self.lines, inherited=True)


@dataclass
class Settings:
    """What an entry sets."""

    name: str
    entry: Entry
    values: dict[str, Setting] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    """The attributes in the order of the file."""

    def words(self, name: str) -> list[str] | None:
        """The values of an attribute; None if it is not set."""
        return self.values[name].values if name in self.values else None

    def one(self, name: str) -> str | None:
        """The first value of an attribute."""
        words = self.words(name)
        return words[0] if words else None


def read_defaults(entry: Entry, into: Settings, teller: Teller) -> None:
    """Add a `defaults` entry to the record that all files share. Raises `ConfigError` where xinetd exits."""
    for attribute in entry.attributes:
        name = OTHER_NAMES.get(attribute.name, attribute.name)
        kind = KINDS.get(name)
        if kind is None or not kind.in_defaults:
            what = "it is not for defaults" if kind else "xinetd does not know it"
            teller.tell([attribute], Outcome.NOTE, f"had no effect: {what}")
        elif reason := _ignored(attribute, name, into):
            if name == "log_type" and name in into.values:
                raise ConfigError([f"{attribute.place}: log_type stands twice in defaults, with which xinetd exits"])
            teller.tell([attribute], Outcome.NOTE, f"had no effect: {reason}")
        else:
            _set(attribute, name, into, adds=kind.is_list)


def read_service(entry: Entry, defaults: Settings, teller: Teller) -> Settings:
    """The settings of a `service` entry, with what it has from defaults as far as they were read."""
    found = Settings(entry.name, entry)
    for name in COPIED:
        if name in defaults.values:
            found.values[name] = defaults.values[name].inherit()
    for attribute in entry.attributes:
        name = OTHER_NAMES.get(attribute.name, attribute.name)
        kind = KINDS.get(name)
        if kind is None or kind.only_in_defaults:
            what = "it is for defaults only" if kind else "xinetd does not know it"
            teller.tell([attribute], Outcome.NOTE, f"had no effect: {what}")
        elif reason := _ignored(attribute, name, found):
            teller.tell([attribute], Outcome.NOTE, f"had no effect: {reason}")
        else:
            _set(attribute, name, found, adds=False)
    return found


def _ignored(attribute: Attribute, name: str, settings: Settings) -> str:
    """Why xinetd ignores the line; empty if it does not."""
    kind = KINDS[name]
    number = len(attribute.values)
    if attribute.operator != "=" and not kind.is_list:
        return f"{attribute.operator} is for lists only"
    if kind.values is not None and number != kind.values:
        comment = ", since xinetd knows no comments at the end of a line" if "#" in attribute.text else ""
        return f"it takes {kind.values} value{'s' * (kind.values > 1)} and has {number}{comment}"
    own = settings.values.get(name)
    if not kind.is_list and own and not own.inherited:
        return f"the first one stays, in line {own.place.line}"
    return ""


def _set(attribute: Attribute, name: str, settings: Settings, *, adds: bool) -> None:
    if name not in settings.order:
        settings.order.append(name)
    old = settings.values.get(name)
    match attribute.operator:
        case "-=" if old:
            removed = set(attribute.values)
            left = [value for value in old.values if value not in removed]
            settings.values[name] = Setting(left, [*_own(old), attribute])
        case "-=":
            settings.values[name] = Setting([], [attribute])
        case _ if old and (attribute.operator == "+=" or adds):
            if old.inherited:
                old = settings.values[name] = Setting(list(old.values), [])
            old.values += attribute.values
            old.lines.append(attribute)
        case _:
            settings.values[name] = Setting(list(attribute.values), [attribute])


def _own(setting: Setting) -> list[Attribute]:
    """The lines of a setting that stand in the entry itself."""
    return [] if setting.inherited else setting.lines
