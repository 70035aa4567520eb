"""The config of one service's admission, without its access rules."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.admission.addresses import NetworkOption
from netd.admission.banner import Banner
from netd.admission.limits import Limits
from netd.admission.proxies import ProxyProtocol
from netd.admission.tcpmux import Tcpmux
from netd.notation import Notation
from netd.text import shown
from netd.tls.options import TlsOptions
from netd.values import Model

_LONGEST = 512
MOST_LOAD = 100_000
"""More than any host has."""


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """The line that is sent to a refused peer."""

    line: str
    """Without its line end."""


def _refuse(value: Any) -> str | RefusalLine:
    if value in ("close", "reset"):
        return str(value)
    match value:
        case {"line": str(line)} if len(value) == 1 and 0 < len(line) <= _LONGEST and line.isprintable():
            return RefusalLine(line)
    raise ValueError(
        f"expected close, reset, or {{line: TEXT}} with one line of at most {_LONGEST} characters, got {shown(value)}"
    )


Refuse = Annotated[
    Literal["close", "reset"] | InstanceOf[RefusalLine],
    BeforeValidator(_refuse),
    PlainSerializer(lambda value: {"line": value.line} if isinstance(value, RefusalLine) else value, when_used="json"),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["close", "reset"]},
                {
                    "type": "object",
                    "properties": {"line": {"type": "string", "minLength": 1, "maxLength": _LONGEST}},
                    "required": ["line"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
    Notation(f"`close`, `reset`, or `{{line: TEXT}}` with at most {_LONGEST} characters"),
]


def _load(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < MOST_LOAD:
        return float(value)
    raise ValueError(f"expected a load average such as 8.0, above 0 and below {MOST_LOAD:,}, got {shown(value)}")


class LoadLimit(Model):
    """The load average up to which a service takes more work."""

    below: Annotated[
        float,
        BeforeValidator(_load),
        WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": MOST_LOAD}),
        Notation(f"number above 0 and below {MOST_LOAD}"),
    ]
    """New connections and datagrams are taken while the load average of one minute (getloadavg(3)) is below this."""


class Policy(Model):
    """Limits of a service, the load it bears, how a peer is refused, its banner, the reply guard, proxies and TLS."""

    limits: Limits = Limits()
    """Its limits. Keys that are not set here have the values of `defaults.limits`."""
    refuse: Refuse = "close"
    """The response to a refused connection: `close`, `reset` (RST, as from a closed port), or `{line: TEXT}` and a
    close. A refused datagram is dropped without a response."""
    banner: Banner = None
    """What a peer of a stream gets before the service, or before it is refused: a text, as in `"220 ready"`, `{file:
    PATH}`, or some of `{always: TEXT, accepted: TEXT, refused: TEXT}`. Unset: nothing."""
    load: LoadLimit | None = None
    """Refuses new connections and drops datagrams while the host is busy, as in `{below: 8.0}`: while its load average
    of one minute (getloadavg(3)) is not below that. Connections that are open go on. Unset: whatever the load is."""
    reply_guard: bool = True
    """Withholds UDP answers that could harm the owner of a forged source address: to source ports below 1024, to ports
    on which netd serves UDP, to broadcast, multicast and reserved addresses, and answers that are longer than the
    question and than 64 octets. Switch it off only in a network without forged sources (BCP 38)."""
    amplify: tuple[NetworkOption, ...] = ()
    """Sources to which a UDP answer may be longer than its question: networks, addresses, `local` or `any`. None, since
    such answers to a forged source address amplify an attack."""
    proxy_protocol: ProxyProtocol | None = None
    """The proxies in front of a service, such as HAProxy or nginx: `{from: [10.0.0.1]}`. Each of their connections
    begins with a header of the PROXY protocol, which names the peer. Connections from others are refused, unless
    `others: direct` is set. Unset: there are no proxies, and a header is input of the service."""
    tcpmux: Tcpmux = None
    """Has clients of a service of the type `tcpmux` reach this one under its name (RFC 1078): true, another name, or
    `{name: NAME, plain: true}` for a service that sends the `+` line by itself. It may then have no `listen`."""
    tls: TlsOptions = TlsOptions()
    """TLS at the endpoints with `tls://`: `{certificate: PATH, key: PATH}`. Keys that are not set here have the values
    of `defaults.tls`."""
