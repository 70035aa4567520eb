"""Services with the flag SENSOR, and deny_time."""

from netd.importers.document import Word
from netd.importers.xinetd import values
from netd.importers.xinetd.case import Case
from netd.text import printable
from netd.values import duration_text

_MOST_MINUTES = 366 * 24 * 60  # the longest duration in a config
_IGNORED = {
    **dict.fromkeys(("server", "server_args", "user", "group", "redirect"), "SENSOR makes the service an internal one"),
    **dict.fromkeys(("only_from", "no_access", "access_times"), "a sensor bans each source that connects"),
}
_LOCAL = "netd bans an IPv6 /64, and never this host itself (bans.exempt, limits.exempt)"


def is_sensor(case: Case) -> bool:
    """Whether a service has the flag."""
    return "SENSOR" in case.flags()


def convert(case: Case) -> None:
    """Make the service a sensor of netd, or drop it."""
    if not all(one.streams for one in case.service.endpoints):
        case.drop("sensors of netd are for connections: the source of a datagram may be forged")
        return
    case.service.put("sensor", "type")
    if "INTERNAL" not in case.types() and "server" not in case.settings.values:
        case.broken("flags", "without INTERNAL, xinetd asks for a server, although SENSOR starts none")
    for name, reason in _IGNORED.items():
        setting = case.settings.values.get(name)
        if setting and not setting.inherited:
            case.note(name, f"had no effect: {reason}")
    seconds = _seconds(case)
    case.service.put(Word("off") if seconds is None else duration_text(seconds), "options", "ban")
    case.note("flags", _LOCAL)


def check_time(case: Case) -> None:
    """Tell about deny_time of a service that is no sensor."""
    if "deny_time" in case.settings.values and not is_sensor(case):
        case.note("deny_time", "had no effect: it is for a service with the flag SENSOR")


def _seconds(case: Case) -> float | None:
    text = case.settings.one("deny_time")
    if text is None or text.lower() == "never":
        case.note("deny_time", "xinetd banned no source, and logged it only")
        return None
    if text.lower() == "forever":
        case.note("deny_time", "xinetd banned a source until its end; netd bans for a year at most")
        return _MOST_MINUTES * 60.0
    minutes = values.number(text)
    if minutes is None:
        case.bad("deny_time", f"{printable(text)} is neither FOREVER nor NEVER nor a number of minutes")
        return None
    if minutes > _MOST_MINUTES:
        case.note("deny_time", "netd bans for a year at most")
    return min(minutes, _MOST_MINUTES) * 60.0 or None
