"""All services of the files of xinetd, as a config of netd."""

from netd.config.bounds import RULES
from netd.errors import ConfigError
from netd.importers import validity
from netd.importers.account import Account, Outcome, Place
from netd.importers.document import Document, Service
from netd.importers.host import Host
from netd.importers.xinetd import command_line, files, service
from netd.importers.xinetd.attributes import FILLED_IN
from netd.importers.xinetd.case import Case
from netd.importers.xinetd.entries import Entry
from netd.importers.xinetd.settings import DEFAULTS, Settings, read_defaults, read_service
from netd.importers.xinetd.telling import Teller
from netd.text import printable

_RED_HAT = {"rhel", "fedora", "centos"}
_SUSE = {"suse", "opensuse", "sles"}


def convert(file: str, account: Account, host: Host, dialect: str | None = None) -> Document:
    """Read a file of xinetd and what it includes. Raises `ConfigError` where xinetd would exit.

    The dialect is ``debian``, ``suse`` (the fork 2.3.15.x) or ``rhel`` (2.3.15); None: that of this host.
    """
    chosen = dialect or _dialect(host)
    document, teller = Document(), Teller(account)
    if file == command_line.MAIN_FILE:
        command_line.tell(host, teller)
    sources = _Sources(file, document, teller)
    common = Case(sources.defaults, Service(DEFAULTS, Place(file)), host, chosen, teller)
    service.check_defaults(common)
    if common.bad_values:
        text = "with this in defaults, xinetd exits"
        raise ConfigError(f"{place}: {reason}; {text}" for place, reason in common.bad_values)
    _count_rules(sources)
    cases = [_convert(settings, sources.defaults, common) for settings in sources.services]
    _switch(cases, sources.defaults)
    for case in cases:
        _add(case, document)
    for entry in sources.of_defaults:
        teller.tell_rest(entry)
    for case in cases:
        teller.tell_rest(case.settings.entry, case.left_out and "its service is not imported")
    return document


def _dialect(host: Host) -> str:
    words = host.distribution()
    return "rhel" if words & _RED_HAT else "suse" if words & _SUSE else "debian"


class _Sources:
    """The defaults of all files together, and the services in their order."""

    def __init__(self, file: str, document: Document, teller: Teller) -> None:
        self.defaults = Settings(DEFAULTS, Entry(DEFAULTS, "", Place(file), DEFAULTS, []))
        self.of_defaults: list[Entry] = []
        self.services: list[Settings] = []
        for entry in files.read(file, teller):
            if entry.fault:
                _refuse(entry, document, teller)
            elif entry.keyword == DEFAULTS:
                document.heading += entry.all_comments()
                read_defaults(entry, self.defaults, teller)
                self.of_defaults.append(entry)
            elif entry.keyword == "service":
                self.services.append(read_service(entry, self.defaults, teller))
            else:
                (document.closing if self.services else document.heading).extend(entry.comments)


def _refuse(entry: Entry, document: Document, teller: Teller) -> None:
    """Tell about an entry that xinetd drops."""
    document.closing += entry.all_comments()
    place = entry.fault_place or entry.place
    teller.tell_place(place, entry.text, Outcome.LEFT_OUT, entry.fault)
    if entry.keyword == "service":
        document.closing.append(f"{printable(entry.name)}: not imported, {entry.fault} ({place})")
    teller.tell_rest(entry, "xinetd drops its entry")


def _count_rules(sources: _Sources) -> None:
    """Refuse more access rules than netd takes. Lists of defaults count for each service."""
    rules = 0
    for settings in sources.services:
        rules += sum(len(settings.words(name) or ()) for name in ("only_from", "no_access"))
        if rules > RULES.most:
            raise ConfigError(
                [f"{settings.entry.place}: more than {RULES.most} access rules, which netd does not take"]
            )


def _convert(settings: Settings, defaults: Settings, common: Case) -> Case:
    for name in FILLED_IN:
        if name in defaults.values and name not in settings.values:
            settings.values[name] = defaults.values[name].inherit()
    made = Service(settings.one("id") or settings.name, settings.entry.place, list(settings.entry.comments))
    case = Case(settings, made, common.host, common.dialect, common.teller)
    service.convert(case)
    return case


def _switch(cases: list[Case], defaults: Settings) -> None:
    """Apply `disable`, the lists `enabled` and `disabled`, and the mistakes of each service."""
    enabled = defaults.words("enabled")
    on = None if enabled is None else {word.lower() for word in enabled}
    off = {word.lower() for word in defaults.words("disabled") or ()}
    for case in cases:
        name = case.service.name.lower()
        text = (case.settings.one("disable") or "no").lower()
        named = on is not None and name in on
        if text not in ("yes", "no"):
            case.bad("disable", f"{printable(text)} is neither yes nor no")
        if text == "yes" and named and not case.is_fork:
            case.note("disable", "the list enabled in defaults names the service, which overrides this in this xinetd")
        elif text == "yes":
            case.service.switch_off()
        if on is not None and not named:
            case.service.switch_off("the list enabled in defaults does not name it")
        if name in off:
            case.service.switch_off("the list disabled in defaults names it")
        if named and case.bad_values:
            case.note("id", "the list enabled in defaults names it, so it ran without the values that xinetd refused")
        reasons = [] if named else [reason for _, reason in case.bad_values]
        for reason in (*reasons, *case.reasons):
            case.service.switch_off(reason)


def _add(case: Case, document: Document) -> None:
    entry = case.settings.entry
    if not case.left_out and (fault := validity.fault(case.service)):
        case.drop(f"netd cannot have it: {fault}")
    if case.left_out:
        case.teller.tell_place(entry.place, entry.text, Outcome.LEFT_OUT, case.left_out)
        document.closing += entry.all_comments()
        document.closing.append(f"{printable(case.service.name)}: not imported, {case.left_out} ({entry.place})")
        return
    if case.service.enabled and (other := document.conflict(case.service)):
        text = f"{printable(other.name)} has its address already, at {other.place}: xinetd could not start it"
        case.note("port", text)
        case.service.switch_off(text)
    if note := document.add(case.service):
        case.note("id", note)
