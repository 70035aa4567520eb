"""How an operator writes values in the config, in words: for the reference and the man pages.

The types of `netd.values` and of other packages have one of these beside their parser. netd itself does not read them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class JsonSchema:
    """As `WithJsonSchema` of pydantic, but made when a schema is asked for, and not at each start."""

    make: Callable[[], dict[str, Any]]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.make()


@dataclass(frozen=True)
class Notation:
    """How the values of a type are written."""

    name: str
    """What such a value is called, as in "duration or off"."""
    meaning: str = ""
    """How it is written, in sentences with examples. Empty: the option that has it says so."""


_A_DURATION = (
    "A number and a unit, `ms`, `s`, `m`, `h` or `d`, as in `250ms`, `30s` or `1.5h`; above 0, at most 366 days."
)
_A_SIZE = "Octets: a number from 1 to 2147483647, or one with `KiB`, `MiB` or `GiB`, as in `512` or `64KiB`."
_OR_OFF = "`off`, or `0`, lifts the limit."

DURATION: Final = Notation("duration", _A_DURATION)
DURATION_OR_OFF: Final = Notation("duration or off", f"A duration; {_OR_OFF}")
SIZE: Final = Notation("size", _A_SIZE)
SIZE_OR_OFF: Final = Notation("size or off", f"A size; {_OR_OFF}")
COUNT_OR_OFF: Final = Notation("count or off", f"A number from 1 to 2147483647; {_OR_OFF}")
RATE_OR_OFF: Final = Notation(
    "rate or off",
    "A token bucket: `NUMBER/UNIT`, with the unit `s`, `m`, `h` or `d`, as in `50/s`, and its capacity, as in "
    "`50/s burst 100`; without it, the tokens of one unit. `tcp` or `udp` before it limits that transport alone, as in "
    f"`udp 50/s`. Numbers are 1 to 9999999. {_OR_OFF}",
)
TIME_ZONE: Final = Notation("time zone", "A name of the IANA time zone database, as in `Europe/Berlin`, or `UTC`.")
PATH: Final = Notation("path", "An absolute path.")
ACCOUNT: Final = Notation("account", "A user or group of this host, by name or number.")
NETWORK: Final = Notation(
    "network",
    "`10.0.0.0/8`, `2001:db8::/32`, a single address such as `192.0.2.7`, `local` (the loopback addresses of this "
    "host, and UNIX peers where they count), or `any`. An address of IPv4 also stands for that address in IPv6.",
)
