"""One service of xinetd as one of netd."""

import re

from netd.admission.policy import MOST_LOAD
from netd.importers.document import Path, Service, Word
from netd.importers.xinetd import access, banners, listen, program, sensor, tcpmux, values
from netd.importers.xinetd.attributes import KINDS
from netd.importers.xinetd.case import Case
from netd.importers.xinetd.settings import DEFAULTS
from netd.services.forward.target import Target
from netd.text import printable

_BUILT_IN = ("echo", "discard", "daytime", "time", "chargen", "tcpmux")
_TEMPLATE = re.compile(r"\{\{|\{%|<%|\$\(|\$\{|@[A-Za-z_]\w*@")
_NO_VARIABLES = ("server_args", "env", "passenv")
_MOST_RATE = 9_999_999

# The key of netd that the comments above an attribute explain; without one, they stand above the service.
_KEYS: dict[str, Path] = {
    "disable": ("enabled",),
    "port": ("listen",),
    "bind": ("listen",),
    "only_from": ("access", "allow"),
    "no_access": ("access", "deny"),
    "access_times": ("access", "times"),
    "instances": ("limits", "connections"),
    "per_source": ("limits", "per_source"),
    "cps": ("limits", "total_rate"),
    "server": ("options", "command"),
    "server_args": ("options", "command"),
    "user": ("options", "user"),
    "group": ("options", "group"),
    "groups": ("options", "groups"),
    "umask": ("options", "umask"),
    "nice": ("options", "nice"),
    "env": ("options", "environment"),
    "passenv": ("options", "pass_environment"),
    "redirect": ("options", "to"),
    "banner": ("banner",),
    "banner_success": ("banner", "accepted"),
    "banner_fail": ("banner", "refused"),
    "deny_time": ("options", "ban"),
}


def check_defaults(case: Case) -> None:
    """Tell about the values in defaults, whether or not a service has them. `case.bad_values` are mistakes."""
    access.read_lists(case)
    program.numbers(case)
    program.yes_or_no(case, "groups")
    if "v6only" in case.settings.values:
        case.note("v6only", "had no effect: xinetd looks at it in services only")
    _limits(case)
    _others(case)


def convert(case: Case) -> None:
    """Fill `case.service`. `case.left_out` says why there is none."""
    if text := _template(case):
        case.drop(f"this is a template: {text}")
        return
    _types(case)
    if case.is_left_out():
        return
    _wait(case)
    (tcpmux if tcpmux.is_named(case) else listen).convert(case)
    if case.is_left_out():
        return
    if sensor.is_sensor(case):
        sensor.convert(case)
    else:
        access.convert(case)
        _served(case)
    if case.is_left_out():
        return
    _limits(case)
    _flags(case)
    _others(case)
    _place_comments(case)


def _served(case: Case) -> None:
    if "INTERNAL" in case.types():
        _built_in(case)
    elif "redirect" in case.settings.values:
        _redirect(case)
    else:
        program.convert(case)


def _template(case: Case) -> str:
    """The first thing that only a template has; empty if there is none."""
    if re.search(r"[$]", case.settings.name) or _TEMPLATE.search(case.settings.name):
        return printable(case.settings.name)
    for line in case.settings.entry.attributes:
        for word in line.values:
            if _TEMPLATE.search(word) or (word.startswith("$") and line.name not in _NO_VARIABLES):
                return printable(line.text)
    return ""


def _types(case: Case) -> None:
    types = case.types()
    if "type" in case.settings.values and not types:
        case.bad("type", "it has no value")
    if unknown := types - {"RPC", "INTERNAL", "UNLISTED", "SPECIAL", "TCPMUX", "TCPMUXPLUS"}:
        case.bad("type", f"xinetd knows no type {printable(' '.join(sorted(unknown)))}")
    if "RPC" in types:
        case.drop("netd registers nothing with rpcbind")
    elif not sensor.is_sensor(case) and "INTERNAL" in types and case.settings.name.lower() not in _BUILT_IN:
        case.drop(f"xinetd has no internal service {printable(case.settings.name)}, so it was off")


def _wait(case: Case) -> None:
    text = case.settings.one("wait")
    if text is None:
        case.broken("", "wait is missing")
        return
    waits = values.yes_or_no(text)
    if waits is None:
        case.bad("wait", f"{printable(text)} is neither yes nor no")
    case.settings.values["wait"].values = ["yes" if waits else "no"]


def _built_in(case: Case) -> None:
    name = case.settings.name.lower()
    if "NAMEINARGS" in case.flags():
        case.broken("flags", "NAMEINARGS is not for INTERNAL services")
    if name == "tcpmux" and not all(one.streams for one in case.service.endpoints):
        case.drop("xinetd has no internal service tcpmux for datagrams, so it was off")
    case.service.put(name, "type")
    match name:
        case "time":
            case.service.put("rfc868", "options", "encoding")
        case "daytime":
            case.service.put(case.host.zone(), "options", "timezone")
            case.service.put("%d %b %Y %H:%M:%S %Z", "options", "format")
            case.note("type", "xinetd writes the name of the month in capitals")
        case "chargen":
            case.note("type", "the lines of netd begin one character earlier, with the blank, as RFC 864 has them")
    if case.settings.one("socket_type") == "dgram" or case.settings.one("protocol") == "udp":
        case.note("type", "netd does not answer source ports below 1024, nor longer than the question (reply_guard)")


def _redirect(case: Case) -> None:
    """`redirect = HOST PORT` as the type `forward`."""
    host, port = (case.settings.words("redirect") or ["", ""])[:2]
    if any(one.transport != "tcp" for one in case.service.endpoints) or case.settings.one("wait") == "yes":
        case.broken("redirect", "it is for TCP with wait = no")
        case.drop("xinetd does not redirect it: it is not for TCP with wait = no")
        return
    if "NAMEINARGS" in case.flags():
        case.broken("flags", "NAMEINARGS is not for a redirect")
    number = values.number(port) if port.isdigit() else case.host.port(port, "tcp")
    if number is None or not 0 < number < 65536:
        case.bad("redirect", f"{printable(port)} is no port, and not in /etc/services")
        case.drop("its target has no port")
        return
    target = f"tcp://[{host}]:{number}" if ":" in host else f"tcp://{host}:{number}"
    try:
        Target.parse(target)
    except ValueError as error:
        case.bad("redirect", str(error))
        case.drop("its target is no host")
        return
    user = case.settings.one("user")
    if user is None:
        case.broken("", "user is missing")
    elif not user.isdigit() and not case.host.has_user(user):
        case.bad("user", f"there is no user {printable(user)}")
    case.service.put("forward", "type")
    case.service.put([target], "options", "to")
    case.service.put(Word("off"), "limits", "idle")
    text = "half-close is passed on, and there is no limit on idle connections, as in xinetd"
    if not re.fullmatch(r"[0-9.]+|.*:.*", host):
        text += "; the name is looked up again and again, for IPv4 and IPv6"
    case.note("redirect", text)
    if "server" in case.settings.values:
        case.note("server", "xinetd does not start it where there is a redirect")
    if "user" in case.settings.values:
        case.note("user", "workers of netd connect as their own user")


def _limits(case: Case) -> None:
    """`instances`, `per_source` and `cps`."""
    listens = case.service.get("options", "mode") == "listener"
    for name, key in (("instances", "connections"), ("per_source", "per_source")):
        text = case.settings.one(name)
        if text is None:
            continue
        number = values.count(text)
        if number is None:
            case.bad(name, f"{printable(text)} is no number and not UNLIMITED")
        elif number == 0:
            case.note(name, "0 serves no peer, so the service is off")
            case.reasons.append(f"{name} = 0 serves no peer")
        elif listens and number == values.UNLIMITED:
            continue  # as it is without the attribute
        elif listens:
            case.leave_out(name, "the program accepts by itself, so netd cannot hold it")
        else:
            case.service.put(Word("off") if number == values.UNLIMITED else number, "limits", key)
            if name == "per_source" and number > 0:
                case.note(name, "netd counts an IPv6 /64 as one source, and does not count loopback")
    words = case.settings.words("cps")
    if words is not None:
        rate, pause = (values.number(word) for word in words)
        if rate is None or pause is None:
            case.bad("cps", f"{printable(' '.join(words))} is no number of connections and no number of seconds")
        elif rate == 0:
            case.note("cps", "0 is no limit")
        elif listens:
            case.leave_out("cps", "the program accepts by itself, so netd cannot hold it")
        else:
            rate = min(rate, _MOST_RATE)
            burst = min(rate * max(pause, 1), _MOST_RATE)
            case.service.put(f"{rate}/s burst {burst}", "limits", "total_rate")
            case.note("cps", f"netd refuses what is over it, and does not switch the service off for {pause} s")


def _flags(case: Case) -> None:
    known = {
        *("REUSE", "INTERCEPT", "NORETRY", "IDONLY", "NAMEINARGS", "NODELAY", "KEEPALIVE", "NOLIBWRAP", "SENSOR"),
        *("IPV4", "IPV6", "LABELED"),
    }
    flags = case.flags()
    if "flags" in case.settings.values and not case.settings.words("flags"):
        case.bad("flags", "it has no value")
    if unknown := flags - known:
        case.bad("flags", f"xinetd knows no flag {printable(' '.join(sorted(unknown)))}")
    if "INTERCEPT" in flags:
        case.leave_out("flags", "INTERCEPT: netd relays nothing of a listening socket; its filter checks each peer")
    if "IDONLY" in flags:
        case.leave_out("flags", "IDONLY: netd asks no ident server, so more peers would be served", off=True)
    if "LABELED" in flags:
        case.leave_out("flags", "LABELED: netd knows no SELinux labels of peers, so the program would run as", off=True)
    if "NOLIBWRAP" not in flags and case.is_fork:
        default = (case.settings.one("server") or case.settings.name).rpartition("/")[2]
        name = case.settings.one("libwrap") or case.settings.one("id") or default
        if case.host.is_wrapped({name, default}):
            text = f"/etc/hosts.deny has rules for {printable(name)}, which netd does not read"
            case.leave_out("libwrap", text, off=True)


def _put_load(case: Case, load: float) -> None:
    if case.service.get("options", "mode") == "listener":
        case.leave_out("max_load", "the program accepts by itself, so netd cannot hold it")
    elif load < MOST_LOAD:  # no host has more
        case.service.put(max(round(load, 2), 0.01), "load", "below")


def _others(case: Case) -> None:
    """What netd has in another way, or not at all."""
    banners.convert(case)
    sensor.check_time(case)
    if (text := case.settings.one("max_load")) is not None:
        if (load := values.load(text)) is None:
            case.bad("max_load", f"{printable(text)} is no number above 0")
        else:
            _put_load(case, load)
    for name in ("rpc_version", "rpc_number"):
        if name in case.settings.values:
            case.note(name, "it is for RPC services only")
    if "mdns" in case.settings.values and case.is_fork:
        case.note("mdns", "had no effect: this xinetd does not know it")
    elif "mdns" in case.settings.values:
        case.leave_out("mdns", "netd announces nothing over mDNS")
    _logs(case)


def _logs(case: Case) -> None:
    words = case.settings.words("log_type")
    if words is not None:
        case.note("log_type", _log_type(case, words))
    known = {"log_on_success": "HOST DURATION EXIT PID USERID TRAFFIC", "log_on_failure": "HOST ATTEMPT USERID"}
    for name, options in known.items():
        given = {word.upper() for word in case.settings.words(name) or ()}
        if unknown := given - set(options.split()):
            case.bad(name, f"xinetd knows no {printable(' '.join(sorted(unknown)))} here")
        if "TRAFFIC" in given and "redirect" not in case.settings.values and case.settings.name != DEFAULTS:
            case.bad(name, "TRAFFIC is for a redirect")
        if "USERID" in given:
            case.leave_out(name, "USERID: netd asks no ident server")
        elif name in case.settings.values and not unknown:
            case.note(name, "netd logs each connection, and each refusal, in one line; log_connections says which")


def _log_type(case: Case, words: list[str]) -> str:
    kind = words[0].upper() if words else ""
    if kind == "FILE" and len(words) > 1:
        return f"netd has one log for all services: log: {{file: {printable(words[1])}}}"
    if kind == "SYSLOG" and len(words) > 1:
        return f"netd has one log for all services: log: {{file: syslog, facility: {printable(words[1])}}}"
    case.bad("log_type", "it is neither FILE with a path nor SYSLOG with a facility")
    return "netd has one log for all services"


def _place_comments(case: Case) -> None:
    """Put the comments of the source above what they explained."""
    service: Service = case.service
    for line in case.settings.entry.attributes:
        for comment in line.comments:
            # One that is an attribute, switched off, belongs to that.
            match = re.match(r"[ \t]*(\w+)[ \t]*[-+]?=", comment)
            name = match[1].lower() if match else ""
            _explain(service, name if name in KINDS else line.name, comment)
    for comment in case.settings.entry.closing:
        _explain(service, "", comment)


def _explain(service: Service, name: str, comment: str) -> None:
    path = _KEYS.get(name, ())
    has_key = path == ("enabled",) or service.get(*path) is not None
    service.explain(path if has_key else (), [comment])
