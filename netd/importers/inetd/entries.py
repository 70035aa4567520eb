"""What the words of a line of inetd.conf mean in a dialect. Pure: nothing of the host is asked."""

import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from netd.importers.inetd.dialects import Dialect, Families
from netd.importers.inetd.lines import Line
from netd.text import shown

_FEWEST_WORDS = 6
_MOST_HOSTS = 64
_LARGEST_BUFFER = 2**31 - 1
_MOST_STARTS = 10**9
_UNITS = {"": 1, "k": 2**10, "m": 2**20}


class UnusableLineError(ValueError):
    """A line that inetd itself skips, or that names what netd has not; the message is one line."""


@dataclass(slots=True)
class Entry:
    """A service of inetd."""

    service: str
    """A name or a port, or the path of a UNIX socket."""
    hosts: tuple[str, ...]
    """Addresses and names; ``*`` stands for all."""
    datagrams: bool
    transport: Literal["inet", "unix"]
    families: Families
    waits: bool
    """Whether the program gets the listening socket."""
    user: str
    group: str
    """Empty: that of the user."""
    program: str
    arguments: tuple[str, ...]
    """With the name of the program first."""
    buffers: dict[str, int] = field(default_factory=dict)
    """``sndbuf`` and ``rcvbuf``, in octets."""
    starts: int | None = None
    """The most starts in a minute."""
    at_once: int | None = None
    """The most programs at the same time."""
    of_one_address: int | None = None
    """The most connections of one address in a minute."""
    at_once_of_one_address: int | None = None
    tcpmux: Literal["", "plain", "plus"] = ""
    """Whether clients of tcpmux reach it, by its name; plus: inetd sends the line that begins with +."""
    notes: list[str] = field(default_factory=list)
    """What the operator may not have known."""

    @property
    def is_internal(self) -> bool:
        """Whether inetd serves it itself, without a program."""
        return self.program == "internal"


def default_hosts(line: Line, dialect: Dialect) -> tuple[str, ...] | None:
    """The addresses that a line sets for those after it; None: it is another line."""
    if dialect.has_default_hosts and len(line.words) == 1 and line.words[0].endswith(":"):
        return _hosts(line.words[0][:-1])
    return None


def read(line: Line, dialect: Dialect, hosts: tuple[str, ...] = ("*",)) -> Entry:
    """The service of a line; ``hosts`` are those of lines that name none. Raises UnusableLineError."""
    words = line.words
    if dialect.has_hosts and words[0].endswith(":") and len(words) > 1 and dialect.has_default_hosts:
        words = (words[0] + words[1], *words[2:])
    if len(words) < _FEWEST_WORDS:
        _refuse(f"{dialect.program} skips it: it has {len(words)} words of at least {_FEWEST_WORDS}")
    place, socket_type, protocol, wait, account, program, *arguments = words
    notes: list[str] = []
    service, own_hosts = place, hosts
    if protocol.partition(",")[0] != "unix" and dialect.has_hosts and ":" in place:
        host, _, service = place.rpartition(":")
        own_hosts = _hosts(host)
    _refuse_strangers(service, protocol, dialect)
    in_brackets = [host for host in own_hosts if "[" in host or "]" in host]
    notes += (f"inetd does not listen on {shown(host)}: in a list it removes no brackets" for host in in_brackets)
    own_hosts = tuple(host for host in own_hosts if host not in in_brackets)
    if not own_hosts:
        _refuse(f"{dialect.program} skips it: it has no address")
    datagrams = _datagrams(socket_type, notes)
    transport, families, buffers = _protocol(protocol, datagrams, dialect, notes)
    user, group = _account(account, dialect, notes)
    entry = Entry(
        service,
        ("*",) if transport == "unix" else own_hosts,
        datagrams,
        transport,
        families,
        False,
        user,
        group,
        program,
        tuple(arguments),
        buffers,
        notes=notes,
    )
    _set_wait(entry, wait, dialect)
    if service.startswith("tcpmux/"):
        _set_tcpmux(entry)
    entry.of_one_address = entry.of_one_address or _count(line.ip_max)
    if entry.is_internal:
        _check_internal(entry, dialect)
    return entry


def _refuse(message: str) -> NoReturn:
    raise UnusableLineError(message)


def _hosts(text: str) -> tuple[str, ...]:
    """Addresses and names, by comma. Brackets are removed around the whole text only, as inetd does."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    found = tuple(text.split(","))
    if not all(found) or len(found) > _MOST_HOSTS:
        _refuse(f"inetd skips it: {shown(text)} is no list of addresses")
    return found


def _refuse_strangers(service: str, protocol: str, dialect: Dialect) -> None:
    """Refuse services that netd has in no form."""
    if protocol.startswith("rpc/"):
        _refuse("netd registers no service of RPC with rpcbind(8)")
    if service.startswith("tcpmux/") and not dialect.has_tcpmux:
        _refuse(f"{dialect.program} skips it: it has no tcpmux")
    if "faith" in protocol or "ttcp" in protocol:
        _refuse(f"no system has {shown(protocol)} any more")
    if not service:
        _refuse(f"{dialect.program} skips it: it names no service")


def _datagrams(socket_type: str, notes: list[str]) -> bool:
    name, mark, rest = socket_type.partition(":")
    if not mark:
        name, mark, rest = socket_type.partition(",")
    if name not in ("stream", "dgram"):
        if name in ("raw", "rdm", "seqpacket", "tli"):
            _refuse(f"netd has no sockets of the type {name}")
        _refuse(f"inetd skips it: {shown(socket_type)} is no type of a socket")
    if mark:
        notes.append(
            f"{shown(rest)} behind the type of the socket is not imported: netd needs no filter or limit there"
        )
    return name == "dgram"


def _protocol(
    text: str, datagrams: bool, dialect: Dialect, notes: list[str]
) -> tuple[Literal["inet", "unix"], Families, dict[str, int]]:
    name, *sizes = text.split(",")
    buffers = dict(map(_buffer, sizes))
    if name == "unix":
        return "unix", "both", buffers
    if name not in dialect.protocols:
        _refuse(f"{dialect.program} skips it: {shown(name)} is no protocol")
    if name.startswith("udp") is not datagrams:
        _refuse(f"{name} does not go with {'dgram' if datagrams else 'stream'}")
    if name.endswith("46"):
        notes.append(f"{name} is one socket for both families; netd has two, and IPv4 peers have their own address")
    if dialect.program.endswith("inetutils") and name in ("tcp6", "udp6"):
        notes.append(f"{name} is taken as IPv6 alone; inetutils 2.4 may have served IPv4 there too")
    return "inet", dialect.protocols[name], buffers


def _buffer(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(sndbuf|rcvbuf)=(\d{1,10})([km]?)", text, re.ASCII)
    size = int(match[2]) * _UNITS[match[3]] if match else 0
    if match is None or not 0 < size <= _LARGEST_BUFFER:
        _refuse(f"inetd skips it: {shown(text)} is no size of a buffer")
    return match[1], size


def _account(text: str, dialect: Dialect, notes: list[str]) -> tuple[str, str]:
    name = text
    if dialect.accounts == ":" and "/" in text:  # login.conf(5) of FreeBSD
        name, _, login_class = text.rpartition("/")
        notes.append(f"the login class {shown(login_class)} is not imported: Linux has none")
    mark = next((one for one in dialect.accounts if one in name), None)
    if mark is None:
        return name, ""
    user, _, group = name.partition(mark)
    if mark == "." and ":" in group:
        notes.append(f"{dialect.program} looks for the dot first, so the user is {shown(user)}")
    return user, group


def _set_wait(entry: Entry, text: str, dialect: Dialect) -> None:
    mark = next((one for one in dialect.limits if one in text), None)
    word, _, number = text.partition(mark) if mark else (text, "", "")
    if dialect.program.endswith("FreeBSD"):
        entry.waits = word.startswith("wait")
        is_known = word.startswith(("wait", "nowait"))
    else:
        entry.waits = word == "wait"
        is_known = word in ("wait", "nowait")
    if not is_known and not dialect.any_word_is_nowait:
        _refuse(f"{dialect.program} refuses it: {shown(text)} is neither wait nor nowait")
    if not is_known:
        entry.notes.append(f"{shown(word)} is not wait, so {dialect.program} takes it for nowait")
    if mark == "/":
        _set_limits_of_freebsd(entry, number)
    elif mark:
        entry.starts = _count(number)
        if entry.starts is None:
            entry.notes.append(f"{shown(number)} is no limit, so {dialect.program} has its default")


def _set_tcpmux(entry: Entry) -> None:
    name = entry.service.removeprefix("tcpmux/")
    entry.tcpmux = "plus" if name.startswith("+") else "plain"
    entry.service = name.removeprefix("+")
    if entry.datagrams or entry.waits or entry.transport == "unix":
        _refuse("tcpmux is for stream, tcp and nowait")
    if not re.fullmatch(r"[!-~]{1,64}", entry.service) or entry.service.lower() == "help":
        _refuse(f"{shown(entry.service)} is no name for tcpmux")


def _set_limits_of_freebsd(entry: Entry, text: str) -> None:
    """MAX-CHILD[/MAX-CONNECTIONS-PER-IP-PER-MINUTE[/MAX-CHILD-PER-IP]]; 0 lifts each."""
    numbers = text.split("/")[:3]
    if not re.fullmatch(r"\d{1,9}", numbers[0], re.ASCII):
        _refuse(f"inetd of FreeBSD refuses it: {shown(text)} begins with no number")
    found = [*map(_count, numbers), None, None]
    entry.at_once, entry.of_one_address, entry.at_once_of_one_address = found[:3]


def _count(text: str) -> int | None:
    number = int(text) if re.fullmatch(r"\d{1,12}", text, re.ASCII) else 0
    return number if 0 < number <= _MOST_STARTS else None


def _check_internal(entry: Entry, dialect: Dialect) -> None:
    if entry.service not in dialect.internal:
        _refuse(f"{dialect.program} skips it: it has no internal service {shown(entry.service)}")
    if entry.service == "auth":
        _refuse("netd has no internal auth; docs/programs.md has a recipe with nullidentd")
    if dialect.program.endswith("busybox") and entry.waits is not entry.datagrams:
        _refuse("busybox skips it: an internal service is stream with nowait, or dgram with wait")
