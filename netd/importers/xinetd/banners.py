"""Files that xinetd sends before a service: banner, banner_success and banner_fail."""

import functools
import os
from pathlib import Path

from netd import accounts
from netd.config.banners import read_file
from netd.config.executables import EXECUTE, READ, User
from netd.importers.xinetd.case import Case
from netd.text import printable

_KEYS = {"banner": "always", "banner_success": "accepted", "banner_fail": "refused"}


def convert(case: Case) -> None:
    """Set `banner` of the service."""
    given = {name: path for name in _KEYS if (path := case.settings.one(name)) is not None}
    for name, path in given.items():
        if case.service.get("tcpmux") and name != "banner_success":
            case.note(name, "had no effect: over tcpmux, xinetd sends banner_success alone")
            continue
        if reason := _why_not(case, path) or (name == "banner_success" and _why_hidden(case, path)):
            case.leave_out(name, reason)
            continue
        where = ("banner",) if given.keys() == {"banner"} else ("banner", _KEYS[name])
        case.service.put({"file": path}, *where)
        case.note(name, "netd reads the file when it starts and at each reload, xinetd at each connection")


def _why_not(case: Case, path: str) -> str:
    """Why netd cannot send a file there; empty if it can."""
    if case.service.get("options", "mode") == "listener":
        return "the program accepts by itself, so netd sends nothing before it"
    if not all(one.streams for one in case.service.endpoints):
        return "netd sends a file before connections, and not before datagrams"
    return _fault(path)


def _why_hidden(case: Case, path: str) -> str:
    """Why xinetd does not send the file of banner_success, which it opens as the user of the program."""
    user, group = (case.service.get("options", key) for key in ("user", "group"))
    try:
        uid = accounts.find_id("uid", str(user))
        gid = None if group is None else accounts.find_id("gid", str(group))
    except ValueError:  # it has none, or none of this host
        return ""
    groups = accounts.groups_of(uid, gid)
    if case.service.get("options", "groups") is False:  # the first is its own
        groups = groups[:1]
    reader = User(uid, frozenset(groups))
    may = reader.may(READ, os.stat(path)) and all(reader.may(EXECUTE, os.stat(one)) for one in Path(path).parents)
    return "" if may else f"xinetd opens it as the user {printable(str(user))}, which may not read {printable(path)}"


@functools.lru_cache(maxsize=64)
def _fault(path: str) -> str:
    if not os.path.isabs(path):
        return f"{printable(path)} is no absolute path"
    try:
        read_file(path)
    except (OSError, ValueError) as error:
        return f"{printable(path)}: {error.strerror if isinstance(error, OSError) else error}"
    return ""
