"""The table of service types: those built in, and those of other packages."""

from functools import cache
from importlib.metadata import EntryPoints, entry_points

from netd.services.chargen import Chargen
from netd.services.chat import Chat
from netd.services.daytime import Daytime
from netd.services.discard import Discard
from netd.services.echo import Echo
from netd.services.metrics import Metrics
from netd.services.pingpong import PingPong
from netd.services.qotd import QuoteOfTheDay
from netd.services.reply import Reply
from netd.services.service_type import DeclarationError, ServiceType
from netd.services.time import Time
from netd.services.upper import Upper
from netd.services.whoami import WhoAmI

BUILT_IN: dict[str, type] = {
    "chargen": Chargen,
    "chat": Chat,
    "daytime": Daytime,
    "discard": Discard,
    "echo": Echo,
    "metrics": Metrics,
    "pingpong": PingPong,
    "qotd": QuoteOfTheDay,
    "reply": Reply,
    "time": Time,
    "upper": Upper,
    "whoami": WhoAmI,
}

ENTRY_POINT_GROUP = "netd.services"


def names() -> list[str]:
    """The names of all service types, built in or from other packages."""
    return sorted({*BUILT_IN, *(entry.name for entry in _offered())})


@cache
def _offered() -> EntryPoints:
    """The entry points of other packages, cached: a search through all installed packages is slow."""
    return entry_points(group=ENTRY_POINT_GROUP)


def find(name: str) -> ServiceType | None:
    """The service type of that name, or None. Raises ValueError if a package has one that cannot be used.

    Another package cannot replace a built-in type: the name means the same on every host.
    """
    if name in BUILT_IN:
        return ServiceType.of(BUILT_IN[name], name)
    for entry in _offered().select(name=name):
        try:
            return ServiceType.of(entry.load(), name)
        except DeclarationError as error:
            raise ValueError(f"service type '{name}' ({entry.value}): {error.faults}") from error
        except (Exception, SystemExit) as error:  # a module of another package may raise anything when it is imported
            raise ValueError(f"service type '{name}' ({entry.value}) cannot be loaded: {error!r}") from error
    return None
