"""The environment of a program: variables of its user, of the config, and about the peer (environ(7)).

The peer has several customary spellings, since programs were written for several servers: xinetd(8), tcpserver(1) and
the like (UCSPI), the Accept=yes of systemd.socket(5), and CGI (RFC 3875).
"""

import re
from collections.abc import Mapping
from typing import Protocol

from netd.peer import Peer
from netd.services.exec.options import ProgramOptions
from netd.text import escaped

_LONGEST = 256
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Those of `peer_environment`, of TLS, and of the PROXY protocol; not all of SSL_, as SSL_CERT_FILE is read by OpenSSL.
_ABOUT_PEER = (
    "(?:REMOTE_(?:HOST|ADDR|PORT)|SERVER_PORT|PROTO|(?:TCP|UNIX)(?:LOCAL|REMOTE)[A-Z]{1,9}"
    "|HTTPS|SSL_(?:PROTOCOL|CIPHER|TLS_SNI|ALPN|(?:PEER|CLIENT)_[A-Z0-9_]{1,40})|PROXY_[A-Z0-9_]{1,40})"
)


class Account(Protocol):
    """The user of a program, as `pwd.getpwnam` returns it."""

    @property
    def pw_name(self) -> str: ...
    @property
    def pw_dir(self) -> str: ...
    @property
    def pw_shell(self) -> str: ...


def base_environment(account: Account, options: ProgramOptions, inherited: Mapping[str, str]) -> dict[str, str]:
    """What a program finds whatever its peer is. ``inherited`` is netd's own environment, or what is known of it."""
    passed = {name: inherited[name] for name in options.pass_environment if name in inherited}
    return {
        "PATH": _PATH,
        "HOME": account.pw_dir or "/",
        "USER": account.pw_name,
        "LOGNAME": account.pw_name,
        "SHELL": account.pw_shell or "/bin/sh",  # what an empty field means (passwd(5))
        "LANG": "C.UTF-8",
        **passed,
        **options.environment,
    }


def peer_environment(peer: Peer, facts: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a program finds about the peer of its connection; ``facts`` are further variables about it.

    A value that `is_safe` refuses is left out: part of an address would be another one.
    """
    if peer.family == "unix":
        found = {"PROTO": "UNIX", "UNIXLOCALPATH": escaped(peer.local_host)}
        if peer.host:
            found |= {"UNIXREMOTEPATH": escaped(peer.host), "REMOTE_ADDR": escaped(peer.host)}
        if peer.credentials:
            pid, uid, gid = map(str, peer.credentials)
            found |= {"UNIXREMOTEPID": pid, "UNIXREMOTEEUID": uid, "UNIXREMOTEEGID": gid}
    else:
        remote, local = str(peer.port), str(peer.local_port)
        found = {
            "REMOTE_HOST": peer.host,  # xinetd
            "REMOTE_ADDR": peer.host,  # systemd, CGI
            "REMOTE_PORT": remote,
            "SERVER_PORT": local,  # CGI
            "PROTO": peer.transport.upper(),  # UCSPI
            "TCPREMOTEIP": peer.host,
            "TCPREMOTEPORT": remote,
            "TCPLOCALIP": peer.local_host,
            "TCPLOCALPORT": local,
        }
        if not facts and "%" not in peer.host + peer.local_host:
            return found  # numbers alone, which are safe
    return {name: value for name, value in (found | dict(facts or {})).items() if is_safe(value)}


def is_safe(value: str) -> bool:
    """Whether the value about a peer may be in an environment: at most 256 characters of printable ASCII.

    It does not begin with ``()``, which old versions of bash(1) take for a function to execute (CVE-2014-6271).
    """
    return len(value) <= _LONGEST and not value.startswith("()") and not re.search("[^ -~]", value)


def is_about_peer(name: object) -> bool:
    """Whether this is the name of a variable about a peer, and none that changes what a program does, as LD_PRELOAD."""
    return isinstance(name, str) and re.fullmatch(_ABOUT_PEER, name) is not None
