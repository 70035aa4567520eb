"""The inetd programs that read an inetd.conf, and what each makes of the same line.

Read in the sources of openbsd-inetd 0.20221205, inetutils 2.4, busybox 1.36, FreeBSD, NetBSD and OpenBSD, and of
xinetd 2.3.15 (``-inetd_compat``).
"""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Families: TypeAlias = Literal["both", "4", "6"]
_BSD_LINE = 1024
_BSD_WORDS = 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one inetd makes of a line."""

    program: str
    """The program, as notes name it."""
    protocols: dict[str, Families]
    """The address families of each protocol; others are refused."""
    continues: bool = False
    """Whether a line that begins with a blank or a tab continues the one before."""
    quotes: Literal["none", "whole", "inside"] = "none"
    """Whether a word may be in quotes as a whole, or have quotes inside."""
    longest_line: int = 0
    """The buffer of a line, in octets; what is longer is cut there. 0: any length."""
    most_words: int = 0
    """How many words a program gets, its name included; further ones are lost. 0: any number."""
    has_hosts: bool = False
    """Whether the first word may begin with an address and a colon."""
    has_default_hosts: bool = False
    """Whether a line may be an address and a colon alone, for the lines after it."""
    limits: str = "."
    """The characters after which a number of starts follows ``nowait``, the first of them is tried first."""
    accounts: str = ".:"
    """The characters between user and group, the first of them is tried first."""
    any_word_is_nowait: bool = True
    """Whether each word other than ``wait`` means ``nowait``; else it is refused."""
    policies: bool = False
    """Whether lines with ``#@`` are IPsec policies."""
    has_tcpmux: Literal["", "asked", "always"] = ""
    """Whether a service may be ``tcpmux/NAME``; always: it then listens for tcpmux, also without a line for that."""
    has_keys: bool = False
    """Whether a service may be in keys and values (`netd.importers.inetd.keys`)."""
    reads_path: bool = False
    """Whether a program without a slash is looked for in PATH."""
    connects_datagrams: bool = False
    """Whether a program for datagrams with ``nowait`` gets a socket that is connected to its peer."""
    argv0: Literal["basename", "path", "none"] = "basename"
    """The name of a program for which the line has none."""
    starts: str = ""
    """What it does where a service is started too often and the line has no limit."""
    internal: tuple[str, ...] = ("echo", "discard", "chargen", "daytime", "time")
    """The services that it has built in."""


_V4: dict[str, Families] = {"tcp": "4", "tcp4": "4", "tcp6": "6", "udp": "4", "udp4": "4", "udp6": "6"}
_BOTH: dict[str, Families] = {**_V4, "tcp": "both", "udp": "both", "tcp46": "both", "udp46": "both"}
_OPENBSD_STARTS = "switches a service off for ten minutes after 256 starts in a minute"

_OPENBSD = Dialect(
    "inetd of OpenBSD",
    _V4,
    continues=True,
    longest_line=_BSD_LINE,
    most_words=_BSD_WORDS,
    has_hosts=True,
    has_default_hosts=True,
    starts=_OPENBSD_STARTS,
)
DIALECTS: dict[str, Dialect] = {
    "debian": replace(_OPENBSD, program="openbsd-inetd", protocols=_BOTH),
    "openbsd": _OPENBSD,
    "suse": replace(_OPENBSD, program="inetd of SUSE"),
    "rhel": Dialect(
        "xinetd -inetd_compat",
        {"tcp": "4", "udp": "4"},
        limits="",
        accounts=".",
        any_word_is_nowait=False,
        argv0="none",
        internal=("echo", "chargen", "daytime", "time"),
    ),
    "inetutils": Dialect(
        "inetd of inetutils",
        {**_V4, "tcp6only": "6", "udp6only": "6"},
        quotes="whole",
        has_hosts=True,
        has_default_hosts=True,
        accounts=":.",
        has_tcpmux="always",
        internal=("echo", "discard", "chargen", "daytime", "time", "tcpmux"),
        starts="switches a service off for ten minutes after 40 starts in a minute",
    ),
    "busybox": Dialect(
        "inetd of busybox",
        _V4,
        has_hosts=True,
        any_word_is_nowait=False,
        reads_path=True,
        connects_datagrams=True,
        argv0="path",
    ),
    "freebsd": Dialect(
        "inetd of FreeBSD",
        {**_V4, "tcp46": "both", "udp46": "both"},
        continues=True,
        quotes="whole",
        longest_line=_BSD_LINE,
        most_words=_BSD_WORDS,
        limits="/",
        accounts=":",
        any_word_is_nowait=False,
        policies=True,
        argv0="none",
        has_tcpmux="asked",
        internal=("echo", "discard", "chargen", "daytime", "time", "tcpmux", "auth"),
        starts="switches a service off for ten minutes after 256 starts in a minute",
    ),
    "netbsd": Dialect(
        "inetd of NetBSD",
        _V4,
        continues=True,
        quotes="inside",
        longest_line=2048,
        most_words=_BSD_WORDS,
        has_hosts=True,
        has_default_hosts=True,
        limits=":.",
        accounts=":.",
        policies=True,
        has_keys=True,
        argv0="none",
        starts="switches a service off for ten minutes after 40 starts in a minute",
    ),
}
"""The dialects by their names in ``--from``."""
