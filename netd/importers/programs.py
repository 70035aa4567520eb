"""What the programs of all formats have in common: logins, and what the systemd unit of netd needs for them."""

import json
import os

from netd.config.drop_ins import PROGRAMS, option_beyond_the_unit
from netd.importers.account import Account
from netd.importers.document import Document, Service
from netd.services.exec import Exec

_LOGINS = {
    *("telnetd", "in.telnetd", "rlogind", "in.rlogind", "rshd", "in.rshd", "rexecd", "in.rexecd", "sshd", "login"),
    *("su", "sudo", "getty", "agetty", "mingetty", "utelnetd"),
}
_PLACE = "/etc/systemd/system/netd.service.d"


def is_login(command: list[str]) -> bool:
    """Whether a program logs users in, or calls one that does: it needs ``no_new_privileges: false``."""
    names = [os.path.basename(word) for word in command]
    return names[0] in _LOGINS or (names[0] in ("busybox", "tcpd") and any(name in _LOGINS for name in names[1:2]))


def note_drop_ins(document: Document, account: Account) -> None:
    """Tell which drop-ins of the unit the services need (docs/programs.md)."""
    programs = [service for service in document.services.values() if service.get("type") == "exec"]
    beyond = [service.name for service in programs if _beyond(service)]
    filters = [service.name for service in programs if _has_tcp_filter(service)]
    if beyond:
        account.drop_ins[f"the drop-in {PROGRAMS} in {_PLACE}, for {', '.join(beyond)}"] = None
    if filters:
        line = "CapabilityBoundingSet=CAP_NET_ADMIN"
        account.drop_ins[f"the line {line} in {PROGRAMS}, for {', '.join(filters)}"] = None
    logins = [service.name for service in programs if service.get("options", "no_new_privileges") is False]
    if logins:
        account.drop_ins[f"sessions.conf of docs/programs.md, for {', '.join(logins)}"] = None
    document.heading += [f"Under systemd this needs {text}." for text in account.drop_ins]


def _beyond(service: Service) -> bool:
    options = Exec.Options.model_validate_json(json.dumps(service.get("options")))
    return bool(option_beyond_the_unit(options))


def _has_tcp_filter(service: Service) -> bool:
    access = service.get("access") or {}
    rules = access.get("allow") or access.get("deny")
    tcp = any(one.transport == "tcp" for one in service.endpoints)
    return bool(service.get("options", "mode") == "listener" and rules and tcp)
