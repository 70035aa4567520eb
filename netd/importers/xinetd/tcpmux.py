"""tcpmux: the service itself, and those that it passes connections on to (TCPMUX, TCPMUXPLUS)."""

import re

from netd.importers.xinetd.case import Case

_TYPES = ("TCPMUX", "TCPMUXPLUS")
_NAME = r"[!-~]{1,64}"
_UNUSED = ("port", "bind", "v6only")


def is_named(case: Case) -> bool:
    """Whether tcpmux passes connections on to a service, which does not listen by itself."""
    return bool(case.types().intersection(_TYPES))


def convert(case: Case) -> None:
    """Set `tcpmux` of a service in place of `listen`, or drop it."""
    name = case.settings.name
    if "UNLISTED" not in case.types():
        case.broken("type", "xinetd takes TCPMUX with UNLISTED only")
    kind, protocol = (case.settings.one(key) for key in ("socket_type", "protocol"))
    if (kind or "stream").lower() != "stream" or (protocol or "tcp").lower() != "tcp":
        case.drop("tcpmux passes on connections of TCP alone")
    elif case.settings.one("wait") == "yes":
        case.drop("a program that accepts by itself cannot get connections from tcpmux")
    elif not re.fullmatch(_NAME, name) or name.lower() == "help":
        case.drop("its name is none for tcpmux")
    if case.is_left_out():
        return
    for attribute in _UNUSED:
        if attribute in case.settings.values:
            case.note(attribute, "had no effect: the service tcpmux listens for it")
    # The name of a service in netd may be another one, as its id.
    is_plain = "TCPMUXPLUS" not in case.types()
    case.service.put({"name": name, "plain": True} if is_plain else name, "tcpmux")
