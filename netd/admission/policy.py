"""All that the config says of one service's admission, but its access rules, in one value."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, WithJsonSchema

from netd.admission.addresses import NetworkOption
from netd.admission.limits import Limits
from netd.text import shown
from netd.values import Model

_LONGEST = 512


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """A line that a refused peer gets."""

    line: str
    """Without its end."""


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
    """How much a peer of a service may have, and what those that are refused get."""

    limits: Limits = Limits()
    refuse: Refuse = "close"
    """What a refused connection gets: `close`, `reset` (RST, as if nobody listened), or `{line: TEXT}` and a close. A
    refused datagram gets nothing."""
    reply_guard: bool = True
    """Whether UDP answers are withheld that a forged source could turn against others: those to source ports below 1024
    and to ports that netd itself serves, to broadcast, multicast and reserved addresses, and those that are longer than
    the question and than 64 octets. Switch it off only where nobody can forge a source."""
    amplify: tuple[NetworkOption, ...] = ()
    """Sources whose UDP questions may have a longer answer: networks, addresses, `local` or `any`. None, since a forged
    source would get what it never asked for."""
