"""The config of one service's admission, without its access rules."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.admission.addresses import NetworkOption
from netd.admission.limits import Limits
from netd.admission.proxies import ProxyProtocol
from netd.text import shown
from netd.values import Model

_LONGEST = 512


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
]


class Policy(Model):
    """Limits of a service, the response to a refused peer, the reply guard, and the proxies in front of it."""

    limits: Limits = Limits()
    refuse: Refuse = "close"
    """The response to a refused connection: `close`, `reset` (RST, as from a closed port), or `{line: TEXT}` and a
    close. A refused datagram is dropped without a response."""
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
