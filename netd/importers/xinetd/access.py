"""`only_from`, `no_access` and `access_times` as `access` of netd.

xinetd refuses every peer that both lists match; netd has the longest prefix decide. So an allowed network that lies
within a denied one is left out, which is exact: of the rest, the denied one has the longer prefix, or the same.
"""

import ipaddress
from collections.abc import Iterable

from netd.importers.xinetd import values
from netd.importers.xinetd.addresses import Form, parse
from netd.importers.xinetd.case import Case
from netd.text import printable

_DAY = 24 * 60

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def read_lists(case: Case) -> None:
    """Tell about the addresses in the lists."""
    for name in ("no_access", "only_from"):
        _networks(case, name)


def convert(case: Case) -> None:
    """Set `access` of the service."""
    denied, _ = _networks(case, "no_access")
    allowed, is_given = _networks(case, "only_from")
    kept: list[str] = []
    without: list[str] = []
    refused = {ipaddress.ip_network(one) for one in denied}
    for one in allowed:
        (without if _is_within(ipaddress.ip_network(one), refused) else kept).append(one)
    if without:
        case.note("no_access", f"xinetd refuses peers that both lists match, so {_some(without)} is not allowed")
    if is_given and not kept:
        case.note("only_from", "no peer is served: xinetd takes a list without a usable address for none")
        denied = [*denied, "any"]
    if kept:
        case.service.put(kept, "access", "allow")
    if denied:
        case.service.put(denied, "access", "deny")
    _hours(case)


def _networks(case: Case, name: str) -> tuple[list[str], bool]:
    """The networks of a list, without those that another one includes twice, and whether the list is given."""
    words = case.settings.words(name)
    if words is None:
        return [], False
    found: dict[str, None] = {}
    for word in _without_comment(case, name, words):
        form = parse(word, case.host)
        _tell(case, name, word, form)
        found.update(dict.fromkeys(form.networks))
    return list(found), True


def _without_comment(case: Case, name: str, words: list[str]) -> Iterable[str]:
    """The words before a ``#``, which does not begin a comment in xinetd."""
    for number, word in enumerate(words):
        if word.startswith("#"):
            rest = printable(" ".join(words[number:]))
            case.note(name, f"xinetd took the words of {rest!r} for names of hosts; they are left out")
            return
        yield word


def _tell(case: Case, name: str, word: str, form: Form) -> None:
    text = f"{printable(word)}: {form.note}"
    match form.kind:
        case "networks" if form.note:
            case.note(name, text)
        case "never" | "skipped":
            case.note(name, text)
        case "name":
            # A peer that is refused no more would be served.
            case.leave_out(name, text, off=name == "no_access")
        case "error":
            case.bad(name, text)


def _is_within(network: Network, others: set[Network]) -> bool:
    return any(network.supernet(new_prefix=prefix) in others for prefix in range(network.prefixlen + 1))


def _some(words: list[str]) -> str:
    return ", ".join(words[:10]) + (", …" if len(words) > 10 else "")


def _hours(case: Case) -> None:
    """`access_times`: the last minute is within them in xinetd."""
    words = case.settings.words("access_times")
    if words is None:
        return
    if not words:
        case.bad("access_times", "it has no value")
        return
    times = []
    for word in words:
        found = values.hours(word)
        if found is None:
            case.bad("access_times", f"{printable(word)} is no time such as 8:00-17:59")
            continue
        first, last = found
        if first >= last or last >= _DAY or first >= _DAY:
            case.bad("access_times", f"xinetd does not take {word}; netd does")
            end = min(last, _DAY)
        else:
            end = last + 1
        if first < _DAY:
            times.append(f"{first // 60:02}:{first % 60:02}-{end // 60:02}:{end % 60:02}")
    if times:
        case.service.put(times, "access", "times")
